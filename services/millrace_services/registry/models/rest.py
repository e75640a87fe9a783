"""MLflow's routes of registered models, their versions and aliases; each only translates."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from millrace_services.registry.database import Database
from millrace_services.registry.mlflow.fields import Fields
from millrace_services.registry.mlflow.routing import Endpoint
from millrace_services.registry.mlflow.searching import Page
from millrace_services.registry.models import names
from millrace_services.registry.models.aliases import Aliases
from millrace_services.registry.models.changes import Author
from millrace_services.registry.models.registered import Clock, RegisteredModels
from millrace_services.registry.models.versions import NewVersion, Versions

Json = Mapping[str, Any]

_MODELS_PAGE: Final = 100
_MODELS_MOST: Final = 1000
_VERSIONS_PAGE: Final = 10_000
_VERSIONS_MOST: Final = 200_000


class ModelRoutes:
    """The routes over a database's models.

    Args:
        now: the present moment in milliseconds since 1970.
    """

    def __init__(self, database: Database, now: Clock) -> None:
        self._models = RegisteredModels(database, now)
        self._versions = Versions(database, now)
        self._aliases = Aliases(database)
        self._now = now

    def endpoints(self) -> list[Endpoint]:
        """All 21 of them."""
        models, versions = "registered-models", "model-versions"
        return [
            Endpoint("POST", f"{models}/create", self._create_model),
            Endpoint("GET", f"{models}/get", self._get_model),
            Endpoint("POST", f"{models}/rename", self._rename_model),
            Endpoint("PATCH", f"{models}/update", self._update_model),
            Endpoint("DELETE", f"{models}/delete", self._delete_model),
            Endpoint("GET", f"{models}/search", self._search_models),
            Endpoint("POST", f"{models}/get-latest-versions", self._latest_versions),
            Endpoint("GET", f"{models}/get-latest-versions", self._latest_versions),
            Endpoint("POST", f"{models}/set-tag", self._set_model_tag),
            Endpoint("DELETE", f"{models}/delete-tag", self._delete_model_tag),
            Endpoint("POST", f"{models}/alias", self._set_alias),
            Endpoint("GET", f"{models}/alias", self._get_alias),
            Endpoint("DELETE", f"{models}/alias", self._delete_alias),
            Endpoint("POST", f"{versions}/create", self._create_version),
            Endpoint("GET", f"{versions}/get", self._get_version),
            Endpoint("PATCH", f"{versions}/update", self._update_version),
            Endpoint("DELETE", f"{versions}/delete", self._delete_version),
            Endpoint("GET", f"{versions}/search", self._search_versions),
            Endpoint("GET", f"{versions}/get-download-uri", self._download_uri),
            Endpoint("POST", f"{versions}/transition-stage", self._transition),
            Endpoint("POST", f"{versions}/set-tag", self._set_version_tag),
            Endpoint("DELETE", f"{versions}/delete-tag", self._delete_version_tag),
        ]

    def _create_model(self, fields: Fields) -> Json:
        name = fields.required("name")
        given = fields.pairs("tags"), fields.text("description"), fields.text("deployment_job_id")
        return {"registered_model": self._models.create(name, *given)}

    def _get_model(self, fields: Fields) -> Json:
        return {"registered_model": self._models.get(fields.required("name"))}

    def _rename_model(self, fields: Fields) -> Json:
        return {"registered_model": self._models.rename(fields.required("name"), fields.required("new_name"))}

    def _update_model(self, fields: Fields) -> Json:
        given = {field: fields.optional(field) for field in ("description", "deployment_job_id")}
        changed = {field: value for field, value in given.items() if value is not None}
        return {"registered_model": self._models.update(fields.required("name"), changed)}

    def _delete_model(self, fields: Fields) -> Json:
        self._models.delete(fields.required("name"), self._author(fields))
        return {}

    def _search_models(self, fields: Fields) -> Json:
        page = _page(fields, _MODELS_PAGE, _MODELS_MOST)
        found, token = self._models.search(fields.text("filter"), fields.texts("order_by"), page)
        return _listed("registered_models", found, token)

    def _latest_versions(self, fields: Fields) -> Json:
        return _listed("model_versions", self._versions.latest(fields.required("name"), fields.texts("stages")))

    def _set_model_tag(self, fields: Fields) -> Json:
        self._models.set_tag(fields.required("name"), fields.required("key"), fields.text("value"))
        return {}

    def _delete_model_tag(self, fields: Fields) -> Json:
        self._models.delete_tag(fields.required("name"), fields.required("key"))
        return {}

    def _set_alias(self, fields: Fields) -> Json:
        name, alias, version = fields.required("name"), fields.required("alias"), _version(fields)
        self._aliases.set(name, alias, version, self._author(fields), _expected(fields))
        return {}

    def _get_alias(self, fields: Fields) -> Json:
        return {"model_version": self._aliases.get(fields.required("name"), fields.required("alias"))}

    def _delete_alias(self, fields: Fields) -> Json:
        name, alias = fields.required("name"), fields.required("alias")
        self._aliases.delete(name, alias, self._author(fields), _expected(fields))
        return {}

    def _create_version(self, fields: Fields) -> Json:
        name = fields.required("name")
        given = NewVersion(
            source=fields.required("source"),
            run_id=fields.text("run_id"),
            run_link=fields.text("run_link"),
            description=fields.text("description"),
            model_id=fields.text("model_id"),
            tags=fields.pairs("tags"),
        )
        return {"model_version": self._versions.create(name, given, fields.caller.idempotency_key)}

    def _get_version(self, fields: Fields) -> Json:
        return {"model_version": self._versions.get(fields.required("name"), _version(fields))}

    def _update_version(self, fields: Fields) -> Json:
        name, version = fields.required("name"), _version(fields)
        return {"model_version": self._versions.update(name, version, fields.optional("description"))}

    def _delete_version(self, fields: Fields) -> Json:
        self._versions.delete(fields.required("name"), _version(fields), self._author(fields))
        return {}

    def _search_versions(self, fields: Fields) -> Json:
        page = _page(fields, _VERSIONS_PAGE, _VERSIONS_MOST)
        found, token = self._versions.search(fields.text("filter"), fields.texts("order_by"), page)
        return _listed("model_versions", found, token)

    def _download_uri(self, fields: Fields) -> Json:
        return {"artifact_uri": self._versions.download_uri(fields.required("name"), _version(fields))}

    def _transition(self, fields: Fields) -> Json:
        name, version, stage = fields.required("name"), _version(fields), fields.required("stage")
        archive = fields.flag("archive_existing_versions")
        return {"model_version": self._versions.transition(name, version, stage, self._author(fields), archive=archive)}

    def _set_version_tag(self, fields: Fields) -> Json:
        name, version = fields.required("name"), _version(fields)
        self._versions.set_tag(name, version, fields.required("key"), fields.text("value"))
        return {}

    def _delete_version_tag(self, fields: Fields) -> Json:
        self._versions.delete_tag(fields.required("name"), _version(fields), fields.required("key"))
        return {}

    def _author(self, fields: Fields) -> Author:
        reason = names.short("reason", fields.text("reason"))
        return Author(self._now(), fields.caller.user, fields.caller.client, reason)


def _version(fields: Fields) -> int:
    return names.version(fields.required("version"))


def _expected(fields: Fields) -> int | None:
    """Our own field: the version that the alias has to stand for; 0 or an empty text for none."""
    return fields.integer("expected_version", 0) if fields.has("expected_version") else None


def _page(fields: Fields, size: int, most: int) -> Page:
    return Page.of(fields.integer("max_results", size, least=1, most=most), fields.text("page_token"))


def _listed(name: str, found: list[dict[str, Any]], token: str = "") -> Json:
    return {name: found} | ({"next_page_token": token} if token else {}) if found else {}
