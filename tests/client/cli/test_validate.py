"""`millrace validate`: files of all kinds, folders, standard input."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest
import yaml

from millrace.cli.main import run
from tests.builders import experiment, feature_view, model_deployment

SCHEDULED = feature_view("stats").having("spec.materialization", {"schedule": "@hourly"})


def validate(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    """The exit code, and what is printed."""
    with pytest.raises(SystemExit) as ended:
        run(("validate", *arguments))
    out, err = capsys.readouterr()
    return int(ended.value.code or 0), out, err


def written(path: Path, *documents: object) -> Path:
    path.write_text(yaml.safe_dump_all(documents, sort_keys=False))
    return path


def test_objects_of_all_kinds_are_checked_and_listed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    written(tmp_path / "a.yaml", SCHEDULED.build(), model_deployment("ranker").build())
    (tmp_path / "b.json").write_text(json.dumps(experiment("trial", "ranker", "a", "b").build()))
    code, out, err = validate(capsys, str(tmp_path), "-o", "json")
    found = json.loads(out)
    assert (code, found["mistakes"], err) == (0, [], "")
    assert [(each["kind"], each["name"]) for each in found["objects"]] == [
        ("FeatureView", "stats"),
        ("ModelDeployment", "ranker"),
        ("Experiment", "trial"),
    ]


def test_every_fault_of_every_object_is_named_by_file_line_and_column(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "all.yaml"
    text = yaml.safe_dump(SCHEDULED.build(), sort_keys=False).replace("type: int64", "type: int65")
    text += "---\nkind: Experiment\nspec: {arms: []}\n---\na: [\n---\n- 1\n"
    path.write_text(text)
    code, _, err = validate(capsys, str(path))
    lines = text.splitlines()
    assert code == 2
    for number, line in enumerate(lines, 1):
        if "int65" in line:
            assert f"{path}:{number}:{line.index('type') + 1}: FeatureView stats: spec." in err
    experiment_line = lines.index("kind: Experiment") + 1
    assert f"{path}:{experiment_line}:1: Experiment without a name: apiVersion: it is missing" in err
    assert f"{path}:{len(lines) - 1}:1: no YAML: did not find expected" in err
    assert f"{path}:{len(lines)}:1: no YAML: an object is expected, a list came" in err


def test_an_item_that_is_no_reference_is_told_what_the_list_takes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    features = {"refs": ["stats.amount"], "input": "x"}
    written(tmp_path / "a.yaml", model_deployment("ranker").having("spec.features", features).build())
    code, _, err = validate(capsys, str(tmp_path))
    assert code == 2
    assert "spec.features.refs[0]: " in err
    assert "(came: 'stats.amount'): Features as view:feature" in err


def test_standard_input_is_read(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    text = yaml.safe_dump(SCHEDULED.having("spec.online", {"enabled": "yes"}).build())
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(text.encode())))
    code, _, err = validate(capsys, "-")
    assert code == 2
    assert err.startswith("standard input:")
    assert "spec.online.enabled: Input should be a valid boolean (came: 'yes')" in err


def test_an_object_that_is_there_twice_names_where_it_was_first(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    written(tmp_path / "a.yaml", model_deployment("ranker").build())
    written(tmp_path / "b.yaml", model_deployment("ranker").build(), SCHEDULED.build())
    code, _, err = validate(capsys, str(tmp_path))
    assert code == 2
    assert (
        f"ModelDeployment ranker: metadata.name: 'ranker' is defined a second time, first in {tmp_path}/a.yaml" in err
    )


def test_objects_of_other_kinds_are_passed_over_and_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "lake"}}
    code, _, err = validate(capsys, str(written(tmp_path / "a.yaml", secret, SCHEDULED.build())))
    assert code == 0
    assert "1 object of another kind is not checked" in err
    _, _, err = validate(capsys, str(written(tmp_path / "a.yaml", secret, secret, SCHEDULED.build())))
    assert "2 objects of other kinds are not checked" in err


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "there is no object in it"),
        (b"a: 1\nb: \xff\n", "a.yaml:2:4: no YAML: this is no UTF-8"),
        (b"# only this\n", "there is no object in it"),
    ],
)
def test_a_file_without_objects_is_a_mistake(
    content: bytes, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "a.yaml").write_bytes(content)
    code, _, err = validate(capsys, str(tmp_path / "a.yaml"))
    assert code == 2
    assert said in err


def test_a_folder_without_yaml_and_a_file_that_is_not_there_are_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "has no file with the ending .yaml, .yml or .json" in validate(capsys, str(tmp_path))[2]
    code, _, err = validate(capsys, str(tmp_path / "absent.yaml"))
    assert code == 2
    assert "there is no file" in err


def test_the_beginning_of_a_name_is_a_name_as_often_as_it_comes_and_is_bounded_as_the_whole(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    short, long = (
        SCHEDULED.without("metadata.name").having("metadata.generateName", prefix).build()
        for prefix in ("stats-", "s" * 45)
    )
    path = written(tmp_path / "views.yaml", short, short)
    assert validate(capsys, str(path))[::2] == (0, "")
    code, _, err = validate(capsys, str(written(path, long)))
    assert code == 2
    assert "has 50 characters. Choose a name of at most 49" in err


def test_a_text_that_yaml_reads_as_a_boolean_is_told_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "views.yaml"
    text = yaml.safe_dump(SCHEDULED.build(), sort_keys=False)
    path.write_text(text.replace("name: user_id", "name: n").replace("name: stats", "name: y"))
    code, _, err = validate(capsys, str(path))
    assert code == 2
    assert err.count("y, n, yes, no, on and off are booleans in YAML: write a text in quotes") == 2


def test_a_view_without_entities_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    stated, forgotten = SCHEDULED.having("spec.entities", []), SCHEDULED.without("spec.entities")
    assert validate(capsys, str(written(tmp_path / "view.yaml", stated.build())))[::2] == (0, "")
    code, _, err = validate(capsys, str(written(tmp_path / "view.yaml", forgotten.build())))
    assert code == 2
    assert "name the join keys, such as entities: [{name: user_id, type: int64}], or write entities: []" in err
