"""The names inside uvicorn on which ``millrace_services.web`` leans; pyproject.toml bounds its version for their sake.

When one of these fails, uvicorn moved something: read ``protocol.py`` and ``server.py`` of ``millrace_services.web``
beside uvicorn's ``httptools_impl.py`` and ``server.py``, mend them, and only then raise the bound.
"""

from __future__ import annotations

import ast
import inspect
import textwrap
from collections.abc import Iterator
from typing import Any

import pytest
import uvicorn
from uvicorn.protocols.http import httptools_impl
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

from millrace_services.web import protocol, server
from millrace_services.web.protocol import HotProtocol
from millrace_services.web.service import Service
from millrace_services.web.settings import ServerSettings

WHERE = f"uvicorn {uvicorn.__version__} has moved names that services/millrace_services/web leans on:"


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
    ours = {"_service", "_limit", "_rests_since", "_watch", "_begin", "_answer"}
    # Some attributes are there only once a request has come.
    source = inspect.getsource(HttpToolsProtocol)
    taken = attributes(HotProtocol) - ours
    missing = {name for name in taken if not hasattr(connection, name) and f"self.{name}" not in source}
    missing |= {name for name in ("total_requests", "default_headers") if not hasattr(ServerState(), name)}
    assert not missing, f"{WHERE} HttpToolsProtocol.{sorted(missing)}"


def overridden() -> Iterator[str]:
    return (
        name for name, value in vars(HotProtocol).items() if inspect.isfunction(value) and not name.startswith("__")
    )


def test_uvicorns_protocol_calls_what_ours_overrides() -> None:
    called = set(inspect.getsource(httptools_impl).replace("(", " ").replace(".", " ").split())
    ours = {"_watch", "_begin", "_answer"}
    missing = {name for name in overridden() if name not in called and name not in ours}
    missing |= {name for name in overridden() if name not in ours and not hasattr(HttpToolsProtocol, name)}
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


def test_uvicorns_server_has_the_names_that_ours_takes_of_it() -> None:
    made = uvicorn.Server(uvicorn.Config(lambda: None))
    missing = {name for name in ("started", "should_exit", "capture_signals") if not hasattr(made, name)}
    assert not missing, f"{WHERE} Server.{sorted(missing)}"
    assert "self.capture_signals()" in inspect.getsource(uvicorn.Server.serve), (
        f"{WHERE} Server.serve no longer takes signals in capture_signals"
    )
    assert "capture_signals" in vars(server._Server)
