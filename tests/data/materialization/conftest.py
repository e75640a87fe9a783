"""The fixtures of this package."""

from tests.lake import lake
from tests.valkey import server, store

__all__ = ["lake", "server", "store"]
