"""Routes in MLflow's form, each a method, a path and a function from fields to the answer's JSON."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final, NamedTuple

import orjson
from fastapi import Request, Response
from starlette.concurrency import run_in_threadpool
from starlette.routing import Match, Route, compile_path
from starlette.types import Scope

from millrace_core.base.shown import line
from millrace_services.registry.mlflow import errors, fields
from millrace_services.registry.mlflow.fields import Fields
from millrace_services.web.hot import JSON, Answer, Call, Handler, disconnect_check
from millrace_services.web.service import Service

# MLflow's user interface asks under the second one.
PREFIXES: Final = ("/api/2.0/mlflow/", "/ajax-api/2.0/mlflow/")
THIRD: Final = ("/api/3.0/mlflow/", "/ajax-api/3.0/mlflow/")
_METHODS: Final = frozenset({"GET", "POST", "PATCH", "PUT", "DELETE"})

Command = Callable[[Fields], Mapping[str, Any]]


class Endpoint(NamedTuple):
    """One route: ``path`` behind the prefix, such as ``registered-models/get`` or ``logged-models/{model_id}``."""

    method: str
    path: str
    command: Command
    prefixes: tuple[str, ...] = PREFIXES


class ControlRoute(Route):
    """A route that has something in its path, or a body that comes piece by piece; metrics know it by its path."""

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        """As Starlette has it, with the route itself in the scope, as FastAPI's have it."""
        match, child = super().matches(scope)
        return match, {**child, "route": self} if child else child


def install(service: Service, endpoints: Iterable[Endpoint]) -> None:
    """Adds the routes to a service; another method on a path gets 405, another path 404, in MLflow's form."""
    methods: dict[str, set[str]] = {}
    for endpoint in endpoints:
        for prefix in endpoint.prefixes:
            _add(service, endpoint.method, prefix + endpoint.path, endpoint.command)
            methods.setdefault(prefix + endpoint.path, set()).add(endpoint.method)
    unknown = _Unknown(methods)
    for prefix in (*PREFIXES, *THIRD):
        add_control(service, prefix + "{rest:path}", sorted(_METHODS), unknown.refuse)


def add_control(service: Service, path: str, methods: list[str], endpoint: Callable[[Request], Any]) -> None:
    """Adds a route of Starlette's: making one of FastAPI's takes as long as fifty of these."""
    service.api.router.routes.append(ControlRoute(path, endpoint, methods=methods, include_in_schema=False))


def _add(service: Service, method: str, path: str, command: Command) -> None:
    if "{" not in path:
        service.hot(method, path, _handler(command))
        return

    async def answer(request: Request) -> Response:
        gone = disconnect_check(request.receive)
        call = Call(request.scope, await request.body(), gone)
        status, body, headers = await _answered(command, call, request.path_params)
        response = Response(body, status)
        response.raw_headers.extend(headers)
        return response

    add_control(service, path, [method], answer)


def _handler(command: Command) -> Handler:
    async def answer(call: Call) -> Answer:
        return await _answered(command, call)

    return answer


async def _answered(command: Command, call: Call, path: Mapping[str, str] | None = None) -> Answer:
    try:
        content = await run_in_threadpool(_carried_out, command, call, path)
        return Answer(200, content)
    except Exception as error:  # every error has MLflow's form
        status, body, headers = errors.render(error)
        return Answer(status, body, (JSON, *headers))


def _carried_out(command: Command, call: Call, path: Mapping[str, str] | None) -> bytes:
    return orjson.dumps(command(fields.of(call, path)))


class _Unknown:
    """What is answered where no route is, or none for the method.

    Args:
        methods: of each path.
    """

    def __init__(self, methods: Mapping[str, set[str]]) -> None:
        self._methods = methods
        self._patterns = [(compile_path(path)[0], known) for path, known in methods.items() if "{" in path]

    async def refuse(self, request: Request) -> Response:
        """The refusal; 405 or 404."""
        path = request.url.path
        matching = (known for pattern, known in self._patterns if pattern.match(path))
        known = self._methods.get(path) or next(matching, None)
        if known is not None:
            allowed = ", ".join(sorted(known))
            body = orjson.dumps({"error_code": "BAD_REQUEST", "message": f"The methods here are {allowed}"})
            return Response(body, 405, {"allow": allowed}, "application/json")
        message = f"There is no route {request.method} {line(path, 200)} here"
        content = {"error_code": "ENDPOINT_NOT_FOUND", "message": message}
        return Response(orjson.dumps(content), 404, None, "application/json")
