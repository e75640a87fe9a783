"""Feast's clients have views materialized: by a command of each view, on a real API server; its operator is played."""

from __future__ import annotations

import base64
import json
import subprocess
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from millrace_core.api.group import COMMAND_ANNOTATION
from millrace_core.base import destinations
from millrace_local.apiserver.process import RunningServer
from millrace_services.gateway.feast_runs import Materialize, arguments
from tests.api_client import client_of
from tests.api_server import start as start_api
from tests.builders import feature_view
from tests.running_service import RunningService, StartService
from tests.services.gateway.conftest import Publish, Store
from tests.services.gateway.test_feast_peer import FEAST, SECONDS
from tests.services.gateway.test_feature_reads import published

VIEWS = "/apis/millrace.dev/v1alpha1/namespaces/rides/featureviews"
NOW = datetime(2026, 11, 30, 12, tzinfo=UTC)
START, END = "2026-11-01T00:00:00", "2026-11-02T00:00:00+00:00"
MERGE = {"content-type": "application/merge-patch+json"}


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    folder = tmp_path_factory.mktemp("cluster")
    crds = [Path(__file__).parents[3] / "crds"]
    running = start_api(folder / "data", kubeconfig=folder / "kubeconfig", crds=crds, faults=True)
    with client_of(running) as http:
        http.post("/api/v1/namespaces", json={"metadata": {"name": "rides"}}).raise_for_status()
    yield running
    running.stop()


@pytest.fixture(scope="module")
def runs(
    start_service: StartService,
    registry: RunningService,
    store: Store,
    cluster: RunningServer,
    tmp_path_factory: pytest.TempPathFactory,
) -> RunningService:
    """A gateway that may give commands."""
    config = yaml.safe_load(cluster.kubeconfig.read_text())
    account = tmp_path_factory.mktemp("account")
    (account / "token").write_text(config["users"][0]["user"]["token"])
    given = config["clusters"][0]["cluster"]
    if "certificate-authority-data" in given:
        (account / "ca.crt").write_bytes(base64.b64decode(given["certificate-authority-data"]))
    return start_service(
        "-m",
        "millrace_services.gateway",
        MILLRACE_REGISTRY_URL=registry.url,
        MILLRACE_STORE_URL=store.url,
        MILLRACE_OUTGOING=destinations.OPEN.as_json(),
        MILLRACE_PROJECT="rides",
        MILLRACE_REFRESH_SECONDS="0.1",
        MILLRACE_MATERIALIZE="true",
        MILLRACE_API_SERVER=given["server"],
        MILLRACE_API_ACCOUNT=str(account),
    )


@pytest.fixture
def api(cluster: RunningServer, publish: Publish) -> Iterator[httpx.Client]:
    """The API server with two views, which registry and gateways know as well."""
    documents = [feature_view(name).having("metadata.namespace", "rides").build() for name in ("clicks", "user-stats")]
    publish(*(published(each, "rides") for each in documents))
    with client_of(cluster) as http:
        for each in documents:
            http.delete(f"{VIEWS}/{each['metadata']['name']}")
            http.post(VIEWS, json=each).raise_for_status()
        yield http


def command(api: httpx.Client, view: str) -> str:
    found = api.get(f"{VIEWS}/{view}").json()
    return str((found["metadata"].get("annotations") or {}).get(COMMAND_ANNOTATION, ""))


def say(api: httpx.Client, view: str, result: str) -> None:
    """What the operator says of the view's command."""
    status = {"handledCommand": command(api, view), "commandResult": result}
    api.patch(f"{VIEWS}/{view}/status", json={"status": status}, headers=MERGE).raise_for_status()


def operator(api: httpx.Client, view: str, *results: str) -> threading.Thread:
    """Plays the operator: says these of the command, one after another, once there is one."""
    before = command(api, view)

    def play() -> None:
        until = time.monotonic() + 60
        while command(api, view) in ("", before):
            assert time.monotonic() < until
            time.sleep(0.02)
        for result in results:
            say(api, view, result)

    thread = threading.Thread(target=play)
    thread.start()
    return thread


def post(gateway: RunningService, path: str, body: Any, **query: str) -> httpx.Response:
    return httpx.post(f"{gateway.url}/feast/{path}", json=body, params=query, timeout=60)


def test_it_answers_as_feasts_server_does_once_the_jobs_of_all_views_have_ended(
    runs: RunningService, api: httpx.Client
) -> None:
    playing = [
        operator(api, view, "Job j was made", "Job j succeeded: 3 rows read, 3 rows written")
        for view in ("clicks", "user-stats")
    ]
    done = post(runs, "materialize", {"start_ts": START, "end_ts": END, "feature_views": None})
    for each in playing:
        each.join()
    assert (done.status_code, done.json()) == (200, None)
    for view in ("clicks", "user-stats"):
        assert command(api, view).endswith(":materialize 2026-11-01T00:00:00Z 2026-11-02T00:00:00Z")


def test_a_job_that_failed_is_an_error_that_says_why(runs: RunningService, api: httpx.Client) -> None:
    playing = operator(api, "user-stats", "Job j failed: SourceMissing: there is no file")
    failed = post(runs, "materialize", {"start_ts": START, "end_ts": END, "feature_views": ["user_stats"]})
    playing.join()
    assert failed.status_code == 500
    assert failed.json() == "feature view 'user-stats': Job j failed: SourceMissing: there is no file"
    assert command(api, "clicks") == "", "it was not named"


def test_who_does_not_wait_is_told_what_was_accepted_and_a_view_at_work_is_a_conflict(
    runs: RunningService, api: httpx.Client
) -> None:
    body = {"start_ts": START, "end_ts": END, "feature_views": ["clicks"]}

    def conflict() -> tuple[int, list[str]]:
        answer = post(runs, "materialize", body, **{"async": "true"})
        return answer.status_code, answer.json()["feature_views"]

    assert conflict() == (202, ["clicks"])
    first = command(api, "clicks")
    assert conflict() == (409, ["clicks"]), "no operator has taken it"
    say(api, "clicks", "Job j was made")
    assert conflict() == (409, ["clicks"]), "its Job is at work"
    assert command(api, "clicks") == first
    assert post(runs, "materialize", body, force="true", **{"async": "true"}).status_code == 202
    assert command(api, "clicks") != first
    say(api, "clicks", "Job k succeeded: 1 rows read")
    assert conflict() == (202, ["clicks"])


@pytest.mark.parametrize(
    ("body", "status", "said"),
    [
        ({"start_ts": START, "end_ts": END, "feature_views": ["none"]}, 404, "FeatureViewNotFoundException"),
        ({"start_ts": START, "feature_views": ["clicks"]}, 400, "end_ts is missing"),
        ({"start_ts": END, "end_ts": START}, 400, "must be before end_ts"),
        ({"start_ts": "soon", "end_ts": END}, 400, "'soon' is no time"),
        ({"start_ts": START, "end_ts": END, "version": "v2"}, 400, "leave version out"),
        ({"start_ts": START, "end_ts": END, "feature_views": "clicks"}, 400, "feature_views"),
        ([], 400, "the body"),
    ],
)
def test_what_cannot_be_done_is_said_as_feasts_server_says_it(
    runs: RunningService, api: httpx.Client, body: Any, status: int, said: str
) -> None:
    refused = post(runs, "materialize", body)
    assert refused.status_code == status
    assert isinstance(refused.json(), str)
    assert said in refused.json()
    assert command(api, "clicks") == ""


def test_a_right_that_is_missing_is_named(runs: RunningService, api: httpx.Client) -> None:
    api.put("/faults", json=[{"verb": "patch", "resource": "featureviews", "action": "status", "code": 403}])
    try:
        refused = post(runs, "materialize-incremental", {"end_ts": END, "feature_views": ["clicks"]})
    finally:
        api.delete("/faults")
    assert refused.status_code == 500
    assert "gateway.materialize: true gives it the right" in refused.json()


@pytest.mark.slow
@pytest.mark.skipif(not FEAST.exists(), reason="needs Feast; make bench-feast-env installs it")
def test_feasts_own_client_materializes(runs: RunningService, api: httpx.Client, tmp_path: Path) -> None:
    given: list[str] = []
    over = threading.Event()

    def play() -> None:
        """An operator that is quick with the first two commands, and at work on the third for good."""
        while not over.is_set():
            now = command(api, "user-stats")
            if now and now not in given:
                given.append(now)
                say(api, "user-stats", "Job j succeeded: 1 rows read" if len(given) < 3 else "Job j was made")
            time.sleep(0.02)

    playing = threading.Thread(target=play)
    playing.start()
    try:
        script = Path(__file__).with_name("feast_materialize.py")
        line = [FEAST, script, str(tmp_path), f"{runs.url}/feast"]
        done = subprocess.run(line, capture_output=True, text=True, timeout=SECONDS, check=False, cwd=tmp_path)
    finally:
        over.set()
        playing.join()
    assert done.returncode == 0, done.stderr[-3000:]
    first, second, third, conflict, forced, unknown = json.loads(done.stdout.splitlines()[-1])
    assert (first, second, third, forced) == (None, None, None, None)
    assert conflict.startswith("Remote materialization conflict (409): a command of these feature views is still")
    assert unknown.startswith("Remote materialization failed (404)")
    assert "FeatureViewNotFoundException" in unknown
    interval = ":materialize 2026-11-01T00:00:00Z 2026-11-02T00:00:00Z"
    assert [each.partition(":")[2] for each in given[:3]] == [
        interval[1:],
        "materialize 1970-01-01T00:00:00Z 2026-11-02T00:00:00Z",
        interval[1:],
    ]


DAY = timedelta(days=1)


@pytest.mark.parametrize(
    ("watermark", "end", "expected"),
    [
        (None, NOW - DAY, " 1970-01-01T00:00:00Z 2026-11-29T12:00:00Z"),
        (NOW - 2 * DAY, NOW - DAY, " 2026-11-28T12:00:00Z 2026-11-29T12:00:00Z"),
        (NOW - DAY, NOW - DAY, None),
        (NOW - DAY, NOW, ""),
        (None, NOW + DAY, ""),
    ],
)
def test_incremental_goes_from_where_the_store_is_complete_to_its_end(
    watermark: datetime | None, end: datetime, expected: str | None
) -> None:
    request = Materialize(end_ts=end.isoformat())
    assert arguments(request, incremental=True, watermark=watermark, now=NOW) == expected


def test_without_event_times_it_is_all_until_now() -> None:
    request = Materialize(disable_event_timestamp=True)
    said = arguments(request, incremental=False, watermark=None, now=NOW)
    assert said == " 1970-01-01T00:00:00Z 2026-11-30T12:00:00Z"
