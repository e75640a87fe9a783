"""MLflow's routes of logged models; each only translates."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from millrace_services.registry.mlflow.errors import invalid
from millrace_services.registry.mlflow.fields import Fields
from millrace_services.registry.mlflow.routing import Endpoint
from millrace_services.registry.tracking.logged_model_search import MetricDataset, ModelOrder
from millrace_services.registry.tracking.logged_models import STATUSES, LoggedModels, NewModel
from millrace_services.registry.tracking.rest import listed, page_of

Json = Mapping[str, Any]

_PAGE: Final = 50
_MOST: Final = 1000
_MOST_ORDERS: Final = 20
# Each stands in every condition on metrics, and SQLite nests a thousand.
_MOST_DATASETS: Final = 50


class LoggedModelRoutes:
    """The routes of logged models."""

    def __init__(self, models: LoggedModels) -> None:
        self._models = models

    def endpoints(self) -> list[Endpoint]:
        """All of them."""
        one = "logged-models/{model_id}"
        return [
            Endpoint("POST", "logged-models", self._create),
            Endpoint("POST", "logged-models/search", self._search),
            Endpoint("GET", one, self._get),
            Endpoint("PATCH", one, self._finalize),
            Endpoint("DELETE", one, self._delete),
            Endpoint("PATCH", f"{one}/tags", self._set_tags),
            Endpoint("DELETE", one + "/tags/{tag_key:path}", self._delete_tag),
            Endpoint("POST", f"{one}/params", self._log_params),
        ]

    def _create(self, fields: Fields) -> Json:
        given = NewModel(
            experiment_id=fields.required("experiment_id"),
            name=fields.text("name"),
            model_type=fields.text("model_type"),
            source_run_id=fields.text("source_run_id"),
            params=fields.pairs("params"),
            tags=fields.pairs("tags"),
        )
        return {"model": self._models.create(given)}

    def _get(self, fields: Fields) -> Json:
        return {"model": self._models.get(fields.required("model_id"))}

    def _finalize(self, fields: Fields) -> Json:
        status = fields.choice("status", STATUSES, "")
        return {"model": self._models.finalize(fields.required("model_id"), status)}

    def _delete(self, fields: Fields) -> Json:
        self._models.delete(fields.required("model_id"))
        return {}

    def _set_tags(self, fields: Fields) -> Json:
        return {"model": self._models.set_tags(fields.required("model_id"), fields.pairs("tags"))}

    def _delete_tag(self, fields: Fields) -> Json:
        self._models.delete_tag(fields.required("model_id"), fields.required("tag_key"))
        return {}

    def _log_params(self, fields: Fields) -> Json:
        self._models.log_params(fields.required("model_id"), fields.pairs("params"))
        return {}

    def _search(self, fields: Fields) -> Json:
        experiments = fields.texts("experiment_ids")
        if not experiments:
            raise invalid("experiment_ids must be specified.")
        order_by = [_order(each) for each in fields.rows("order_by", _MOST_ORDERS)]
        datasets = [
            MetricDataset(each.required("dataset_name"), each.text("dataset_digest"))
            for each in fields.rows("datasets", _MOST_DATASETS)
        ]
        page = page_of(fields, _PAGE, _MOST)
        found, token = self._models.search(experiments, fields.text("filter"), order_by, datasets, page)
        return listed("models", found, token)


def _order(given: Fields) -> ModelOrder:
    ascending = given.flag("ascending") if given.has("ascending") else True
    dataset = MetricDataset(given.text("dataset_name"), given.text("dataset_digest"))
    return ModelOrder(given.required("field_name"), not ascending, dataset)
