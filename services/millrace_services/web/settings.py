"""Settings that every server has."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from millrace_core.base.settings import Names, Networks, Settings
from millrace_http.limits import Limits


class ServerSettings(Settings):
    """Where a server listens, how much it accepts, and how it stops.

    Attributes:
        body_limit: how clients are told to raise ``max_body_bytes``.
        host_setting: how messages call the setting of the host.
        port_setting: the same of the port.
    """

    body_limit: ClassVar[str] = "MILLRACE_MAX_BODY_BYTES"
    host_setting: ClassVar[str] = "MILLRACE_HOST"
    port_setting: ClassVar[str] = "MILLRACE_PORT"

    host: str = Field("0.0.0.0", alias="MILLRACE_HOST", description="Address to listen on")  # noqa: S104 a pod's only address
    port: int = Field(8080, alias="MILLRACE_PORT", ge=0, le=65535, description="Port; 0 takes a free one")
    drain_seconds: float = Field(
        10.0,
        alias="MILLRACE_DRAIN_SECONDS",
        ge=0,
        description="How long after SIGTERM requests are still accepted while /health/ready says no",
    )
    grace_seconds: float = Field(
        20.0,
        alias="MILLRACE_GRACE_SECONDS",
        ge=0,
        description="How long requests in flight may take to finish once the drain is over",
    )
    keep_alive_seconds: int = Field(
        3660,
        alias="MILLRACE_KEEP_ALIVE_SECONDS",
        ge=1,
        description="Idle connections are closed after this; longer than Envoy's own hour, so that the proxy "
        "never sends on a connection that the server is closing",
    )
    max_body_bytes: int = Field(
        16 * 1024 * 1024, alias="MILLRACE_MAX_BODY_BYTES", ge=1, description="Larger requests get 413"
    )
    max_target_bytes: int = Field(
        8 * 1024, alias="MILLRACE_MAX_TARGET_BYTES", ge=1, description="Longer targets of requests get 414"
    )
    max_head_bytes: int = Field(
        32 * 1024, alias="MILLRACE_MAX_HEAD_BYTES", ge=1, description="Larger headers of a request get 431"
    )
    max_headers: int = Field(100, alias="MILLRACE_MAX_HEADERS", ge=1, description="More headers of a request get 431")
    head_seconds: float = Field(
        20.0,
        alias="MILLRACE_HEAD_SECONDS",
        gt=0,
        description="How long a request's head may take, and the first one of a connection to begin; longer gets 408",
    )
    body_seconds: float = Field(
        20.0,
        alias="MILLRACE_BODY_SECONDS",
        gt=0,
        description="How long a body may take beyond what MILLRACE_MIN_BODY_RATE gives it; longer gets 408",
    )
    min_body_rate: int = Field(
        1024,
        alias="MILLRACE_MIN_BODY_RATE",
        ge=1,
        description="Bytes per second of a body that has more time than MILLRACE_BODY_SECONDS",
    )
    write_seconds: float = Field(
        60.0,
        alias="MILLRACE_WRITE_SECONDS",
        gt=0,
        description="A client that takes nothing of an answer for so long loses its connection",
    )
    max_connections: int = Field(
        4096,
        alias="MILLRACE_MAX_CONNECTIONS",
        ge=1,
        description="Connections at once, where the process may have as many files. Beyond them one that rests is "
        "closed for the new one; where none rests, probes alone are answered, and all else gets 429",
    )
    max_client_connections: int = Field(
        1024,
        alias="MILLRACE_MAX_CLIENT_CONNECTIONS",
        ge=1,
        description="The same for one address, which is a proxy's where all requests come through one; see "
        "MILLRACE_TRUSTED_PROXIES",
    )
    trusted_proxies: Networks = Field(
        (),
        alias="MILLRACE_TRUSTED_PROXIES",
        description="Addresses and networks of proxies. Their X-Forwarded-For says for whom a request is, and "
        "MILLRACE_MAX_CLIENT_CONNECTIONS then limits a client's requests under way: beyond it they get 429. Of others "
        "that header is not believed",
    )
    allowed_hosts: Names = Field(
        (),
        alias="MILLRACE_ALLOWED_HOSTS",
        description="The names (also *.suffix, addresses, networks) that a request's Host may have; empty: any. With "
        "names, requests of web pages of other sites (403) and bodies of types that such pages may send (415) are "
        "refused too. For servers that a browser can reach, as in the laptop mode",
    )
    mesh_secret: str = Field(
        "",
        alias="MILLRACE_MESH_SECRET",
        repr=False,
        description="With it as x-millrace-mesh the mesh of the laptop mode says that it has checked a request's Host",
    )
    log_level: str = Field(
        "INFO",
        alias="MILLRACE_LOG_LEVEL",
        pattern="^(DEBUG|INFO|WARNING|ERROR)$",
        description="DEBUG adds what helps to find faults",
    )
    access_log: bool = Field(
        False, alias="MILLRACE_ACCESS_LOG", description="One line per request, but for probes and scrapes"
    )
    slow_seconds: float = Field(
        1.0,
        alias="MILLRACE_SLOW_SECONDS",
        ge=0,
        description="Requests that took so long get a line with what the time went into, at most one a second; 0: none "
        "does",
    )

    def limits(self) -> Limits:
        """What the server takes of its clients."""
        return Limits(
            target_bytes=self.max_target_bytes,
            head_bytes=self.max_head_bytes,
            headers=self.max_headers,
            body_bytes=self.max_body_bytes,
            head_seconds=self.head_seconds,
            body_seconds=self.body_seconds,
            body_rate=self.min_body_rate,
            idle_seconds=self.keep_alive_seconds,
            write_seconds=self.write_seconds,
            connections=self.max_connections,
            connections_per_client=self.max_client_connections,
            proxies=self.trusted_proxies,
        )
