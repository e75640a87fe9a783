"""Objects from YAML: what is right loads, what is wrong names file, object and field."""

from datetime import timedelta

import pytest
from pydantic import ValidationError

from millrace_core.api import checking
from millrace_core.api.experiment import ExperimentStatus
from millrace_core.api.featureview import FeatureView
from millrace_core.api.loading import load_object, load_yaml
from millrace_core.base import yaml_text
from millrace_core.base.errors import RejectError

VIEW = """
apiVersion: millrace.dev/v1alpha1
kind: FeatureView
metadata: {name: user-stats}
spec:
  entities: [{name: user_id, type: int64}]
  source: {parquet: {uri: file:///lake}, timestampField: t}
  features: [{name: amount, type: float64}]
  materialization: {schedule: "*/15 * * * *"}
"""


def test_objects_of_other_kinds_are_passed_over() -> None:
    [view] = load_yaml(f"{VIEW}\n---\napiVersion: v1\nkind: Secret\nmetadata: {{name: lake}}\n---\n")
    assert isinstance(view, FeatureView)
    assert view.spec.online.enabled


def test_a_wrong_field_is_named_with_file_object_and_value() -> None:
    with pytest.raises(RejectError) as caught:
        load_yaml(VIEW.replace("type: float64", "type: decimal"), origin="fv.yaml")
    assert caught.value.field == "spec.features[0].type"
    assert "fv.yaml:8:29: FeatureView user-stats" in str(caught.value)
    assert "'decimal'" in str(caught.value)


def test_an_unknown_field_is_refused_rather_than_ignored() -> None:
    with pytest.raises(RejectError, match=r"spec\.featurez"):
        load_yaml(VIEW.replace("features:", "featurez:") + "  features: [{name: a, type: int64}]\n")


@pytest.mark.parametrize(
    ("written", "wrongly", "place"),
    [
        ("timestampField", "timestamp_field", "spec.source.timestamp_field"),
        ("apiVersion: millrace.dev/v1alpha1", "apiVersion: millrace.dev/v1alpha1\napi_version: v1", "api_version"),
    ],
)
def test_a_name_that_the_api_server_would_refuse_is_refused(written: str, wrongly: str, place: str) -> None:
    text = VIEW.replace(written, wrongly)
    assert f"{place}: there is no such field" in mistakes_of(text)
    with pytest.raises(RejectError, match="there is no such field"):
        load_yaml(text)


def mistakes_of(text: str) -> str:
    """All mistakes of the first view of a text, a line each."""
    [document] = yaml_text.values(text)
    return "\n".join(f"{where}: {message}" for where, message in checking.check(document).faults)


def test_an_unknown_field_is_answered_with_the_fields_that_are_there() -> None:
    said = mistakes_of(VIEW.replace("type: int64}]", "type: int64, typ: int64}]"))
    assert said == "spec.entities[0].typ: there is no such field; the fields here are name, type"


def test_an_object_where_a_text_is_expected_is_told_so() -> None:
    model = (
        "{apiVersion: millrace.dev/v1alpha1, kind: ModelDeployment, metadata: {name: m}, "
        "spec: {service: {name: fraud}, model: {uri: file:///m.onnx}}}"
    )
    assert mistakes_of(model) == "spec.service.name: there is no such field; spec.service is a string, no object"


def test_a_password_in_an_address_is_told_and_where_it_belongs() -> None:
    said = mistakes_of(VIEW.replace("file:///lake", '"s3://key:secret@bucket/lake"'))
    assert "a user or password is in uri, where none may be; put AWS_ACCESS_KEY_ID" in said


def test_what_came_is_said_once() -> None:
    said = mistakes_of(VIEW.replace("*/15 * * * *", "0 0 * * 7"))
    assert said.startswith("spec.materialization.schedule: '0 0 * * 7' is no cron line")
    assert said.count("0 0 * * 7") == 1


def test_a_schedule_that_is_no_cron_line_is_refused() -> None:
    with pytest.raises(RejectError, match=r"spec\.materialization\.schedule"):
        load_yaml(VIEW.replace("*/15 * * * *", "every day"))


def test_text_that_is_no_yaml_is_refused() -> None:
    with pytest.raises(RejectError, match=r"fv\.yaml is no YAML"):
        load_yaml("a: [", origin="fv.yaml")


def test_an_unknown_kind_is_named() -> None:
    with pytest.raises(RejectError, match="kind 'Model' is not one of FeatureView"):
        load_object({"apiVersion": "millrace.dev/v1alpha1", "kind": "Model", "metadata": {}})


@pytest.mark.parametrize(
    ("written", "rendered"),
    [
        ("2026-01-31T00:00:00Z", "2026-01-31T00:00:00Z"),
        ("2026-01-31T01:00:00.5+01:00", "2026-01-31T00:00:00.500000Z"),
    ],
)
def test_a_time_of_an_experiments_status_is_read_as_a_moment_and_written_as_a_text(written: str, rendered: str) -> None:
    status = ExperimentStatus.model_validate({"pausedAt": written})
    assert status.paused_at is not None
    assert status.paused_at.utcoffset() == timedelta()
    assert status.model_dump(by_alias=True, exclude_none=True) == {"pausedAt": rendered}


@pytest.mark.parametrize("written", ["noon", "2026-02-30T00:00:00Z", "2026-01-31", 5])
def test_what_is_no_time_is_refused_by_its_field(written: object) -> None:
    with pytest.raises(ValidationError, match=r"pausedAt(.|\n)* a time such as"):
        ExperimentStatus.model_validate({"pausedAt": written})


MODEL = """
apiVersion: millrace.dev/v1alpha1
kind: ModelDeployment
metadata: {name: fraud}
spec:
  model: {uri: https://h/m.onnx}
"""
PARQUET = "parquet: {uri: file:///lake}"


@pytest.mark.parametrize(
    ("text", "written", "wrongly", "names"),
    [
        (MODEL, "https://h/m.onnx", "https://user:s3cret@h/m.onnx", "HTTP_USER"),
        (MODEL, "https://h/m.onnx", "https://s3cret@h/m.onnx", "HTTP_TOKEN"),
        (MODEL, "https://h/m.onnx", "s3://key:s3cret@lake/m.onnx", "keys of S3"),
        (VIEW, "file:///lake", "s3://key:s3cret@lake/t", "AWS_ACCESS_KEY_ID"),
        (VIEW, PARQUET, "delta: {uri: 's3://key:s3cret@lake/t'}", "AWS_ACCESS_KEY_ID"),
        (VIEW, PARQUET, "push: {uri: 's3://key:s3cret@lake/t'}", "AWS_ACCESS_KEY_ID"),
        (VIEW, PARQUET, "postgres: {host: 'u:s3cret@db', database: d, table: t}", "PGUSER"),
        (VIEW, PARQUET, "postgres: {host: 'postgres://s3cret', database: d, table: t}", "PGUSER"),
        (VIEW, PARQUET, "iceberg: {table: a.b, catalog: {type: rest, uri: 'https://s3cret@h'}}", "ICEBERG_TOKEN"),
        (VIEW, PARQUET, "iceberg: {table: a.b, catalog: {type: sql, uri: 'p://h/d?password=s3cret'}}", "ICEBERG_URI"),
    ],
)
def test_credentials_in_an_address_are_refused_and_the_key_of_the_secret_is_named(
    text: str, written: str, wrongly: str, names: str
) -> None:
    with pytest.raises(RejectError, match=names) as caught:
        load_yaml(text.replace(written, wrongly))
    assert "s3cret" not in str(caught.value)


def test_an_at_sign_in_a_path_is_no_credential() -> None:
    assert load_yaml(VIEW.replace("file:///lake", "s3://lake/a@b"))
    assert load_yaml(MODEL.replace("https://h/m.onnx", "https://h/a@b.onnx?c@d"))
