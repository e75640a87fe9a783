"""Servers that speak TLS, with a certificate of our own making; needs a redis-server that was built with TLS."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from millrace_core.base.errors import ReportError
from millrace_core.features.online import keys, store_url
from millrace_data.online.client import open_client
from millrace_data.online.resp import KeyGroup
from millrace_data.online.store import Store
from millrace_data.online.store_errors import StoreError
from tests.core.features.histories import view
from tests.data.online.rows import rows_of, write
from tests.data.online.secured import certificate, program
from tests.data.online.topologies import HOST, Server, free_port

DEFINITION = view(("x", "int64"))


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Server, Path]]:
    server = program()
    folder = tmp_path_factory.mktemp("tls")
    files = dict(zip(("cert", "key"), certificate(folder, "cert"), strict=True))
    running = Server(
        folder / "data",
        *("--port", "0", "--tls-port", str(free_port()), "--bind", HOST, "--save", ""),
        *("--tls-cert-file", files["cert"], "--tls-key-file", files["key"], "--tls-ca-cert-file", files["cert"]),
        program=server,
        client={
            "ssl": True,
            "ssl_ca_certs": files["cert"],
            "ssl_certfile": files["cert"],
            "ssl_keyfile": files["key"],
        },
    )
    yield running, folder
    running.kill()


async def test_rows_are_written_and_read_over_tls(server: Any) -> None:
    running, folder = server
    running.client.execute_command("ACL SETUSER", "me", "on", ">p@ss", "~*", "+@all")
    mine = f"ssl_certfile={folder}/cert.pem&ssl_keyfile={folder}/cert-key.pem"
    url = f"rediss://me:p%40ss@{HOST}:{running.port}/1?ssl_ca_certs={folder}/cert.pem&{mine}"
    assert write(Store(url), DEFINITION, rows_of(DEFINITION, [(1, 1, None, (1,))])).changed == 1
    wanted = [key for key in keys.store_keys(DEFINITION, {"id": [1, 2]}) if key is not None]
    client = open_client(store_url.parse(url), 5.0)
    found = await client.mget([KeyGroup(b"", wanted)])
    assert [row is None for row in found] == [False, True]
    client.close()


async def test_a_certificate_of_nobody_known_is_refused(server: Any) -> None:
    running, folder = server
    mine = f"ssl_certfile={folder}/cert.pem&ssl_keyfile={folder}/cert-key.pem"
    url = f"rediss://{HOST}:{running.port}?{mine}"
    with pytest.raises(StoreError, match="certificate verify failed"):
        await open_client(store_url.parse(url), 5.0).mget([KeyGroup(b"", [b"x"])])
    with pytest.raises(ReportError, match=r"is not trusted: .*certificate verify failed"):
        Store(url).run_ids()
    unchecked = open_client(store_url.parse(f"{url}&ssl_cert_reqs=none"), 5.0)
    assert await unchecked.mget([KeyGroup(b"", [b"x"])]) == [None]
    unchecked.close()
    assert Store(f"{url}&ssl_cert_reqs=none").run_ids()
