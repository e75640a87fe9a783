"""MLflow's routes of experiments and runs; each only translates."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any, Final

from millrace_services.registry.mlflow.errors import invalid, missing
from millrace_services.registry.mlflow.fields import Fields
from millrace_services.registry.mlflow.paging import offset_of, token_of
from millrace_services.registry.mlflow.routing import THIRD, Endpoint
from millrace_services.registry.mlflow.searching import Page
from millrace_services.registry.tracking import limits, points
from millrace_services.registry.tracking.experiments import Experiments
from millrace_services.registry.tracking.run_documents import number_shown
from millrace_services.registry.tracking.run_log import Batch, DatasetInput, RunLog
from millrace_services.registry.tracking.runs import Change, NewRun, Runs

Json = Mapping[str, Any]

_EXPERIMENTS_PAGE: Final = 1000
_RUNS_PAGE: Final = 1000
_MOST: Final = 50_000
# Points that one answer has: more are asked for page by page.
_MOST_POINTS: Final = 250_000
_MOST_RUNS: Final = 100
_MOST_EXPERIMENTS: Final = 20
_MOST_OF_BULK: Final = 25_000
_MOST_SAMPLED: Final = 2500
_STEPS: Final = 2**63


class ExperimentRoutes:
    """The routes of experiments."""

    def __init__(self, experiments: Experiments) -> None:
        self._experiments = experiments

    def endpoints(self) -> list[Endpoint]:
        """All of them."""
        at = "experiments"
        return [
            Endpoint("POST", f"{at}/create", self._create),
            Endpoint("GET", f"{at}/get", self._get),
            Endpoint("GET", f"{at}/get-by-name", self._get_by_name),
            Endpoint("POST", f"{at}/search", self._search),
            Endpoint("GET", f"{at}/search", self._search),
            Endpoint("POST", f"{at}/update", self._update),
            Endpoint("POST", f"{at}/delete", self._delete),
            Endpoint("POST", f"{at}/restore", self._restore),
            Endpoint("POST", f"{at}/set-experiment-tag", self._set_tag),
            Endpoint("POST", f"{at}/delete-experiment-tag", self._delete_tag),
        ]

    def _create(self, fields: Fields) -> Json:
        given = fields.required("name"), fields.text("artifact_location"), fields.pairs("tags")
        return {"experiment_id": self._experiments.create(*given)}

    def _get(self, fields: Fields) -> Json:
        return {"experiment": self._experiments.get(fields.required("experiment_id"))}

    def _get_by_name(self, fields: Fields) -> Json:
        return {"experiment": self._experiments.by_name(fields.required("experiment_name"))}

    def _search(self, fields: Fields) -> Json:
        view = fields.choice("view_type", limits.VIEWS, "ACTIVE_ONLY")
        page = page_of(fields, _EXPERIMENTS_PAGE, _MOST)
        found, token = self._experiments.search(fields.text("filter"), fields.texts("order_by"), view, page)
        return listed("experiments", found, token)

    def _update(self, fields: Fields) -> Json:
        self._experiments.rename(fields.required("experiment_id"), fields.required("new_name"))
        return {}

    def _delete(self, fields: Fields) -> Json:
        self._experiments.delete(fields.required("experiment_id"))
        return {}

    def _restore(self, fields: Fields) -> Json:
        self._experiments.restore(fields.required("experiment_id"))
        return {}

    def _set_tag(self, fields: Fields) -> Json:
        self._experiments.set_tag(fields.required("experiment_id"), fields.required("key"), fields.text("value"))
        return {}

    def _delete_tag(self, fields: Fields) -> Json:
        self._experiments.delete_tag(fields.required("experiment_id"), fields.required("key"))
        return {}


class RunRoutes:
    """The routes of runs and of what they log."""

    def __init__(self, runs: Runs, log: RunLog) -> None:
        self._runs = runs
        self._log = log

    def endpoints(self) -> list[Endpoint]:
        """All of them."""
        return [
            Endpoint("POST", "runs/create", self._create),
            Endpoint("GET", "runs/get", self._get),
            Endpoint("POST", "runs/update", self._update),
            Endpoint("POST", "runs/delete", self._delete),
            Endpoint("POST", "runs/restore", self._restore),
            Endpoint("POST", "runs/search", self._search),
            Endpoint("POST", "runs/log-metric", self._log_metric),
            Endpoint("POST", "runs/log-parameter", self._log_param),
            Endpoint("POST", "runs/log-batch", self._log_batch),
            Endpoint("POST", "runs/set-tag", self._set_tag),
            Endpoint("POST", "runs/delete-tag", self._delete_tag),
            Endpoint("POST", "runs/log-inputs", self._log_inputs),
            Endpoint("POST", "runs/outputs", self._log_outputs),
            Endpoint("POST", "experiments/search-datasets", self._datasets),
            Endpoint("GET", "metrics/get-history", self._history),
            Endpoint("GET", "metrics/get-history-bulk", self._bulk),
            Endpoint("GET", "metrics/get-history-bulk-interval", self._interval),
        ]

    def _create(self, fields: Fields) -> Json:
        given = NewRun(
            experiment_id=fields.text("experiment_id") or "0",
            user_id=fields.text("user_id"),
            name=fields.text("run_name"),
            start_time=fields.integer("start_time", time.time_ns() // 1_000_000),
            tags=fields.pairs("tags"),
        )
        return {"run": self._runs.create(given)}

    def _get(self, fields: Fields) -> Json:
        return {"run": self._runs.get(run_id(fields))}

    def _update(self, fields: Fields) -> Json:
        change = Change(
            status=fields.choice("status", limits.STATUSES, "") or None,
            end_time=fields.integer("end_time", 0) if fields.has("end_time") else None,
            name=fields.optional("run_name"),
        )
        return {"run_info": self._runs.update(run_id(fields), change)}

    def _delete(self, fields: Fields) -> Json:
        self._runs.delete(fields.required("run_id"))
        return {}

    def _restore(self, fields: Fields) -> Json:
        self._runs.restore(fields.required("run_id"))
        return {}

    def _search(self, fields: Fields) -> Json:
        view = fields.choice("run_view_type", limits.VIEWS, "ACTIVE_ONLY")
        page = page_of(fields, _RUNS_PAGE, _MOST)
        experiments, order_by = fields.texts("experiment_ids"), fields.texts("order_by")
        found, token = self._runs.search(experiments, fields.text("filter"), order_by, view, page)
        return listed("runs", found, token)

    def _log_metric(self, fields: Fields) -> Json:
        fields.required("key")
        names = ("key", "value", "timestamp", "step", "model_id", "dataset_name", "dataset_digest")
        item = {name: fields.single(name) for name in names}
        metrics = points.parsed([item])
        self._log.log(run_id(fields), Batch(metrics, of_models=points.of_models([item], metrics)))
        return {}

    def _log_param(self, fields: Fields) -> Json:
        key, value = limits.param(fields.required("key"), fields.text("value"))
        self._log.log(run_id(fields), Batch(params={key: value}))
        return {}

    def _log_batch(self, fields: Fields) -> Json:
        metrics, params, tags = (fields.raw(name) for name in ("metrics", "params", "tags"))
        limits.batch("metrics", limits.MOST_METRICS, len(metrics))
        limits.batch("params", limits.MOST_PARAMS, len(params))
        limits.batch("tags", limits.MOST_TAGS, len(tags))
        limits.batch("metrics, params, and tags", limits.MOST_TOGETHER, len(metrics) + len(params) + len(tags))
        named = dict(limits.param(*pair) for pair in fields.pairs("params").items())
        if len(named) < len(params):
            raise invalid(
                f"Duplicate parameter keys have been submitted: {_twice(params)}. Please ensure the request contains "
                "only one param value per param key."
            )
        tagged = dict(limits.tag(*pair) for pair in fields.pairs("tags").items())
        parsed = points.parsed(metrics)
        self._log.log(run_id(fields), Batch(parsed, named, tagged, points.of_models(metrics, parsed)))
        return {}

    def _set_tag(self, fields: Fields) -> Json:
        key, value = limits.tag(fields.required("key"), fields.text("value"))
        self._log.log(run_id(fields), Batch(tags={key: value}))
        return {}

    def _delete_tag(self, fields: Fields) -> Json:
        self._log.delete_tag(run_id(fields), fields.required("key"))
        return {}

    def _log_inputs(self, fields: Fields) -> Json:
        datasets = [_dataset(each) for each in fields.rows("datasets", limits.MOST_DATASETS)]
        models = [each.required("model_id") for each in fields.rows("models", limits.MOST_DATASETS)]
        self._log.log_inputs(run_id(fields), datasets, models)
        return {}

    def _log_outputs(self, fields: Fields) -> Json:
        models = [
            (each.required("model_id"), each.integer("step", 0, least=-_STEPS))
            for each in fields.rows("models", limits.MOST_DATASETS)
        ]
        self._log.log_outputs(run_id(fields), models)
        return {}

    def _datasets(self, fields: Fields) -> Json:
        experiments = fields.texts("experiment_ids")
        if not experiments:
            raise missing("experiment_ids")
        if len(experiments) > _MOST_EXPERIMENTS:
            raise invalid(f"SearchDatasets request must specify at most {_MOST_EXPERIMENTS} experiment_ids.")
        return listed("dataset_summaries", self._log.datasets(experiments))

    def _history(self, fields: Fields) -> Json:
        key, offset = fields.required("metric_key"), offset_of(fields.text("page_token"))
        paged = fields.has("max_results")
        most = fields.integer("max_results", _MOST_POINTS, least=1, most=_MOST_POINTS)
        rows = self._log.history(run_id(fields), key, most + 1, offset)
        if len(rows) > most and not paged:
            raise invalid(f"The metric has more than {most} points: ask for them by max_results and page_token")
        token = token_of(offset + most) if len(rows) > most else ""
        return listed("metrics", [_point(key, row) for row in rows[:most]], token)

    def _bulk(self, fields: Fields) -> Json:
        key, most = fields.required("metric_key"), fields.integer("max_results", _MOST_OF_BULK, least=1)
        found = self._log.histories(_run_ids(fields, "run_id"), key, min(most, _MOST_OF_BULK))
        return {"metrics": [{**_point(key, row), "run_id": run} for run, row in found]}

    def _interval(self, fields: Fields) -> Json:
        key = fields.required("metric_key")
        start, end = (
            fields.integer(name, 0, least=-_STEPS) if fields.has(name) else None for name in ("start_step", "end_step")
        )
        if (start is None) != (end is None):
            raise invalid("If either start step or end step are specified, both must be specified.")
        if start is not None and end is not None and start > end:
            raise invalid(f"end_step must be greater than start_step. Found start_step={start} and end_step={end}.")
        most = fields.integer("max_results", _MOST_SAMPLED, least=1, most=_MOST_SAMPLED)
        found = self._log.sampled(_run_ids(fields, "run_ids"), key, (start, end), most)
        return listed("metrics", [{**_point(key, row), "run_id": run} for run, row in found])


def server_endpoints() -> list[Endpoint]:
    """What clients ask about the server itself."""

    def server_info(_: Fields) -> Json:
        return {
            "store_type": "SqlStore",
            "workspaces_enabled": False,
            "trace_archival_enabled": False,
            "multipart_uploads_enabled": False,
            "multipart_downloads_enabled": False,
            "presigned_upload_run_id_supported": False,
            "presigned_upload_model_id_supported": False,
            "features_enabled": {"gateway": False},
        }

    return [Endpoint("GET", "server-info", server_info, THIRD)]


def run_id(fields: Fields) -> str:
    """The run that a request is about, by its name of today or of before."""
    return fields.text("run_id") or fields.text("run_uuid") or _no_run()


def page_of(fields: Fields, size: int, most: int) -> Page:
    """The page that a request wants; ``size`` where it does not say how large."""
    return Page.of(fields.integer("max_results", size, least=1, most=most), fields.text("page_token"))


def listed(name: str, found: Sequence[Any], token: str = "") -> Json:
    """A list as answers have it: nothing at all where it is empty."""
    return {name: found} | ({"next_page_token": token} if token else {}) if found else {}


def _no_run() -> str:
    raise missing("run_id")


def _run_ids(fields: Fields, name: str) -> list[str]:
    found = fields.texts(name)
    if not found:
        raise missing(name)
    if len(found) > _MOST_RUNS:
        raise invalid(f"At most {_MOST_RUNS} runs may be given as {name}. Received {len(found)}.")
    return found


def _point(key: str, row: Any) -> dict[str, Any]:
    _, step, timestamp, value, is_nan = row
    shown = "NaN" if is_nan else number_shown(value)
    return {"key": key, "value": shown, "timestamp": timestamp, "step": step}


def _dataset(given: Fields) -> DatasetInput:
    dataset = given.nested("dataset")
    required = {name: dataset.required(name) for name in ("name", "digest", "source_type", "source")}
    return DatasetInput(
        {**required, **{name: dataset.text(name) for name in ("schema", "profile")}}, given.pairs("tags")
    )


def _twice(params: Sequence[Any]) -> list[str]:
    keys = [each["key"] for each in params]
    return sorted({key for key in keys if keys.count(key) > 1})
