"""gRPC's server beside that of HTTP, on a port of its own in the same process and on the same event loop.

gRPC starts threads, so it is imported and started in the process that serves, never in one that forks.
"""

from __future__ import annotations

import grpc
import grpc.aio

from millrace_core.base.errors import RejectError
from millrace_services.inference.answering import Noting
from millrace_services.inference.grpc_calls import GrpcCalls
from millrace_services.inference.served import Serving
from millrace_services.inference.settings import InferenceSettings
from millrace_services.web import server
from millrace_services.web.service import Service


class GrpcServer:
    """The port, and what is answered there."""

    def __init__(
        self, settings: InferenceSettings, port: int, serving: Serving, service: Service, noting: Noting
    ) -> None:
        self._address = f"[{settings.host}]" if ":" in settings.host else settings.host
        self._settings = settings
        self._port = port
        self._server = grpc.aio.server(
            handlers=(GrpcCalls(serving, service, noting),),
            options=_options(settings),
            maximum_concurrent_rpcs=_calls(settings),
        )

    async def start(self) -> int:
        """Begins to listen; returns the port.

        Raises:
            RejectError: the port is in use, is that of HTTP, or none of this process's.
        """
        settings = self._settings
        if self._port and self._port == settings.port:
            raise RejectError(
                f"{settings.grpc_port_setting} and {settings.port_setting} are both {self._port}",
                hint="Give gRPC a port of its own",
                reason="PortInUse",
            )
        # gRPC itself says what is wrong to stderr alone.
        server.bind(settings.host, self._port, settings.host_setting, settings.grpc_port_setting).close()
        port: int = self._server.add_insecure_port(f"{self._address}:{self._port}")
        await self._server.start()
        return port

    async def stop(self, grace: float) -> None:
        """Takes no more calls, and waits for those under way for so many seconds."""
        await self._server.stop(grace)


def _calls(settings: InferenceSettings) -> int:
    """How many calls may be under way: beyond those that may wait some that are read, refused or answered."""
    return 2 * settings.queue_requests


def _options(settings: InferenceSettings) -> list[tuple[str, int]]:
    return [
        ("grpc.max_receive_message_length", settings.max_body_bytes),
        ("grpc.max_send_message_length", -1),
        ("grpc.max_metadata_size", settings.max_head_bytes),
        ("grpc.absolute_max_metadata_size", settings.max_head_bytes),
        ("grpc.max_concurrent_streams", _calls(settings)),
        ("grpc.max_connection_idle_ms", settings.keep_alive_seconds * 1000),
        # A second server would share the port, and take half of the calls.
        ("grpc.so_reuseport", 0),
        # A client that vanished keeps its connection no longer than this.
        ("grpc.keepalive_time_ms", 60_000),
        ("grpc.keepalive_timeout_ms", 20_000),
        # Clients may ask whether the server is there as often as stock clients do.
        ("grpc.http2.min_ping_interval_without_data_ms", 10_000),
    ]
