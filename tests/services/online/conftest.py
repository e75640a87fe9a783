"""The fixtures of this package."""

from tests.services.valkey import server, store

__all__ = ["server", "store"]
