"""The fixtures of this package."""

from tests.running_service import start_service
from tests.valkey import server, store

__all__ = ["server", "start_service", "store"]
