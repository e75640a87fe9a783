"""The fixtures of this package."""

from tests.operators.fixtures import api, fresh, server

__all__ = ["api", "fresh", "server"]
