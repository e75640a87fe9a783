"""Hints of the SDK, as the command line says them."""

from __future__ import annotations

import pytest

from millrace.cli.flags import in_terminal, option
from millrace.cli.main import run


@pytest.mark.parametrize(
    ("said", "meant"),
    [
        (
            'Pass online="embedded" or a URL, or push to="offline"',
            "Pass --online embedded or a URL, or push --to offline",
        ),
        ("Check gateway_url=", "Check --gateway"),
        ("Pass kubeconfig=, or set KUBECONFIG", "Pass --kubeconfig, or set KUBECONFIG"),
        ("Rename the column, or pass full_feature_names=True", "Rename the column, or pass --full-feature-names"),
        ("Set full_feature_names to true", "Give --full-feature-names"),
        ('Pass features=["view:feature", ...]', "Pass --features view:feature"),
        ('Name another folder: online="embedded:<folder>"', "Name another folder: --online embedded:<folder>"),
        ("spec.ttl: to be continued, a=1", "spec.ttl: to be continued, a=1"),
    ],
)
def test_an_argument_of_the_sdk_is_a_flag(said: str, meant: str) -> None:
    assert in_terminal(said) == meant


def test_a_command_without_a_store_names_its_flags(
    tmp_path_factory: pytest.TempPathFactory, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path_factory.mktemp("flags") / "view.yaml"
    path.write_text(
        "apiVersion: millrace.dev/v1alpha1\nkind: FeatureView\nmetadata: {name: v}\nspec:\n"
        "  entities: [{name: id, type: int64}]\n  source: {parquet: {uri: file:///x}, timestampField: t}\n"
        '  features: [{name: a, type: bool}]\n  materialization: {schedule: "@hourly"}\n'
    )
    with pytest.raises(SystemExit):
        run(("features", "online", "-f", str(path), "-F", "v:a", "-e", "id=1"))
    said = capsys.readouterr().err
    assert "--online embedded" in said
    assert "--gateway" in said
    assert "online=" not in said


@pytest.mark.parametrize(
    ("field", "arguments", "environ", "meant"),
    [
        ("online", ["--online", "x"], {"MILLRACE_STORE_URL": "y"}, "--online"),
        ("online", ["--online=x"], {"MILLRACE_STORE_URL": "y"}, "--online"),
        ("online", [], {"MILLRACE_STORE_URL": "y"}, "MILLRACE_STORE_URL"),
        ("lake", [], {}, "--lake"),
        ("as_of", ["--as-of", "x"], {}, "--as-of"),
        ("spec.ttl", ["--online", "x"], {}, "spec.ttl"),
    ],
)
def test_a_field_at_fault_is_called_by_what_the_caller_gave(
    field: str, arguments: list[str], environ: dict[str, str], meant: str
) -> None:
    assert option(field, arguments, environ) == meant


def test_a_misspelled_store_is_told_by_its_flag_with_what_there_is_to_choose(
    tmp_path_factory: pytest.TempPathFactory, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        run(("features", "list", "-f", str(tmp_path_factory.mktemp("none")), "--online", "embeded"))
    assert ended.value.code == 2
    said = capsys.readouterr().err
    assert said.startswith("millrace: --online: 'embeded' is no online store. Write --online redis://host:6379/0, or")
    assert "--online embedded for one of your own" in said


@pytest.mark.parametrize(
    "command", [("predictions", "list", "ranker"), ("outcomes", "list", "trial")], ids=lambda command: command[0]
)
def test_a_lake_that_is_not_there_is_told_by_its_flag(
    command: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        run((*command, "--lake", "/no/such"))
    assert ended.value.code == 2
    assert capsys.readouterr().err.startswith("millrace: --lake: there is no folder /no/such. ")
