"""The registry: a searchable read model of the three kinds, the history of view schemas, run records and datasets; and
registered models, which MLflow's clients reach by MLflow's REST (``models``).

Kubernetes stays the source of truth for definitions; the operator mirrors them here.
"""
