"""Deployments: rolling updates and re-creations of ReplicaSets, revisions, and the status ``kubectl rollout`` reads."""
