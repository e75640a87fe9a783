"""MLflow's routes of the registry: runs, models and their files, over a database and a folder of their own."""

from __future__ import annotations

from typing import Any, Final

import orjson

from tests.fuzz.in_process import InProcess
from tests.fuzz.registry_routes import opened

_API: Final = b"/api/2.0/mlflow/"
_FILES: Final = b"/api/2.0/mlflow-artifacts/artifacts"
_JSON: Final = b" content-type:application/json\n"
_EXPERIMENTS: Final = ["0"]


def _sent(method: bytes, path: bytes, **fields: Any) -> bytes:
    return method + b" " + _API + path + _JSON + orjson.dumps(fields)


_METRICS: Final = [
    {"key": "loss", "value": 0.5, "timestamp": 1, "step": 0},
    {"key": "loss", "value": "NaN", "timestamp": "2", "step": "-1", "model_id": "m-1", "dataset_name": "d"},
]
_PAIRS: Final = [{"key": "a.b/c", "value": "1"}]
_DATASET: Final = {"name": "d", "digest": "1", "source_type": "local", "source": "{}", "schema": "{}"}
# RUN stands for a run that there is.
SEEDS: Final = [
    _sent(b"POST", b"experiments/create", name="e", artifact_location="s3://b/x", tags=_PAIRS),
    _sent(
        b"POST",
        b"experiments/search",
        filter="name LIKE 'a%' AND tags.x = '1'",
        order_by=["name DESC"],
        view_type="ALL",
    ),
    _sent(b"POST", b"experiments/set-experiment-tag", experiment_id="0", key="k", value="v"),
    b"GET " + _API + b"experiments/get-by-name?experiment_name=Default",
    _sent(b"POST", b"runs/create", experiment_id="0", start_time=1, run_name="r", tags=_PAIRS),
    _sent(b"POST", b"runs/update", run_id="RUN", status="FINISHED", end_time=5, run_name="x"),
    _sent(b"POST", b"runs/log-batch", run_id="RUN", metrics=_METRICS[:1], params=_PAIRS, tags=_PAIRS),
    _sent(b"POST", b"runs/log-metric", run_id="RUN", **_METRICS[1]),
    _sent(b"POST", b"runs/log-inputs", run_id="RUN", datasets=[{"dataset": _DATASET, "tags": _PAIRS}], models=[]),
    _sent(b"POST", b"runs/outputs", run_id="RUN", models=[{"model_id": "m-1", "step": 1}]),
    _sent(
        b"POST",
        b"runs/search",
        experiment_ids=_EXPERIMENTS,
        filter="metrics.loss > 0.1 AND params.`a.b/c` = '1' AND tags.t IS NULL AND dataset.name IN ('d')",
        order_by=["metrics.loss DESC", "params.x"],
        max_results=5,
        page_token="eyJvZmZzZXQiOjF9",
    ),
    b"GET " + _API + b"metrics/get-history?run_id=RUN&metric_key=loss&max_results=5",
    b"GET "
    + _API
    + b"metrics/get-history-bulk-interval?run_ids=RUN&metric_key=loss&start_step=0&end_step=9&max_results=3",
    _sent(b"POST", b"logged-models", experiment_id="0", name="m", source_run_id="RUN", params=_PAIRS, tags=_PAIRS),
    _sent(
        b"POST",
        b"logged-models/search",
        experiment_ids=_EXPERIMENTS,
        filter="metrics.loss < 1 AND params.a = '1'",
        order_by=[{"field_name": "metrics.loss", "ascending": False, "dataset_name": "d"}],
        datasets=[{"dataset_name": "d", "dataset_digest": "1"}],
    ),
    _sent(b"PATCH", b"logged-models/m-1", status="LOGGED_MODEL_READY"),
    _sent(b"PATCH", b"logged-models/m-1/tags", tags=_PAIRS),
    _sent(b"POST", b"registered-models/create", name="m", tags=_PAIRS),
    _sent(b"POST", b"model-versions/create", name="m", source="models:/m-" + "0" * 32, run_id="RUN"),
    b"GET " + _API + b"artifacts/list?run_id=RUN&path=a/b",
    b"PUT " + _FILES + b"/0/RUN/artifacts/a.txt content-type:text/plain\nhello",
    b"GET " + _FILES + b"/0/RUN/artifacts/%2e%2e/a.txt",
    b"GET " + _FILES + b"?path=0/RUN",
    b"DELETE " + _FILES + b"/0/RUN/artifacts/a.txt",
]


class MlflowRoutes:
    """Called with one request; what was taken is given again by searches of everything."""

    def __init__(self) -> None:
        # Parts of uploads are not there, which MLflow's code for it makes a 501.
        self._registry = InProcess(opened, expected=[501])
        made = self._registry(_sent(b"POST", b"runs/create", experiment_id="0", start_time=1))
        assert made is not None
        self._run = orjson.loads(made.body)["run"]["info"]["run_id"].encode()

    def __call__(self, sent: bytes) -> None:
        answered = self._registry(sent.replace(b"RUN", self._run))
        if answered is not None and answered.status < 300 and not sent.startswith(b"GET"):
            for path in (b"runs/search", b"logged-models/search"):
                self._registry(_sent(b"POST", path, experiment_ids=_EXPERIMENTS))
