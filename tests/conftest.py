"""Which tests run beside each other: those of a file, which share its servers, and those that share a platform."""

from __future__ import annotations

import atexit
import functools
import gc
import os
import ssl
from typing import Any

import httpx
import pytest
from xdist.scheduler import LoadFileScheduling

from tests import made_once
from tests.examples import load_profile

E2E = "tests/e2e"
# Folders whose files share one platform.
SHARED = (E2E, "tests/local/stack/whole")

# Of bytes that stand in the name of a test as they are.
_LONGEST_BYTES = 12

load_profile()
# httpx gives up a read after five seconds, which a first request to a process that still imports may take.
httpx._config.DEFAULT_TIMEOUT_CONFIG.read = 60.0
_create_ssl_context = httpx._transports.default.create_ssl_context


@functools.cache
def _shared_context(trust_env: bool, files: tuple[str | None, ...]) -> ssl.SSLContext:
    return _create_ssl_context(trust_env=trust_env)


def _read_certificates_once(*, verify: Any = True, cert: Any = None, trust_env: bool = True) -> ssl.SSLContext:
    """A client of httpx reads all of the machine's certificates, which takes longer than what it is made for."""
    if verify is not True or cert is not None:
        return _create_ssl_context(verify=verify, cert=cert, trust_env=trust_env)
    return _shared_context(trust_env, tuple(os.environ.get(name) for name in ("SSL_CERT_FILE", "SSL_CERT_DIR")))


def _load_named_certificates(self: ssl.SSLContext, purpose: ssl.Purpose = ssl.Purpose.SERVER_AUTH) -> None:
    """So does a driver of a database with each connection; no test talks to a server that the machine's know."""
    if os.environ.keys() & {"SSL_CERT_FILE", "SSL_CERT_DIR"}:
        _load_default_certs(self, purpose)


_load_default_certs = ssl.SSLContext.load_default_certs
ssl.SSLContext.load_default_certs = _load_named_certificates  # type: ignore[method-assign]
httpx._transports.default.create_ssl_context = _read_certificates_once
gc.disable()  # until all tests are collected: hardly anything that this makes goes again


class ByPlatform(LoadFileScheduling):
    """One worker for each file, and one for all files of a folder whose platform is started once."""

    def _split_scope(self, nodeid: str) -> str:
        folder = next((each for each in SHARED if nodeid.startswith(f"{each}/")), None)
        return folder or str(super()._split_scope(nodeid))


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> ByPlatform:
    config.option.loadscopereorder = False  # the order below is better than that by number of tests
    return ByPlatform(config, log)


def pytest_make_parametrize_id(val: object) -> str | None:
    """Bytes by their length: what they hold may be of the moment, and workers have to collect the same tests."""
    return f"{len(val)}-bytes" if isinstance(val, bytes) and len(val) > _LONGEST_BYTES else None


@pytest.fixture(scope="session", autouse=True)
def _made_once(tmp_path_factory: pytest.TempPathFactory) -> None:
    made_once.keep_in(tmp_path_factory)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Long files go first, so that no worker is left alone with one at the end."""
    if hasattr(config, "workerinput"):
        long = {item.path for item in items if item.get_closest_marker("slow")}
        items.sort(key=lambda item: (not item.nodeid.startswith(f"{E2E}/"), item.path not in long))


def pytest_collection_finish() -> None:
    """What is imported by now stays, so the garbage collector need not look at it ever again (a tenth of its time)."""
    gc.freeze()
    gc.enable()
    # At its end the interpreter takes all down again; pytest's own last collections come before that.
    atexit.register(gc.unfreeze)
