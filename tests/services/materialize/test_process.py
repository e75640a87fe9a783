from __future__ import annotations

import io
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest

from millrace_data.online.store import Store
from millrace_services.materialize.progress import ProgressLine
from tests.lake import Lake


@pytest.fixture
def registry() -> Iterator[tuple[str, list[tuple[str, Any]]]]:
    seen: list[tuple[str, Any]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_PUT(self) -> None:
            seen.append((self.path, json.loads(self.rfile.read(int(self.headers["content-length"])))))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *args: Any) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}", seen
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_run_says_what_it_did_and_a_purge_undoes_it(
    lake: Lake, store: Store, registry: tuple[str, list[tuple[str, Any]]]
) -> None:
    url, seen = registry
    lake.add(*((user, 10, 0.0) for user in range(100)))
    store.client.set("shop:user-stats-2:{1}", b"another view's")
    code, result, said = lake.job("run", "--end", "1970-01-01T00:00:01Z", MILLRACE_REGISTRY_URL=url)
    assert code == 0, said
    assert result.pop("seconds") >= 0
    assert result.pop("finishedAt").endswith("Z")
    assert result.pop("schemaHash").startswith("sha256:")
    assert result == {
        "view": "user-stats",
        "interval": {"start": None, "end": "1970-01-01T00:00:01Z"},
        "rows": 100,
        "written": 100,
        "skipped": 0,
        "keys": 100,
        "complete": True,
    }
    assert "user-stats: 100 rows, 100 newer than before" in said
    (path, record) = seen[0]
    assert path.startswith("/v1/runs/user-stats-")
    assert (record["kind"], record["namespace"], record["view"], record["rows"]) == (
        "materialize",
        "shop",
        "user-stats",
        100,
    )

    code, result, _ = lake.job("purge")
    assert (code, result["purged"]) == (0, 100)
    assert store.client.keys("*") == [b"shop:user-stats-2:{1}"]


def test_a_wrong_source_ends_with_2_and_one_sentence(lake: Lake, store: Store) -> None:
    code, result, said = lake.job("run")
    assert code == 2
    assert result["error"]["reason"] == "SourceEmpty"
    assert result["error"]["field"] == "spec.source.parquet.uri"
    assert said.startswith("millrace: spec.source.parquet.uri: there is no *.parquet file in file://")
    assert "Traceback" not in said


def test_a_wrong_definition_ends_with_2_and_names_the_field(lake: Lake, store: Store) -> None:
    lake.having("spec.features", [{"name": "user_id", "type": "int64"}])
    code, result, _ = lake.job("run")
    assert code == 2
    assert result["error"]["field"] == "spec.features[0].name"


def test_missing_settings_end_with_2(lake: Lake) -> None:
    code, result, said = lake.job("run", MILLRACE_STORE_URL="")
    assert code == 2
    assert result["error"]["field"] == "MILLRACE_STORE_URL"
    assert "environment variable MILLRACE_STORE_URL" in said


def test_a_store_that_is_away_ends_with_1_after_some_patience_and_a_dead_registry_only_warns(lake: Lake) -> None:
    lake.add((1, 10, 0.0))
    code, result, said = lake.job(
        "run",
        MILLRACE_STORE_URL="redis://127.0.0.1:1/0",
        MILLRACE_STORE_PATIENCE_SECONDS="0.5",
        MILLRACE_REGISTRY_URL="http://127.0.0.1:1",
    )
    assert code == 1
    assert result["error"]["reason"] == "StoreUnavailable"
    assert "WARNING the registry at http://127.0.0.1:1 does not record the run" in said
    assert "Traceback" not in said


def test_a_dead_registry_does_not_fail_a_run(lake: Lake, store: Store) -> None:
    lake.add((1, 10, 0.0))
    code, _, said = lake.job("run", MILLRACE_REGISTRY_URL="http://127.0.0.1:1")
    assert code == 0
    assert "does not record the run" in said


def test_progress_in_a_log_is_a_line_now_and_then() -> None:
    stream = io.StringIO()
    now = [0.0]
    line = ProgressLine("v", stream, lambda: now[0])
    for second in range(12):
        now[0] = float(second)
        line(second * 1000, second / 20)
    line.close("done")
    assert stream.getvalue() == (
        "v: 5,000 rows (25%), 1,000 rows/s, 15 s left\nv: 10,000 rows (50%), 1,000 rows/s, 10 s left\ndone\n"
    )
