"""Routes in MLflow's form, each a method, a path and a function from fields to the answer's JSON."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final, NamedTuple

import orjson
from fastapi import Request, Response
from starlette.concurrency import run_in_threadpool

from millrace_services.registry.mlflow import errors, fields
from millrace_services.registry.mlflow.fields import Fields
from millrace_services.web.hot import JSON, Answer, Call, Handler
from millrace_services.web.service import Service

# MLflow's user interface asks under the second one.
PREFIXES: Final = ("/api/2.0/mlflow/", "/ajax-api/2.0/mlflow/")
_METHODS: Final = frozenset({"GET", "POST", "PATCH", "PUT", "DELETE"})

Command = Callable[[Fields], Mapping[str, Any]]


class Endpoint(NamedTuple):
    """One route: ``path`` behind the prefix, such as ``registered-models/get``."""

    method: str
    path: str
    command: Command


def install(service: Service, endpoints: Iterable[Endpoint]) -> None:
    """Adds the routes to a service; another method on one of their paths gets 405."""
    methods: dict[str, set[str]] = {}
    for endpoint in endpoints:
        for prefix in PREFIXES:
            service.hot(endpoint.method, prefix + endpoint.path, _handler(endpoint.command))
            methods.setdefault(prefix + endpoint.path, set()).add(endpoint.method)
    for path, known in methods.items():
        service.api.add_api_route(
            path, _refusing(known), methods=sorted(_METHODS - known), include_in_schema=False, response_model=None
        )


def _handler(command: Command) -> Handler:
    async def answer(call: Call) -> Answer:
        try:
            content = await run_in_threadpool(command, fields.of(call))
            return Answer(200, orjson.dumps(content))
        except Exception as error:  # every error has MLflow's form
            status, body, headers = errors.render(error)
            return Answer(status, body, (JSON, *headers))

    return answer


def _refusing(known: set[str]) -> Callable[[Request], Response]:
    allowed = ", ".join(sorted(known))

    def refuse(_: Request) -> Response:
        body = orjson.dumps({"error_code": "BAD_REQUEST", "message": f"The methods here are {allowed}"})
        return Response(body, 405, {"allow": allowed}, "application/json")

    return refuse
