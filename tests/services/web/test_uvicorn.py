"""The names inside uvicorn on which ``millrace_http`` and ``millrace_services.web`` lean; pyproject.toml bounds its
version for their sake.

When one of these fails, uvicorn moved something: read their ``protocol.py`` and ``server.py`` beside uvicorn's
``httptools_impl.py`` and ``server.py``, mend them, and only then raise the bound.
"""

from __future__ import annotations

import ast
import asyncio
import inspect
import textwrap
from typing import Any

import pytest
import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

from millrace_http.guard import Guard
from millrace_http.protocol import GuardedProtocol
from millrace_http.timed import TimedProtocol
from millrace_services.web import protocol, server
from millrace_services.web.protocol import HotProtocol
from millrace_services.web.service import Service
from millrace_services.web.settings import ServerSettings

OURS = (TimedProtocol, GuardedProtocol, HotProtocol)
WHERE = f"uvicorn {uvicorn.__version__} has moved names that millrace_http and services/millrace_services/web lean on:"


def tree(code: Any) -> ast.AST:
    return ast.parse(textwrap.dedent(inspect.getsource(code)))


def attributes(code: Any, *of: str) -> set[str]:
    """Names that code takes of ``self``, or of ``self.cycle``."""
    path = ["self", *of]
    found = set()
    for node in ast.walk(tree(code)):
        if isinstance(node, ast.Attribute) and ast.unparse(node.value) == ".".join(path):
            found.add(node.attr)
    return found


@pytest.fixture
async def connection() -> HttpToolsProtocol:
    config = uvicorn.Config(Service("toy", ServerSettings()), log_config=None)
    config.load()
    return HttpToolsProtocol(config=config, server_state=ServerState(), app_state={})


async def test_uvicorns_protocol_has_the_names_that_ours_takes_of_it(connection: HttpToolsProtocol) -> None:
    # Some attributes are there only once a request has come.
    source = inspect.getsource(HttpToolsProtocol)
    made = GuardedProtocol(Guard(), config=connection.config, server_state=ServerState(), app_state={})
    ours = {*vars(made), *(name for kind in OURS for name in vars(kind))}
    ours -= {*vars(connection), *vars(HttpToolsProtocol)}
    taken = {name for kind in OURS for name in attributes(kind)} - ours - {"_service", "_limit"}
    missing = {name for name in taken if not hasattr(connection, name) and f"self.{name}" not in source}
    missing |= {name for name in ("total_requests", "default_headers") if not hasattr(ServerState(), name)}
    assert "timeout_keep_alive_task" in taken
    assert not missing, f"{WHERE} HttpToolsProtocol.{sorted(missing)}"


# What is called by uvicorn, its loop or its parser, and replaced here.
REPLACED = {
    "connection_made",
    "connection_lost",
    "data_received",
    "pause_writing",
    "shutdown",
    "on_message_begin",
    "on_header",
    "on_headers_complete",
    "on_body",
    "on_message_complete",
    "on_response_complete",
    "timeout_keep_alive_handler",
    "_unset_keepalive_if_required",
}


def test_uvicorns_protocol_calls_what_ours_overrides() -> None:
    inherited = {name for kind in OURS for name in vars(kind) if name in dir(HttpToolsProtocol)}
    assert {name for name in inherited if not name.startswith("__")} == REPLACED
    missing = {name for name in REPLACED if not hasattr(HttpToolsProtocol, name)}
    assert not missing, f"{WHERE} HttpToolsProtocol.{sorted(missing)}"


def test_a_request_of_ours_has_all_that_uvicorn_takes_of_its_own() -> None:
    taken = attributes(HttpToolsProtocol, "cycle")
    # Of requests that uvicorn answers itself: ours have their own ``on_body`` and ``on_message_complete``.
    answered = attributes(HttpToolsProtocol.on_body, "cycle") | attributes(
        HttpToolsProtocol.on_message_complete, "cycle"
    )
    elsewhere = {
        name
        for method, function in vars(HttpToolsProtocol).items()
        if inspect.isfunction(function) and method not in ("on_body", "on_message_complete")
        for name in attributes(function, "cycle")
    }
    assert taken == answered | elsewhere
    missing = elsewhere - set(dir(protocol._Request))
    assert not missing, f"{WHERE} a request in HotProtocol lacks {sorted(missing)}"
    assert "keep_alive" in elsewhere, f"{WHERE} a shutdown no longer tells the request in flight to close"


@pytest.mark.parametrize("target", [b"/a%20b?c=d&e", b"/"])
async def test_an_application_is_given_the_same_scope_as_by_uvicorn(target: bytes) -> None:
    async def application(scope: Any, receive: Any, send: Any) -> None: ...

    config = uvicorn.Config(application, interface="asgi3", root_path="/root", log_config=None)
    config.load()
    given = {"config": config, "server_state": ServerState(), "app_state": {"a": 1}}
    scopes = []
    for made in (HttpToolsProtocol(**given), GuardedProtocol(Guard(), **given)):
        made.connection_made(asyncio.Transport({"peername": ("127.0.0.1", 5), "sockname": ("127.0.0.1", 80)}))
        made.parser.feed_data(b"PUT " + target + b" HTTP/1.0\r\nHost: x\r\nA: b\r\n\r\n")
        scopes.append(made.scope)
        for task in made.tasks:
            task.cancel()
    theirs, ours = scopes
    assert ours == theirs, WHERE
    assert ours["state"] is not given["app_state"]


def test_uvicorns_server_has_the_names_that_ours_takes_of_it() -> None:
    made = uvicorn.Server(uvicorn.Config(lambda: None))
    missing = {name for name in ("started", "should_exit", "capture_signals") if not hasattr(made, name)}
    assert not missing, f"{WHERE} Server.{sorted(missing)}"
    assert "self.capture_signals()" in inspect.getsource(uvicorn.Server.serve), (
        f"{WHERE} Server.serve no longer takes signals in capture_signals"
    )
    assert "capture_signals" in vars(server._Server)
