"""The registry: a searchable read model of the three kinds, the history of view schemas, and run records.

Kubernetes stays the source of truth for definitions; the operator mirrors them here.
"""
