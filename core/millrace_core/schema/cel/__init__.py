"""The Common Expression Language as CustomResourceDefinitions use it: parsed, type-checked, costed and evaluated.

The CEL package on PyPI evaluates, but shows neither syntax tree nor types, so it can neither refuse at CRD creation
what a Kubernetes API server refuses (unknown fields, wrong types, rules over the cost budget) nor read times,
durations and numbers as the schema declares them. Here a rule is checked against the schema once and becomes a
closure that works on the JSON value as it is. Tests compare the results with that package's.

Language and libraries are those of Kubernetes 1.30, without optional syntax (``?.``), authorizer, IP and CIDR.
Sources: https://github.com/google/cel-spec, https://kubernetes.io/docs/reference/using-api/cel/
"""
