"""What `millrace validate` and kubectl say of a YAML text: the same, but for keys that are there twice."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from millrace.cli import validating
from millrace_core.base import yaml_text
from tests.api_server import start
from tests.local.apiserver.conftest import REPOSITORY, KubectlProcess

VIEW = """apiVersion: millrace.dev/v1alpha1
kind: FeatureView
metadata: {name: user-stats}
spec:
  entities: [{name: user_id, type: int64}]
  source: {parquet: {uri: "file:///lake"}, timestampField: t}
  features:
  - {name: amount, type: float64}
  materialization: {schedule: "@hourly"}
"""
DEPLOYMENT = """apiVersion: millrace.dev/v1alpha1
kind: ModelDeployment
metadata: {name: ranker}
spec:
  service: ranker
  model: {uri: "s3://models/ranker.onnx"}
"""
EXPERIMENT = """apiVersion: millrace.dev/v1alpha1
kind: Experiment
metadata: {name: trial}
spec:
  type: ABTest
  service: ranker
  arms:
  - {name: a, deployment: ranker-a, control: true}
  - {name: b, deployment: ranker-b, weight: 10}
"""


def spec(lines: str) -> str:
    return VIEW + "".join(f"  {line}\n" for line in lines.splitlines())


def run(fields: str) -> str:
    return VIEW.replace('{schedule: "@hourly"}', f'{{schedule: "@hourly", {fields}}}')


def schedule(line: str) -> str:
    return VIEW.replace('"@hourly"', json.dumps(line))


def rule(fields: str) -> str:
    return spec(f"quality: [{{column: amount, {fields}}}]")


MULTIPLYING = "".join(
    f"{name}: &{name} [{', '.join([before] * 20)}]\n" for before, name in (("x", "a"), ("*a", "b"), ("*b", "c"))
)
TAKEN = {
    "the view": VIEW,
    "the deployment": DEPLOYMENT,
    "the experiment": EXPERIMENT,
    "several documents": f"---\n{VIEW}---\n# nothing\n---\n{DEPLOYMENT}...\n---\n{EXPERIMENT}",
    "a list": "apiVersion: v1\nkind: List\nitems:\n" + "".join(f"- {json.dumps(d)}\n" for d in yaml_text.values(VIEW)),
    "json": json.dumps(yaml_text.values(VIEW)[0], indent="\t"),
    "a tab between": VIEW.replace("kind: F", "kind:\tF"),
    "windows' line ends": VIEW.replace("\n", "\r\n"),
    "a merge": VIEW.replace("- {name: amount, type: float64}", "- &x {name: a, type: int32}\n  - {<<: *x, name: b}"),
    "an anchor": spec('description: &d "d"\nowner: *d'),
    "true in other words": run("suspend: yes"),
    "a whole float": run("parallelism: 2.0"),
    "an octal number": run("parallelism: 010"),
    "a null": run("suspend: ~"),
    "a null online": spec("online:"),
    "a quoted word": spec('description: "yes"'),
    "a time in full": run("startFrom: 2026-01-01T00:00:00Z"),
    "a status with what there is not": VIEW + "status: {watermark: never}\n",
    "an integer where a number is": rule("min: 0"),
    "integers and texts": rule('allowed: [1, "2", -3]'),
    "an int beyond 53 bits": rule("allowed: [9007199254740993]"),
    "digits of a digest, which kubectl prints without quotes": spec("owner: 754e5835"),
    "labels": VIEW.replace("{name: user-stats}", '{name: user-stats, labels: {a/b: "1"}}'),
    "signs and empty items": schedule(" +1,,2 *-6 * * *"),
    "the 30th of any month on Mondays": schedule("0 0 30 2 mon"),
}
REFUSED = {
    "nothing": "",
    "a comment": "# nothing\n---\n",
    "a text": "hello\n",
    "a list of nothing": "- 1\n",
    "no apiVersion": VIEW.replace("apiVersion: millrace.dev/v1alpha1\n", ""),
    "no kind": VIEW.replace("kind: FeatureView\n", ""),
    "another version": VIEW.replace("v1alpha1", "v2"),
    "a wrong kind": VIEW.replace("FeatureView", "FeatureVeiw"),
    "one of two documents": f"{VIEW}---\n{DEPLOYMENT.replace('uri', 'url')}",
    "no name": VIEW.replace("{name: user-stats}", "{}"),
    "a name with capitals": VIEW.replace("user-stats", "User_Stats"),
    "a long name": VIEW.replace("user-stats", "a" * 50),
    "a label that is a number": VIEW.replace("{name: user-stats}", "{name: user-stats, labels: {a: 1}}"),
    "a label with a space": VIEW.replace("{name: user-stats}", "{name: user-stats, labels: {a: b c}}"),
    "a field of metadata that there is not": VIEW.replace("{name: ", "{nam: x, name: "),
    "no spec": VIEW[: VIEW.index("spec:")],
    "a tab before": VIEW.replace("  source", "\tsource"),
    "a word that is none": spec('online: {enabled: "yes"}'),
    "a number in quotes": run('parallelism: "2"'),
    "a fraction of a pod": run("parallelism: 1.5"),
    "a bound in quotes": rule('min: "0"'),
    "true as a value": rule("allowed: [true]"),
    "a number that no double holds": rule("min: 1e400"),
    "a float as a value": rule("allowed: [1.5]"),
    "an int beyond 64 bits": run("parallelism: 99999999999999999999"),
    "not a number": rule("min: .nan"),
    "snake case": VIEW.replace("timestampField", "timestamp_field"),
    "a field that there is not": spec("featurez: []"),
    "a date": run("startFrom: 2026-01-01"),
    "a day that there is not": run("startFrom: 2026-02-30T00:00:00Z"),
    "norway": spec("description: no"),
    "a version that is a number": spec("owner: 1.10"),
    "a list where a mapping is": spec("online: []"),
    "two features of one name": VIEW.replace("- {name: amount, type: float64}", "- {name: a, type: bool}\n" * 2),
    "minute 61": schedule("61 * * * *"),
    "the 30th of February": schedule("0 0 30 2 *"),
    "a range that runs backwards": schedule("0 0 * * sat-sun"),
    "an anchor that there is not": spec("owner: *nobody"),
    "an anchor in itself": spec("owner: &x [*x]"),
    "aliases that multiply": VIEW
    + "".join(
        f"{name}: &{name} [{', '.join([before] * 20)}]\n" for before, name in [("x", "a"), ("*a", "b"), ("*b", "c")]
    ),
    "a control character": spec('owner: "\x07"'),
    "a separator with more": f"{VIEW}--- {{a: 1}}\n",
    "a model without its uri": DEPLOYMENT.replace("uri", "url"),
    "an experiment without a control": EXPERIMENT.replace(", control: true", ", weight: 5"),
}


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KubectlProcess]:
    """kubectl, and a server that knows the kinds of Millrace."""
    if shutil.which("kubectl") is None:
        pytest.skip("kubectl is not installed")
    folder = tmp_path_factory.mktemp("validated")
    server = start(folder, kubeconfig=folder / "kubeconfig", crds=[REPOSITORY / "crds"])
    yield KubectlProcess(server.kubeconfig, "default", folder)
    server.stop()


def faults(text: str, folder: Path) -> list[str]:
    path = folder / "objects.yaml"
    path.write_bytes(text.encode())
    return [str(mistake) for mistake in validating.check([path], look_at_data=False).mistakes]


@pytest.mark.parametrize("case", TAKEN)
def test_what_kubectl_applies_passes(case: str, cluster: KubectlProcess, tmp_path: Path) -> None:
    cluster("apply", "--dry-run=server", "-f", "-", stdin=TAKEN[case])
    assert faults(TAKEN[case], tmp_path) == []


@pytest.mark.parametrize("case", REFUSED)
def test_what_kubectl_refuses_is_named_with_file_line_and_column(
    case: str, cluster: KubectlProcess, tmp_path: Path
) -> None:
    cluster("apply", "--dry-run=server", "-f", "-", stdin=REFUSED[case], fails=True)
    found = faults(REFUSED[case], tmp_path)
    assert found
    assert all(each.startswith(f"{tmp_path}/objects.yaml:") for each in found)


def test_a_key_that_is_there_twice_is_a_fault_where_kubectl_takes_the_later(
    cluster: KubectlProcess, tmp_path: Path
) -> None:
    text = spec("owner: me\nowner: you")
    cluster("apply", "--dry-run=server", "-f", "-", stdin=text)
    assert faults(text, tmp_path) == [f"{tmp_path}/objects.yaml:11:3: no YAML: the key 'owner' is there twice"]


SCALARS = [
    "y",
    "Y",
    "n",
    "yes",
    "No",
    "ON",
    "off",
    "TRUE",
    "~",
    "null",
    "NULL",
    "0x1F",
    "0o17",
    "017",
    "08",
    "1_000",
    "1e3",
    "2.50",
    "1e21",
    "9223372036854775808",
    "0b11",
    "-0b11",
    "+5",
    "1:30",
    ".5",
    "5.",
    "0.",
    "-0",
    "-017",
    "1__0",
    "1e_3",
    "0x1_F",
    "_1",
    "1_",
    "2026-01-01",
    "2026-01-01T00:00:00Z",
    "=",
    "0o8",
    "0b2",
    "1.5.2",
    "-.5",
    ".1e1",
    "1e+2",
    "12e03",
    "754e5835",
    "-1e400",
    ".5e400",
    "1_0e400",
    "1e-400",
]


def test_scalars_are_read_as_kubectl_reads_them(cluster: KubectlProcess) -> None:
    """One ConfigMap whose values kubectl turns into JSON, without sending it."""
    data = "".join(f"  k{number}: {text}\n" for number, text in enumerate(SCALARS))
    data += '  t0: !!str 5\n  t1: !!int "7"\n  t2: !!float 3\n  t3: !!binary aGVsbG8=\n  t4: !mine 5\n  t5: ! 5\n'
    text = f"apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: x}}\ndata:\n{data}"
    said = cluster("create", "--dry-run=client", "--validate=false", "-o", "json", "-f", "-", stdin=text)
    # Integers beyond 64 bits are floats to the API server.
    assert yaml_text.values(text)[0]["data"] == {**(read := json.loads(said)["data"]), "k19": float(read["k19"])}
