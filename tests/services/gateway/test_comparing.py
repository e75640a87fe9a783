"""Two deployments over the same requests, as the operator asks the gateway: out of a real lake."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import httpx
import numpy as np
import pyarrow.parquet as pq
import pytest

from millrace_core.evidence import layout, rows
from millrace_core.evidence.record import Origin, PredictionRecord
from millrace_core.experiments.compared import ComparedPredictions
from millrace_data.evidence.lake import Lake
from tests.data.evidence.rows import BEGIN
from tests.running_service import RunningService, StartService
from tests.services.gateway.conftest import Store

SINCE = "2024-12-26T08:00:00Z"


@pytest.fixture(scope="module")
def logged(evidence: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Requests 0 to 9 of both deployments, which agree on 0 to 6; and one more of each."""
    scratch = tmp_path_factory.mktemp("rows") / "rows.parquet"
    lake = Lake((evidence / "lake").as_uri(), {})
    folder = layout.hour_of("rides", "ranker", BEGIN).folder

    def write(number: int, deployment: str, values: Sequence[float], own: str) -> None:
        origin = Origin("rides", "ranker", deployment, "0badcafe", "sha256:" + "0" * 64)
        named = [*((f"r{at}", value) for at, value in enumerate(values)), (own, 0.5)]
        records = [
            PredictionRecord(
                identity, BEGIN, 200, (0.0, 0.0, 0.0, 0.001), outputs={"score": np.full((1, 1), value, np.float32)}
            )
            for identity, value in named
        ]
        pq.write_table(rows.table(records, origin), scratch)
        lake.put(f"{folder}/{layout.file_name('0a', number)}", scratch)

    write(1, "v1", [0.25] * 10, "mine")
    write(2, "v2", [*[0.25] * 7, *[0.75] * 3], "theirs")


def asked(gateway: RunningService, service: str = "ranker", **query: str) -> httpx.Response:
    where = {"control": "v1", "shadow": "v2", "since": SINCE, **query}
    return httpx.get(f"{gateway.url}/v1/predictions/rides/{service}/comparison", params=where)


@pytest.mark.usefixtures("logged")
def test_the_operator_gets_what_both_say_of_the_same_requests(gateway: RunningService) -> None:
    found = ComparedPredictions.model_validate_json(asked(gateway).content)
    assert (found.requests, found.rows) == (10, 10)
    [output] = found.outputs
    assert (output.name, output.pairs, output.agreement) == ("score", 10, 0.7)
    assert output.mean_difference == pytest.approx(0.15)
    near = ComparedPredictions.model_validate_json(asked(gateway, tolerance="0.6").content)
    assert near.outputs[0].agreement == 1.0


@pytest.mark.usefixtures("logged")
@pytest.mark.parametrize(
    ("service", "query", "status", "said"),
    [
        ("ranker", {"shadow": "v3"}, 404, "'v3' (0)"),
        ("nobody", {}, 404, "nobody"),
        ("ranker", {"since": "2999-01-01T00:00:00Z"}, 400, "start is not before end"),
        ("ranker", {"since": "yesterday"}, 400, "since"),
        ("ranker", {"shadow": "v1"}, 400, "two different ModelDeployments"),
        ("..%2f..", {}, 404, ""),
    ],
)
def test_what_cannot_be_compared_is_told(
    gateway: RunningService, service: str, query: dict[str, str], status: int, said: str
) -> None:
    answer = asked(gateway, service, **query)
    assert (answer.status_code, said in answer.text) == (status, True), answer.text


def test_a_gateway_without_a_lake_says_what_names_one(
    start: StartService, registry: RunningService, store: Store
) -> None:
    alone = start("-m", "millrace_services.gateway", MILLRACE_REGISTRY_URL=registry.url, MILLRACE_STORE_URL=store.url)
    answer = asked(alone)
    assert (answer.status_code, answer.json()["reason"]) == (500, "NoLake")
    assert "MILLRACE_LAKE_URI" in answer.text
