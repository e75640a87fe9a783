"""The fixtures of this package."""

from tests.running_service import start_service

__all__ = ["start_service"]
