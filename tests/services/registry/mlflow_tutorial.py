"""What training code does with MLflow, from its first run to a model that is loaded: ``python mlflow_tutorial.py``.

It knows no more of its server than MLFLOW_TRACKING_URI, and prints what it saw. Runs in an environment of MLflow's own.
Ids and moments, which no two servers share, stand there as the order in which they were met.
"""

from __future__ import annotations

import json
import math
import re
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
from mlflow import MlflowClient
from mlflow.entities import Metric, Param, RunTag, ViewType
from mlflow.models import infer_signature
from sklearn.linear_model import LogisticRegression

_ID = re.compile(r"(?:m-)?[0-9a-f]{32}")
_MOMENTS = ("time", "timestamp")
met: dict[str, str] = {}


def shown(value: Any) -> Any:
    """A value without ids and moments."""
    if isinstance(value, dict):
        return {shown(key): "some" if _moment(key, each) else shown(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [shown(each) for each in value]
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, str):
        return _ID.sub(lambda found: met.setdefault(found[0], f"id{len(met)}"), value)
    return value


def _moment(key: Any, value: Any) -> bool:
    return isinstance(value, int) and value > 10**12 and any(each in str(key) for each in _MOMENTS)


def of(thing: Any) -> Any:
    """All that an entity says of itself."""
    if isinstance(thing, list):
        return [of(each) for each in thing]
    return shown(thing.to_dictionary() if hasattr(thing, "to_dictionary") else dict(thing))


def refusal(call: Callable[[], object]) -> str:
    """The code of the error that a call raises; its kind, where it is none of MLflow's."""
    try:
        call()
    except Exception as error:
        return getattr(error, "error_code", type(error).__name__)
    return "none"


def run_of(run: Any) -> Any:
    """A run; what its client puts into tags by itself differs between processes."""
    found = run.to_dictionary()
    for tag in ("mlflow.source.name", "mlflow.user", "mlflow.source.git.commit", "mlflow.log-model.history"):
        found["data"]["tags"].pop(tag, None)
    found["info"].pop("user_id", None)
    for dataset in found.get("inputs", {}).get("dataset_inputs", []):
        dataset["dataset"].pop("source", None)
    return shown(found)


def first_steps(client: MlflowClient) -> dict[str, Any]:
    """Experiments and runs that log by hand."""
    seen: dict[str, Any] = {"default": of(client.get_experiment("0")), "none": client.get_experiment_by_name("x")}
    experiment = mlflow.set_experiment(f"tutorial {mlflow.__version__}")
    client.set_experiment_tag(experiment.experiment_id, "team", "growth")
    seen["again"] = refusal(lambda: client.create_experiment(f"tutorial {mlflow.__version__}"))
    with mlflow.start_run(run_name="by hand", description="first", tags={"stage": "draft"}) as run:
        mlflow.log_params({"alpha": 0.5, "name": "a b", "long": "x" * 300})
        mlflow.log_param("one", 1)
        mlflow.log_metrics({"loss": 0.9, "acc": 0.1}, step=0)
        for step in range(1, 6):
            mlflow.log_metric("loss", 0.9 / step, step=step)
        for name, value in (("nan", math.nan), ("zero", 0.0), ("small", 1e-300)):
            mlflow.log_metric(name, value)
        mlflow.set_tags({"a.b": "1", "c/d": "2"})
        mlflow.log_text("hello", "notes/hello.txt")
        mlflow.log_dict({"a": 1}, "conf.json")
        seen["changed param"] = refusal(lambda: client.log_param(run.info.run_id, "alpha", "0.7"))
        seen["bad key"] = refusal(lambda: client.log_metric(run.info.run_id, "a/../b", 1.0))
    run_id = run.info.run_id
    client.log_batch(
        run_id,
        [Metric("batch", float(step), 1, step) for step in range(20)],
        [Param("p1", "1")],
        [RunTag("t1", "x")],
    )
    client.delete_tag(run_id, "stage")
    seen["run"] = run_of(client.get_run(run_id))
    seen["history"] = [(each.step, each.value) for each in client.get_metric_history(run_id, "loss")]
    seen["long history"] = [(each.step, each.value) for each in client.get_metric_history(run_id, "batch")]
    seen["files"] = [(each.path, each.is_dir, each.file_size) for each in client.list_artifacts(run_id)]
    seen["files below"] = [each.path for each in client.list_artifacts(run_id, "notes")]
    with tempfile.TemporaryDirectory() as folder:
        seen["downloaded"] = Path(client.download_artifacts(run_id, "notes/hello.txt", folder)).read_text()
    seen["no file"] = refusal(lambda: mlflow.artifacts.load_text(f"runs:/{run_id}/nothing.txt"))
    return seen


def searches(client: MlflowClient) -> dict[str, Any]:
    """Runs of several values, and how they are found."""
    experiment = client.create_experiment(f"searched {mlflow.__version__}")
    for at, name in enumerate("abcd"):
        run = client.create_run(experiment, start_time=1000 + at, run_name=name, tags={"team": name})
        client.log_param(run.info.run_id, "lr", str(at))
        if name != "d":
            client.log_metric(run.info.run_id, "acc", at / 10)
        client.set_terminated(run.info.run_id, "FINISHED" if at else "FAILED")
    queries = [
        ("", []),
        ("metrics.acc > 0.05", ["metrics.acc DESC"]),
        ("", ["metrics.acc ASC"]),
        ("params.lr = '1' or params.lr = '2'", []),
        ("params.lr != '1' AND tags.team != 'c'", []),
        ("attributes.status = 'FINISHED'", ["attributes.start_time ASC"]),
        ("run_name LIKE '%a%'", []),
        ("tags.`mlflow.runName` = 'b'", []),
        ("start_time >= 1002", ["params.lr"]),
        ("metrics.nothing > 0", []),
        ("owner = 'x'", []),
        ("metrics.acc > 'x'", []),
        ("params.lr > '1'", []),
    ]
    seen: dict[str, Any] = {}
    for text, order in queries:
        found: list[str] = []

        def ask(text: str = text, order: list[str] = order, found: list[str] = found) -> None:
            runs = client.search_runs([experiment], text, order_by=order, max_results=10)
            found += [run.info.run_name for run in runs]

        refused = refusal(ask)
        seen[f"{text} {order}"] = found if refused == "none" else refused
    pages, token = [], None
    while token != "":
        page = client.search_runs([experiment], max_results=3, page_token=token, order_by=["metrics.acc DESC"])
        pages.append([run.info.run_name for run in page])
        token = page.token or ""
    seen["pages"] = pages
    first = client.search_runs([experiment], "tags.team = 'a'")[0].info.run_id
    client.delete_run(first)
    seen["left"] = len(client.search_runs([experiment]))
    seen["deleted"] = [run.info.run_name for run in client.search_runs([experiment], "", ViewType.DELETED_ONLY)]
    seen["log to deleted"] = refusal(lambda: client.log_metric(first, "acc", 1.0))
    client.restore_run(first)
    seen["restored"] = len(client.search_runs([experiment]))
    seen["experiments"] = [each.name for each in client.search_experiments(order_by=["name"])]
    seen["by tag"] = [each.name for each in client.search_experiments(filter_string="tags.team = 'growth'")]
    client.rename_experiment(experiment, f"found {mlflow.__version__}")
    client.delete_experiment(experiment)
    seen["deleted experiment"] = of(client.get_experiment(experiment))
    seen["run there"] = refusal(lambda: client.create_run(experiment))
    client.restore_experiment(experiment)
    seen["no run"] = refusal(lambda: client.get_run("f" * 32))
    return seen


def models(client: MlflowClient) -> dict[str, Any]:
    """Training that logs itself, and what becomes of its model."""
    x, y = np.array([[float(at)] for at in range(20)]), np.array([at % 2 for at in range(20)])
    mlflow.sklearn.autolog(log_datasets=True, silent=True, log_model_signatures=False)
    with mlflow.start_run(run_name="auto") as run:
        LogisticRegression(C=0.5).fit(x, y)
    mlflow.sklearn.autolog(disable=True)
    auto = client.get_run(run.info.run_id)
    seen: dict[str, Any] = {"params": auto.data.params, "metrics": sorted(auto.data.metrics)}
    seen["read"] = [
        (each.dataset.name, each.dataset.source_type, {tag.key: tag.value for tag in each.tags})
        for each in auto.inputs.dataset_inputs
    ]
    seen["logged by itself"] = len(auto.outputs.model_outputs)
    model = LogisticRegression().fit(x, y)
    with mlflow.start_run(run_name="logged"):
        info = mlflow.sklearn.log_model(
            model, name="clf", registered_model_name="churn", signature=infer_signature(x, y), params={"depth": "3"}
        )
        mlflow.log_metric("auc", 0.9, model_id=info.model_id)
    logged = mlflow.get_logged_model(info.model_id)
    seen["logged"] = shown([logged.name, str(logged.status), logged.params, logged.model_uri, logged.artifact_location])
    seen["logged metrics"] = [(each.key, each.value) for each in logged.metrics]
    found = mlflow.search_logged_models(
        experiment_ids=[logged.experiment_id], filter_string="metrics.auc > 0.5", output_format="list"
    )
    seen["found"] = shown([each.model_id for each in found])
    with mlflow.start_run(run_name="second"):
        mlflow.sklearn.log_model(model, name="clf", registered_model_name="churn")
    client.set_registered_model_alias("churn", "champion", "1")
    client.transition_model_version_stage("churn", "2", "Production")
    for version in ("1", "2"):
        found_version = client.get_model_version("churn", version)
        seen[f"version {version}"] = shown(
            [
                found_version.source,
                found_version.run_id,
                found_version.model_id,
                found_version.current_stage,
                found_version.status,
                client.get_model_version_download_uri("churn", version),
            ]
        )
    expected = model.predict(x).tolist()
    for uri in ("models:/churn@champion", "models:/churn/1", "models:/churn/Production", "models:/churn/latest"):
        seen[uri] = mlflow.pyfunc.load_model(uri).predict(x).tolist() == expected
    seen[info.model_id[:2]] = mlflow.sklearn.load_model(info.model_uri).predict(x).tolist() == expected
    seen["model's files"] = sorted(each.path for each in mlflow.artifacts.list_artifacts(f"models:/{info.model_id}"))
    client.set_logged_model_tags(info.model_id, {"gate": "passed"})
    client.delete_logged_model_tag(info.model_id, "gate")
    client.delete_model_version("churn", "2")
    client.delete_registered_model("churn")
    client.delete_logged_model(info.model_id)
    seen["gone"] = refusal(lambda: client.get_logged_model(info.model_id))
    return seen


def main() -> dict[str, Any]:
    """All of it."""
    client = MlflowClient()
    return {"first steps": first_steps(client), "searches": searches(client), "models": models(client)}


if __name__ == "__main__":
    print(json.dumps(main()))
