"""What a team does with a registry of models, by MLflow's own client: ``python mlflow_peer.py URL`` prints what it saw.

Runs in an environment of MLflow's own. Moments, which no two servers share, are left out.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from typing import Any

from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient

FIELDS = ("name", "version", "current_stage", "description", "source", "run_id", "status", "run_link", "tags")


def shown(value: Any) -> Any:
    """What a person sees of a model or a version."""
    if isinstance(value, list):
        return [shown(each) for each in value]
    if hasattr(value, "current_stage"):
        return {name: getattr(value, name) for name in FIELDS} | {"aliases": sorted(value.aliases)}
    if hasattr(value, "latest_versions"):
        return {
            "name": value.name,
            "description": value.description,
            "tags": value.tags,
            "aliases": value.aliases,
            "latest": sorted(shown(value.latest_versions), key=lambda each: int(each["version"])),
        }
    return value


def refusal(call: Callable[[], object]) -> str:
    """The code of the error that a call raises."""
    try:
        call()
    except MlflowException as error:
        return error.error_code
    return "none"


def main(url: str) -> dict[str, Any]:
    """Goes through a model's life."""
    client = MlflowClient(tracking_uri=url, registry_uri=url)
    seen: dict[str, Any] = {}
    for name in ("churn", "fraud", "other"):
        seen[f"created {name}"] = shown(client.create_registered_model(name, tags={"team": name[0]}, description="d"))
    seen["created again"] = refusal(lambda: client.create_registered_model("churn"))
    for number in range(1, 5):
        version = client.create_model_version(
            "churn", f"s3://bucket/{number}", tags={"n": str(number)}, description="x"
        )
        seen[f"version {number}"] = shown(version)
    client.set_registered_model_alias("churn", "champion", "2")
    client.set_registered_model_alias("churn", "challenger", "3")
    client.set_registered_model_alias("churn", "champion", "3")
    client.delete_registered_model_alias("churn", "challenger")
    client.set_registered_model_tag("churn", "mlflow.note", "a b")
    client.set_model_version_tag("churn", "1", "gate", "passed")
    client.delete_model_version_tag("churn", "1", "n")
    client.delete_registered_model_tag("churn", "nothing")
    client.transition_model_version_stage("churn", "1", "Production")
    seen["promoted"] = shown(client.transition_model_version_stage("churn", "2", "production", True))
    client.update_model_version("churn", "4", description="newest")
    client.update_registered_model("churn", description="who leaves")
    seen["model"] = shown(client.get_registered_model("churn"))
    seen["by alias"] = shown(client.get_model_version_by_alias("churn", "champion"))
    seen["latest"] = shown(sorted(client.get_latest_versions("churn"), key=lambda each: int(each.version)))
    seen["in production"] = shown(client.get_latest_versions("churn", ["Production"]))
    seen["copy"] = shown(client.copy_model_version("models:/churn@champion", "prod"))
    seen["files"] = [client.get_model_version_download_uri(*each) for each in (("churn", "3"), ("prod", "1"))]
    seen["found"] = [
        [model.name for model in client.search_registered_models(text, order_by=["name DESC"])]
        for text in (None, "name ILIKE 'C%'", "tags.team = 'c'", "tag.`mlflow.note` LIKE 'a%'", "name = 'nobody'")
    ]
    seen["versions found"] = [
        [version.version for version in client.search_model_versions(text, order_by=["version_number ASC"])]
        for text in ("name = 'churn'", "name = 'churn' AND version_number > 2", "tags.gate = 'passed'")
    ]
    pages, token = [], None
    while token != "":
        page = client.search_registered_models(max_results=3, order_by=["name"], page_token=token)
        pages.append([model.name for model in page])
        token = page.token or ""
    seen["pages"] = pages
    client.delete_model_version("churn", "3")
    seen["no alias"] = refusal(lambda: client.get_model_version_by_alias("churn", "champion"))
    seen["no version"] = refusal(lambda: client.get_model_version("churn", "3"))
    seen["no model"] = refusal(lambda: client.get_registered_model("nobody"))
    seen["bad alias"] = refusal(lambda: client.set_registered_model_alias("churn", "latest", "1"))
    seen["bad stage"] = refusal(lambda: client.transition_model_version_stage("churn", "1", "Live"))
    seen["bad filter"] = refusal(lambda: client.search_registered_models("owner = 'x'"))
    seen["renamed"] = shown(client.rename_registered_model("churn", "leavers"))
    client.delete_model_version("leavers", "4")
    seen["next"] = client.create_model_version("leavers", "s3://bucket/next").version
    for name in ("leavers", "fraud", "other", "prod"):
        client.delete_registered_model(name)
    seen["left"] = [model.name for model in client.search_registered_models()]
    return seen


if __name__ == "__main__":
    print(json.dumps(main(sys.argv[1])))
