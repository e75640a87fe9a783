"""What scalers ask for is what a server shows."""

from __future__ import annotations

from datetime import timedelta

import httpx
import pytest

from millrace_core.api.modeldeployment import ModelDeployment
from millrace_local.controllers.scaling.pod_metrics import samples
from millrace_local.controllers.scaling.promql import parse, value
from millrace_operators.modeldeployment.scaler import load_query
from tests import builders
from tests.operators.world import START

POD = {"metadata": {"namespace": "shop", "name": "m-v7-1"}}


@pytest.mark.parametrize("metric", ["queueDepth", "inFlight", "requestRate"])
def test_each_metric_of_the_spec_is_shown_before_the_first_request_and_after(serve, models, metric):
    server = serve(models["sum"])
    built = builders.model_deployment("m-v7").having("spec.scaling", {"min": 1, "max": 2, "metric": metric})
    spec = ModelDeployment.model_validate(built.build()).spec
    terms = parse(load_query("m-v7", "shop", "m-v7-1", spec))
    history = {}

    def look(seconds: int) -> float | None:
        now = START + timedelta(seconds=seconds)
        for series, number in samples(httpx.get(f"{server.url}/metrics").text, POD, {term.name for term in terms}):
            history.setdefault(series, []).append((now, number))
        return value(terms, history, now)

    assert look(0) is not None
    features = {"name": "features", "datatype": "FP32", "shape": [1, 3], "data": [1, 2, 3]}
    for seconds in (10, 20):
        answer = httpx.post(f"{server.url}/v2/models/m/infer", json={"inputs": [features]})
        assert answer.status_code == 200
        found = look(seconds)
    assert found == 0.1 if metric == "requestRate" else found is not None
