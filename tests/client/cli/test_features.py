"""`millrace features` as a person uses it: from YAML files alone, and beside a registry."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow.parquet as pq
import pytest

from millrace import Dataset
from millrace.cli.features.reading import references
from millrace.cli.main import run
from tests.builders import model_deployment
from tests.client.conftest import DAY, NOON, Lake
from tests.running_service import RunningService, StartService
from tests.told_registry import tell


class Said(NamedTuple):
    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


Millrace = Callable[..., Said]


@pytest.fixture
def millrace(capsys: pytest.CaptureFixture[str]) -> Millrace:
    def called(*arguments: str) -> Said:
        with pytest.raises(SystemExit) as ended:
            run(arguments)
        out, err = capsys.readouterr()
        return Said(int(ended.value.code or 0), out, err)

    return called


@pytest.fixture
def files(lake: Lake) -> tuple[str, ...]:
    return ("--files", str(lake.write()))


def test_a_field_that_is_missing_is_explained(millrace: Millrace, lake: Lake) -> None:
    path = lake.write(lake.view().without("spec.source.parquet").having("spec.source.push", {}))
    for command in (("validate", str(path)), ("features", "list", "--files", str(path))):
        said = millrace(*command)
        assert said.code == 2
        assert "spec.source.push.uri: " in said.err
        assert "Field required: Folder of the log, of this view alone: file:///path or s3://bucket/path." in said.err


def test_views_are_listed_and_described(millrace: Millrace, files: tuple[str, ...], lake: Lake) -> None:
    said = millrace("features", "list", *files)
    assert "stats" in said.out
    assert f"parquet {lake.uri}" in said.out
    [listed] = millrace("features", "list", *files, "-o", "json").json
    assert (listed["name"], listed["entities"], listed["features"]) == ("stats", ["user_id"], 2)
    said = millrace("features", "describe", "stats", *files, "--online", lake.online, "-o", "json")
    assert said.json["features"][0] == {"name": "amount", "type": "float64", "kind": "column", "of": "amount"}
    assert said.json["onlineStore"] == {"watermark": None, "keys": 0}
    assert "schemaHash" in millrace("features", "describe", "stats", *files).out


def test_a_training_set_is_shown_written_and_saved(millrace: Millrace, files: tuple[str, ...], tmp_path: Path) -> None:
    frame = tmp_path / "frame.csv"
    frame.write_text("user_id,event_timestamp,label\n2,2026-01-01T12:00:00Z,0\n1,2026-01-03T00:00:00Z,1\n")
    asked = ("features", "historical", *files, "-F", "stats:amount,stats:visits", "--entities", str(frame))
    assert [row["amount"] for row in millrace(*asked, "-o", "json").json] == [3.0, 2.0]
    rows = list(csv.DictReader(io.StringIO(millrace(*asked, "-o", "csv").out)))
    assert rows[0] == {
        "user_id": "2",
        "event_timestamp": "2026-01-01T12:00:00Z",
        "label": "0",
        "amount": "3.0",
        "visits": "30",
    }
    said = millrace(*asked, "--out", str(tmp_path / "out.parquet"), "--save", str(tmp_path / "sets"))
    assert (said.code, said.out) == (0, "")
    assert pq.read_table(tmp_path / "out.parquet")["visits"].to_pylist() == [30, 20]
    [folder] = (tmp_path / "sets").iterdir()
    assert Dataset.load(folder).id[7:] == folder.name
    assert folder.name in said.err


def test_without_a_frame_every_change_or_the_state_at_the_end_is_taken(
    millrace: Millrace, files: tuple[str, ...]
) -> None:
    asked = ("features", "historical", *files, "-F", "stats:amount", "--entities", "all", "-o", "json")
    changes = millrace(*asked, "--start", "2026-01-01", "--end", "2026-01-05").json
    assert [(each["user_id"], each["event_timestamp"], each["amount"]) for each in changes] == [
        (1, "2026-01-01T12:00:00Z", 1.0),
        (1, "2026-01-02T12:00:00Z", 2.0),
        (2, "2026-01-01T12:00:00Z", 3.0),
    ]
    state = millrace(*asked, "--end", "2026-01-01T12:00:00Z").json
    assert [(each["user_id"], each["amount"]) for each in state] == [(1, 1.0), (2, 3.0)]


def test_rows_are_materialized_read_and_verified(millrace: Millrace, files: tuple[str, ...], lake: Lake) -> None:
    store = (*files, "--online", lake.online)
    [made] = millrace("features", "materialize", "stats", *store, "--end", "2026-01-02T12:00:00Z", "-o", "json").json
    assert (made["view"], made["rows"], made["written"], made["end"]) == ("stats", 2, 2, "2026-01-02T12:00:00Z")
    asked = ("features", "online", *store, "-F", "stats:amount", "-e", "user_id=1", "-e", "user_id=9")
    found = millrace(*asked, "-o", "json").json
    assert found[0] == {
        "user_id": 1,
        "features": {"amount": {"value": 2.0, "status": "PRESENT", "eventTimestamp": "2026-01-02T12:00:00Z"}},
    }
    assert found[1]["features"]["amount"]["status"] == "NOT_FOUND"
    assert "(NOT_FOUND)" in millrace(*asked).out
    said = millrace("features", "verify", "stats", *store, "--sample", "10")
    assert (said.code, said.out) == (0, "")
    assert said.err == "stats: 2 rows, 4 values compared, 0 differ\n"


def test_the_skew_check_shows_what_differs_and_exits_with_1(
    millrace: Millrace, files: tuple[str, ...], lake: Lake
) -> None:
    store = (*files, "--online", lake.online)
    millrace("features", "materialize", "stats", *store, "--end", "2026-01-02T12:00:00Z")
    (lake.folder / "events" / "1.parquet").unlink()
    lake.add((1, NOON + DAY, 2.5, 20), (2, NOON, 3.0, 30))
    said = millrace("features", "verify", "stats", *store, "-o", "json")
    assert said.code == 1
    assert said.json["mismatches"] == [
        {"entity": {"user_id": 1}, "feature": "amount", "online": 2.0, "offline": 2.5, "asOf": "2026-01-02T12:00:00Z"}
    ]
    assert said.err == "stats: 2 rows, 4 values compared, 1 differ\n"


def test_validate_names_every_mistake_by_file_and_line(millrace: Millrace, lake: Lake) -> None:
    path = lake.write(lake.view("good"), lake.view("bad").having("spec.ttl", "30y"), lake.view("good"))
    text = path.read_text().replace("type: int64\n  materialization", "type: int65\n  materialization", 2)
    path.write_text(text)
    said = millrace("validate", str(path))
    lines = text.splitlines()
    wrong = [at for at, line in enumerate(lines, 1) if "int65" in line]
    ttl = next(at for at, line in enumerate(lines, 1) if "30y" in line)
    assert said.code == 2
    for at in (*wrong, ttl):
        assert f"{path}:{at}:" in said.err
    assert "spec.features[1].type" in said.err


def test_validate_looks_at_the_data_where_it_is_told_to(millrace: Millrace, lake: Lake) -> None:
    path = lake.write(lake.view().having("spec.features", [{"name": "price", "type": "float64"}]))
    assert millrace("validate", str(path)).code == 0
    said = millrace("validate", str(path), "--data", "-o", "json")
    assert said.code == 2
    [mistake] = said.json["mistakes"]
    assert "no column 'price'" in mistake["message"]
    assert "name: price" in path.read_text().splitlines()[mistake["line"] - 1]


@pytest.fixture(scope="module")
def registry(start_service: StartService, tmp_path_factory: pytest.TempPathFactory) -> str:
    database = tmp_path_factory.mktemp("registry") / "registry.db"
    running: RunningService = start_service(
        "-m", "millrace_services.registry", MILLRACE_DATABASE_URL=f"sqlite:///{database}"
    )
    return running.url


def test_diff_says_what_applying_would_change_and_cause(millrace: Millrace, lake: Lake, registry: str) -> None:
    view = lake.view().having("metadata.namespace", "default")
    refs = {"refs": ["stats:amount"], "input": "x"}
    deployment = model_deployment("ranker").having("metadata.namespace", "default").having("spec.features", refs)
    tell(registry, view.build(), deployment.build())
    retyped = [{"name": "amount", "type": "float32"}, {"name": "visits", "type": "int64"}]
    path = lake.write(lake.view().having("spec.features", retyped).having("spec.ttl", "7d"), lake.view("other"))
    asked = ("features", "diff", "--files", str(path), "--registry", registry)
    said = millrace(*asked, "--exit-code")
    assert said.code == 1
    assert "spec.features[amount].type: float64 → float32" in said.out
    assert "spec.ttl: + 7d" in said.out
    assert "refused: feature 'amount' changes from float64 to float32, and is used by ranker" in said.out
    refused, forced, anew = (
        said.out.index(text) for text in ("refused: ", "if the change is forced:", "the view is materialized anew")
    )
    assert refused < forced < anew, "nothing of what follows happens while it is refused"
    changes = {each["view"]: each["change"] for each in millrace(*asked, "-o", "json").json}
    assert changes == {"stats": "changed", "other": "new"}
    lake.write()
    assert millrace(*asked, "--exit-code").out == "stats: unchanged\n"


def test_datasets_of_a_registry_are_listed_with_their_lineage(
    millrace: Millrace, lake: Lake, registry: str, tmp_path: Path
) -> None:
    view = lake.view().having("metadata.namespace", "default").build()
    tell(registry, view)
    place = ("--registry", registry)
    saved = ("--entities", "all", "--end", "2026-01-05", "--save", str(tmp_path / "sets"))
    millrace("features", "historical", *place, "-F", "stats:amount", *saved)
    [found] = millrace("datasets", "list", *place, "-o", "json").json
    assert found["lineage"] == f"parquet {lake.uri} → stats"
    said = millrace("datasets", "describe", found["id"][7:15], *place)
    assert found["id"] in said.out
    assert "the content is what the manifest says" in millrace("datasets", "describe", found["uri"]).err
    described = millrace("features", "describe", "stats", *place, "-o", "json").json
    assert described["datasets"][0]["id"] == found["id"]


MISTAKES = {
    "no target": (("diff", "--files", "{views}"), "Give --registry URL or --kubeconfig FILE"),
    "no store": (("verify", "stats", "--files", "{views}"), "--online embedded"),
    "no entity": (("online", "--files", "{views}", "-F", "stats:amount"), "Give --entity KEY=VALUE"),
    "mistyped": (("online", "--files", "{views}", "-F", "stats:amount", "-e", "user_id=x"), "int64 is expected"),
    "other key": (("online", "--files", "{views}", "-F", "stats:amount", "-e", "item=1"), "NAME is user_id"),
    "no reference": (("online", "--files", "{views}", "-F", "amount", "-e", "user_id=1"), "view:feature is expected"),
    "no view": (("describe", "nothing", "--files", "{views}"), "The project's views: stats"),
    "no file": (("list", "--files", "/no/such"), "there is no file /no/such"),
    "no frame": (("historical", "--files", "{views}", "-F", "stats:amount", "-e", "/no.csv"), "no file /no.csv"),
}


@pytest.mark.parametrize("case", MISTAKES)
def test_a_mistake_is_one_sentence_that_says_what_to_do(case: str, millrace: Millrace, lake: Lake) -> None:
    arguments, words = MISTAKES[case]
    path = str(lake.write())
    said = millrace("features", *(argument.replace("{views}", path) for argument in arguments))
    assert (said.code, said.out) == (2, "")
    assert words in said.err
    assert said.err.count("\n") == 1


def test_an_entity_of_a_view_that_has_none_is_told_so(millrace: Millrace, tmp_path: Path) -> None:
    (tmp_path / "rates.yaml").write_text(
        "{apiVersion: millrace.dev/v1alpha1, kind: FeatureView, metadata: {name: rates}, spec: {entities: [], "
        "source: {parquet: {uri: file:///lake}, timestampField: t}, features: [{name: eur, type: float64}], "
        'materialization: {schedule: "@hourly"}}}'
    )
    said = millrace("features", "online", "--files", str(tmp_path), "-F", "rates:eur", "-e", "user_id=1")
    assert said.err == "millrace: --entity: 'user_id=1' came, but these features need none. Leave it out\n"


def test_commas_between_the_keys_of_a_reference_part_no_references() -> None:
    given = ["a:b, pairs as p(x=left,y=right):c,d:e", "f:g"]
    assert references(given) == ["a:b", "pairs as p(x=left,y=right):c", "d:e", "f:g"]
