"""A real API server with faults on demand."""

from tests.operators.fixtures import api, faulty_server, fresh, server

__all__ = ["api", "faulty_server", "fresh", "server"]
