"""The real API server."""

from tests.local.cluster import cluster, server

__all__ = ["cluster", "server"]
