"""Asks a Prometheus server for one number."""

from __future__ import annotations

import math
from urllib.parse import urlsplit

import aiohttp

from millrace_core.base.errors import RetryError
from millrace_local.controllers.scaling.spec import Trigger

TIMEOUT_SECONDS = 5.0
_NOBODY_THERE = (404, 502, 503)


class AbsentError(RetryError):
    """There is no Prometheus at the address."""

    reason = "PrometheusAbsent"


class Prometheus:
    """Queries by triggers.

    Args:
        server: a server to ask whatever the triggers say; "" to ask each trigger's own.
        proxy: URL through which ``*.svc`` names are reached; "" for none.
    """

    def __init__(self, server: str = "", proxy: str = "") -> None:
        self._server = server.rstrip("/")
        self._proxy = proxy

    def address(self, trigger: Trigger) -> str:
        """The Prometheus server that this trigger is queried from; "" when there is none."""
        return self._server or trigger.server

    async def value(self, trigger: Trigger) -> float:
        """The value of the trigger's query now.

        Raises:
            AbsentError: nobody answers at the address as a Prometheus would.
            RetryError: the query failed, or gave no single number.
        """
        address = self.address(trigger)
        if not address:
            raise AbsentError("the trigger names no serverAddress")
        host = urlsplit(address).hostname or ""
        inside = host.endswith((".svc", ".svc.cluster.local"))
        try:
            async with (
                aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=TIMEOUT_SECONDS)) as session,
                session.get(
                    f"{address}/api/v1/query",
                    params={"query": trigger.query},
                    proxy=self._proxy if inside and self._proxy else None,
                ) as response,
            ):
                if response.status in _NOBODY_THERE and inside:
                    raise AbsentError(f"{address} answers {response.status}")
                body = await response.json(content_type=None)
        except (aiohttp.ClientConnectorError, aiohttp.InvalidURL) as error:
            raise AbsentError(f"{address}: {error}") from error
        except (aiohttp.ClientError, TimeoutError, ValueError) as error:
            raise RetryError(f"{address}: {error or type(error).__name__}") from error
        return number(body, trigger)


def number(body: object, trigger: Trigger) -> float:
    """The one number of an answer of ``/api/v1/query`` (Prometheus HTTP API).

    Raises:
        RetryError: the answer is an error, or holds several series, or none where that is a failure.
    """
    if not isinstance(body, dict) or body.get("status") != "success":
        detail = body.get("error", "not a Prometheus answer") if isinstance(body, dict) else "not a Prometheus answer"
        raise RetryError(f"query {trigger.query!r}: {detail}")
    result = body["data"]["result"]
    samples = [result] if body["data"].get("resultType") == "scalar" else [series["value"] for series in result]
    if not samples and trigger.empty_is_zero:
        return 0.0
    if len(samples) != 1:
        raise RetryError(f"query {trigger.query!r}: {len(samples)} series, expected one", hint="Aggregate with sum()")
    value = float(samples[0][1])
    if math.isnan(value) or math.isinf(value):
        if trigger.empty_is_zero:
            return 0.0
        raise RetryError(f"query {trigger.query!r} gives {value}")
    return value
