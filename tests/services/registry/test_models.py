"""Registered models over both databases: numbers, aliases, stages, copies, searches, and who changed what."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from millrace_core.base.errors import RejectError
from millrace_services.registry.database import Database
from millrace_services.registry.mlflow.errors import MlflowError
from millrace_services.registry.mlflow.searching import Page
from millrace_services.registry.models.aliases import Aliases
from millrace_services.registry.models.changes import Author
from millrace_services.registry.models.registered import RegisteredModels
from millrace_services.registry.models.versions import RETRIED_FOR, NewVersion, Versions

ANN = Author(at=7, actor="ann", client="test", reason="better")
ALL = Page(1000, 0)


class Registry:
    """The three stores over one database, and a clock that moves when it is told to."""

    def __init__(self, database: Database) -> None:
        self.time = 1_000
        self.models = RegisteredModels(database, self.now)
        self.versions = Versions(database, self.now)
        self.aliases = Aliases(database)

    def now(self) -> int:
        return self.time

    def model(self, name: str, versions: int = 0, **tags: str) -> None:
        self.models.create(name, tags, "", "")
        for number in range(versions):
            self.version(name, f"s3://bucket/{name}/{number + 1}")

    def version(self, name: str, source: str, **given: Any) -> int:
        return int(self.versions.create(name, NewVersion(source, **given))["version"])

    def found(self, text: str, *order_by: str) -> list[str]:
        return [each["name"] for each in self.models.search(text, [*order_by], ALL)[0]]

    def found_versions(self, text: str, *order_by: str) -> list[str]:
        documents, _ = self.versions.search(text, [*order_by], ALL)
        return [f"{each['name']}/{each['version']}" for each in documents]


@pytest.fixture
def registry(database: Database) -> Registry:
    return Registry(database)


def refused(call: Callable[[], object]) -> tuple[str, int]:
    with pytest.raises(MlflowError) as caught:
        call()
    return caught.value.code, caught.value.status


def test_the_number_of_a_deleted_version_is_never_given_again(registry: Registry) -> None:
    registry.model("churn", versions=2)
    registry.versions.delete("churn", 2, ANN)
    assert registry.version("churn", "s3://bucket/next") == 3
    for number in (1, 3):
        registry.versions.delete("churn", number, ANN)
    assert registry.version("churn", "s3://bucket/last") == 4


def test_an_alias_goes_with_its_version_and_tags_do_not_come_back(registry: Registry) -> None:
    registry.model("churn", versions=2)
    registry.aliases.set("churn", "champion", 2, ANN)
    registry.versions.set_tag("churn", 2, "k", "v")
    registry.versions.delete("churn", 2, ANN)
    assert refused(lambda: registry.aliases.get("churn", "champion")) == ("INVALID_PARAMETER_VALUE", 400)
    assert "aliases" not in registry.models.get("churn")
    registry.models.delete("churn", ANN)
    registry.model("churn", versions=2)
    assert "tags" not in registry.versions.get("churn", 2)


def test_an_alias_is_moved_only_from_where_it_is_expected(registry: Registry) -> None:
    registry.model("churn", versions=3)
    registry.aliases.set("churn", "champion", 1, ANN, expected=0)
    assert refused(lambda: registry.aliases.set("churn", "champion", 2, ANN, expected=0)) == ("RESOURCE_CONFLICT", 409)
    assert refused(lambda: registry.aliases.set("churn", "champion", 2, ANN, expected=3)) == ("RESOURCE_CONFLICT", 409)
    assert refused(lambda: registry.aliases.delete("churn", "champion", ANN, expected=3)) == ("RESOURCE_CONFLICT", 409)
    registry.aliases.set("churn", "champion", 2, ANN, expected=1)
    assert registry.aliases.get("churn", "champion")["version"] == "2"
    registry.aliases.delete("churn", "champion", ANN, expected=2)
    assert len(registry.models.changes("churn", "champion", 10)) == 3


def test_every_move_of_alias_and_stage_is_kept_with_who_and_why_also_when_the_model_is_gone(registry: Registry) -> None:
    registry.model("old", versions=2)
    registry.aliases.set("old", "champion", 1, ANN)
    registry.aliases.set("old", "champion", 1, ANN)  # is no move
    registry.versions.transition("old", 1, "production", ANN, archive=True)
    registry.models.rename("old", "churn")
    registry.versions.transition("churn", 2, "Production", Author(8), archive=True)
    registry.aliases.set("churn", "champion", 2, Author(9))
    registry.models.delete("churn", Author(10))
    moves = registry.models.changes("churn", "", 100)[::-1]
    assert [(each["kind"], each.get("alias", each.get("version")), each["from"], each["to"]) for each in moves] == [
        ("alias", "champion", None, "1"),
        ("stage", "1", "None", "Production"),
        ("stage", "1", "Production", "Archived"),
        ("stage", "2", "None", "Production"),
        ("alias", "champion", "1", "2"),
        ("alias", "champion", "2", None),
    ]
    first = {name: moves[0][name] for name in ("at", "actor", "client", "reason")}
    assert first == {"at": 7, "actor": "ann", "client": "test", "reason": "better"}
    with pytest.raises(RejectError, match="no registered model 'old'"):
        registry.models.changes("old", "", 1)


def test_a_create_that_is_sent_again_is_one_version_for_some_minutes(registry: Registry) -> None:
    registry.model("churn")
    given = {"source": "s3://bucket/m", "run_id": "r", "tags": {"a": "1", "b": "2"}}
    first = registry.version("churn", **given)
    registry.time += RETRIED_FOR
    assert registry.version("churn", **{**given, "tags": {"b": "2", "a": "1"}}) == first
    assert registry.version("churn", **{**given, "run_id": "other"}) == 2
    registry.time += 1
    assert registry.version("churn", **given) == 3


def test_an_idempotency_key_is_of_one_version_for_ever(registry: Registry) -> None:
    registry.model("churn")
    given = NewVersion("s3://bucket/m")
    first = registry.versions.create("churn", given, "key")
    registry.time += 10 * RETRIED_FOR
    assert registry.versions.create("churn", given, "key") == first
    assert registry.versions.create("churn", given, "other")["version"] == "2"
    other = given._replace(description="x")
    assert refused(lambda: registry.versions.create("churn", other, "key")) == ("RESOURCE_CONFLICT", 409)


def test_copies_lead_to_the_files_of_the_first_also_when_it_is_gone(registry: Registry) -> None:
    registry.model("dev")
    registry.version("dev", "s3://bucket/files", run_id="r")
    registry.aliases.set("dev", "good", 1, ANN)
    registry.model("prod")
    for number, source in enumerate(["models:/dev/1", "models:/dev@good", "models:/dev/latest", "models:/dev/None"], 1):
        assert registry.version("prod", source, description=source) == number
        copy = registry.versions.get("prod", number)
        assert (copy["source"], copy["run_id"]) == ("models:/dev/1", "r")
    assert registry.version("prod", "models:/prod/4") == 5
    registry.models.delete("dev", ANN)
    assert {registry.versions.download_uri("prod", number) for number in range(1, 6)} == {"s3://bucket/files"}


@pytest.mark.parametrize(
    ("source", "code", "status"),
    [
        ("/etc/passwd", "INVALID_PARAMETER_VALUE", 400),
        ("file:///etc/passwd", "INVALID_PARAMETER_VALUE", 400),
        ("FILE://host/etc", "INVALID_PARAMETER_VALUE", 400),
        (r"c:\models", "INVALID_PARAMETER_VALUE", 400),
        ("s3://bucket/../other", "INVALID_PARAMETER_VALUE", 400),
        ("s3://bucket/%252e%252e/other", "INVALID_PARAMETER_VALUE", 400),
        (r"s3://bucket/..\other", "INVALID_PARAMETER_VALUE", 400),
        ("https://[host/m", "INVALID_PARAMETER_VALUE", 400),
        ("runs:/other/model", "INVALID_PARAMETER_VALUE", 400),
        ("models:/m-" + "0" * 32, "RESOURCE_DOES_NOT_EXIST", 404),
        ("models:/", "INVALID_PARAMETER_VALUE", 400),
        ("models:/churn", "INVALID_PARAMETER_VALUE", 400),
        ("models:/churn/1/2", "INVALID_PARAMETER_VALUE", 400),
        ("models:/churn/Nowhere", "INVALID_PARAMETER_VALUE", 400),
        ("models:/churn@nobody", "INVALID_PARAMETER_VALUE", 400),
        ("models:/churn/99", "RESOURCE_DOES_NOT_EXIST", 404),
        ("models:/churn/99999999999999999999", "INVALID_PARAMETER_VALUE", 400),
        ("models:/churn/latest", "RESOURCE_DOES_NOT_EXIST", 404),
        ("models:/other/1", "RESOURCE_DOES_NOT_EXIST", 404),
    ],
)
def test_a_source_that_leads_astray_or_nowhere_makes_no_version(
    registry: Registry, source: str, code: str, status: int
) -> None:
    registry.model("churn")
    assert refused(lambda: registry.version("churn", source, run_id="mine")) == (code, status)
    assert registry.found_versions("") == []


def test_a_model_has_the_newest_version_of_each_stage(registry: Registry) -> None:
    registry.model("churn", versions=5)
    for number, stage in ((1, "staging"), (2, "PRODUCTION"), (3, "Staging")):
        registry.versions.transition("churn", number, stage, ANN, archive=False)
    newest = [(each["version"], each["current_stage"]) for each in registry.versions.latest("churn", [])]
    assert newest == [("2", "Production"), ("3", "Staging"), ("5", "None")]
    assert [each["version"] for each in registry.models.get("churn")["latest_versions"]] == ["2", "3", "5"]
    assert [each["version"] for each in registry.versions.latest("churn", ["staging"])] == ["3"]
    assert registry.versions.latest("churn", ["Archived"]) == []
    registry.versions.transition("churn", 5, "Production", ANN, archive=True)
    assert registry.versions.get("churn", 2)["current_stage"] == "Archived"


def test_searches_find_what_mlflows_server_finds(registry: Registry) -> None:
    registry.model("Churn", team="growth", **{"a.b": "x"})
    registry.model("fraud", versions=2)
    registry.model("Größe", team="Growth")
    registry.model("prompt", **{"mlflow.prompt.is_prompt": "true"})
    everything = {"Churn", "fraud", "Größe"}
    prompt = "tag.`mlflow.prompt.is_prompt`"
    for text, expected in {
        "": everything,
        f"{prompt} != 'true'": everything,
        f"{prompt} = 'true'": {"prompt"},
        "name LIKE 'c%'": set(),
        "name ILIKE 'c%'": {"Churn"},
        "name ILIKE 'GRÖ%'": {"Größe"},
        "name LIKE 'frau_'": {"fraud"},
        r"name LIKE 'frau\_'": set(),
        "name IN ('Churn', 'fraud')": {"Churn", "fraud"},
        "name NOT IN ('Churn')": {"fraud", "Größe"},
        "tags.team = 'growth'": {"Churn"},
        "tags.team ILIKE 'GROWTH'": {"Churn", "Größe"},
        "tags.team != 'growth'": {"Größe"},  # of those that have the tag
        f"tags.team = 'growth' AND tags.`a.b` = 'x' AND {prompt} != 'true'": {"Churn"},
        "tags.team = 'growth' AND tags.`a.b` = 'y'": set(),
    }.items():
        assert {*registry.found(text)} == expected, text


def test_versions_are_found_by_number_run_source_and_tags(registry: Registry) -> None:
    registry.model("a", versions=3)
    registry.model("b")
    registry.version("b", "s3://bucket/b/1", run_id="run", tags={"k": "v"})
    for text, expected in {
        "name = 'a' AND version_number > 1": {"a/2", "a/3"},
        "version_number != 1": {"a/2", "a/3"},
        "version_number = '3'": {"a/3"},
        "run_id = 'run'": {"b/1"},
        "run_id IN ('run', 'x')": {"b/1"},
        "source_path LIKE '%/1'": {"a/1", "b/1"},
        "tags.k = 'v'": {"b/1"},
    }.items():
        assert {*registry.found_versions(text)} == expected, text
    assert registry.found_versions("", "name DESC", "version_number") == ["b/1", "a/1", "a/2", "a/3"]
    registry.time += 1
    registry.versions.update("a", 2, "touched")
    assert registry.found_versions("") == ["a/2", "a/3", "a/1", "b/1"]


@pytest.mark.parametrize(
    "text",
    [
        "owner = 'x'",
        "params.x = 'x'",
        "name > 'a'",
        "tags.x IN ('a')",
        "name = 5",
        "tags.x = 5",
        "creation_timestamp > 0",
    ],
)
def test_what_cannot_be_asked_of_models_is_refused(registry: Registry, text: str) -> None:
    assert refused(lambda: registry.found(text)) == ("INVALID_PARAMETER_VALUE", 400)


@pytest.mark.parametrize(
    "text",
    ["version_number = 1.5", "version_number LIKE '1'", "version_number = 9999999999999999999", "current_stage = 'x'"],
)
def test_what_cannot_be_asked_of_versions_is_refused(registry: Registry, text: str) -> None:
    assert refused(lambda: registry.found_versions(text)) == ("INVALID_PARAMETER_VALUE", 400)


def test_pages_together_are_the_whole_in_its_order(registry: Registry) -> None:
    for number in range(7):
        registry.model(f"m{number}")
    token, pages = "", []
    while True:
        documents, token = registry.models.search("name LIKE 'm%'", ["name DESC"], Page.of(3, token))
        pages.append([each["name"] for each in documents])
        if not token:
            break
    assert pages == [["m6", "m5", "m4"], ["m3", "m2", "m1"], ["m0"]]


def test_a_rename_takes_versions_and_aliases_along_and_no_others_place(registry: Registry) -> None:
    registry.model("a", versions=1)
    registry.model("b")
    registry.aliases.set("a", "champion", 1, ANN)
    assert refused(lambda: registry.models.rename("a", "b")) == ("RESOURCE_ALREADY_EXISTS", 400)
    registry.models.rename("a", "c")
    assert registry.aliases.get("c", "champion")["name"] == "c"
    assert refused(lambda: registry.models.get("a")) == ("RESOURCE_DOES_NOT_EXIST", 404)
