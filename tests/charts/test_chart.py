"""The Helm chart: linted, rendered by the real Helm, each object valid Kubernetes."""

from __future__ import annotations

import json
from importlib.util import find_spec
from typing import Any

import cel
import pytest
import yaml

from millrace_core.api import names
from millrace_core.base.destinations import Outgoing
from millrace_operators.operator.process import LEASE_NAME
from millrace_operators.operator.settings import OperatorSettings
from millrace_operators.platform import DefaultResources, ModelCache
from millrace_operators.resilience import Resilience
from millrace_operators.uninstall.settings import UninstallSettings
from millrace_services.evidence.settings import EvidenceSettings
from millrace_services.gateway.settings import GatewaySettings
from millrace_services.registry.settings import RegistrySettings
from tests import kubernetes_peer
from tests.charts.rendering import CHART, STORE, rendered
from tests.operators import golden
from tests.operators.rights import OPERATOR, Right, recorded

helm = pytest.importorskip("helm_python")

MONITORING = CHART.parents[1] / "manifests" / "monitoring"

SETTINGS = {
    f"millrace-{name}": {field.alias for field in settings.model_fields.values()}
    for name, settings in (
        ("operator", OperatorSettings),
        ("gateway", GatewaySettings),
        ("registry", RegistrySettings),
        ("uninstall", UninstallSettings),
    )
}
PROCESSES = ("operator", "registry", "gateway")
# What libraries read, rather than a settings class.
OF_LIBRARIES = {"AWS_EC2_METADATA_DISABLED"}
PLACED: dict[str, Any] = {
    "nodeSelector": {"disk": "ssd"},
    "tolerations": [{"key": "team", "operator": "Equal", "value": "ml", "effect": "NoSchedule"}],
    "affinity": {
        "podAntiAffinity": {
            "preferredDuringSchedulingIgnoredDuringExecution": [
                {
                    "weight": 1,
                    "podAffinityTerm": {"topologyKey": "zone", "labelSelector": {"matchLabels": {"a": "b"}}},
                }
            ]
        }
    },
    "podAnnotations": {"example.dev/scrape": "true"},
    "extraEnv": [
        {"name": "HTTPS_PROXY", "value": "http://proxy:3128"},
        {"name": "TEAM", "valueFrom": {"fieldRef": {"fieldPath": "metadata.namespace"}}},
    ],
    "serviceAccount": {"annotations": {"eks.amazonaws.com/role-arn": "arn:aws:iam::1:role/millrace"}},
}
VARIANTS: dict[str, dict[str, Any]] = {
    "default": STORE,
    "existing secret": {"store": {"existingSecret": "mine"}},
    "postgres": {**STORE, "registry": {"databaseUrl": "postgresql+psycopg://db/registry"}},
    "registries": {**STORE, "registry": {"existingSecret": "mine", "replicas": 3}},
    "monitoring": {**STORE, "monitoring": {"enabled": True, "labels": {"release": "prometheus"}}},
    "alerts and dashboards": {
        **STORE,
        "monitoring": {"alerts": True, "dashboards": True, "labels": {"release": "prometheus"}},
        "workloads": {"env": {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://collector:4318"}},
    },
    "prometheus": {**STORE, "operator": {"prometheusUrl": "http://prometheus:9090"}},
    "namespaces": {**STORE, "namespaces": ["a", "b"]},
    "tokens": {**STORE, "auth": {"existingSecret": "callers"}},
    "everything": {
        **STORE,
        "image": {"digests": {"operator": "sha256:" + "ab" * 32}},
        "imagePullSecrets": ["one", "two"],
        "workloads": {"resources": {"serve": {"limits": {"cpu": 8, "memory": "16Gi"}}}},
        **dict.fromkeys(PROCESSES, PLACED),
        "evidence": {"uri": "s3://lake/evidence", "existingSecret": "lake", **PLACED},
    },
}


@pytest.mark.parametrize("values", VARIANTS.values(), ids=VARIANTS.keys())
def test_every_rendered_object_is_valid_kubernetes(values: dict[str, Any]) -> None:
    documents = rendered(values)
    assert {"Deployment", "Service", "Role"} <= {document["kind"] for document in documents}
    for document in documents:
        if document["kind"] not in ("ServiceMonitor", "PrometheusRule"):
            kubernetes_peer.check(document, "1.30")


def test_service_monitors_select_the_services_that_there_are() -> None:
    documents = rendered(VARIANTS["monitoring"])
    services = [document for document in documents if document["kind"] == "Service"]
    monitors = [document for document in documents if document["kind"] == "ServiceMonitor"]
    assert [monitor["metadata"]["name"] for monitor in monitors] == [
        "millrace-operator",
        "millrace-registry",
        "millrace-gateway",
    ]
    for monitor in monitors:
        golden.check_schema(monitor)
        wanted = monitor["spec"]["selector"]["matchLabels"].items()
        [service] = [each for each in services if wanted <= each["metadata"]["labels"].items()]
        assert [port["name"] for port in service["spec"]["ports"]] == [monitor["spec"]["endpoints"][0]["port"]]
        assert monitor["metadata"]["labels"]["release"] == "prometheus"
    assert "ServiceMonitor" not in {document["kind"] for document in rendered(STORE)}


def test_alerts_and_dashboards_are_those_of_the_files() -> None:
    documents = rendered(VARIANTS["alerts and dashboards"])
    rule = one(documents, "PrometheusRule", "millrace")
    assert rule["spec"] == yaml.safe_load((MONITORING / "rules.yaml").read_text())
    assert rule["metadata"]["labels"]["release"] == "prometheus"
    files = {path.name: json.loads(path.read_text()) for path in (MONITORING / "dashboards").iterdir()}
    maps = [each for each in documents if each["kind"] == "ConfigMap"]
    assert {name: json.loads(text) for each in maps for name, text in each["data"].items()} == files
    assert {each["metadata"]["labels"]["grafana_dashboard"] for each in maps} == {"1"}
    assert not {"PrometheusRule", "ConfigMap"} & {document["kind"] for document in rendered(STORE)}


def test_variables_of_models_reach_the_operator_and_not_its_own_process() -> None:
    operator = one(rendered(VARIANTS["alerts and dashboards"]), "Deployment", "millrace-operator")
    environ = operator["spec"]["template"]["spec"]["containers"][0]["env"]
    given = {each["name"]: each.get("value") for each in environ}
    assert json.loads(given["MILLRACE_SERVE_ENV"]) == {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://collector:4318"}
    assert "OTEL_EXPORTER_OTLP_ENDPOINT" not in given


PAUSED = "autoscaling.keda.sh/paused-replicas"


@pytest.mark.parametrize(
    ("metadata", "passes"),
    [({}, True), ({"annotations": {"a": "b"}}, True), ({"annotations": {PAUSED: "0"}}, False)],
)
def test_a_pause_that_would_take_pods_is_refused_on_scaled_objects_of_millrace(
    metadata: dict[str, Any], passes: bool
) -> None:
    documents = rendered(STORE)
    policy = one(documents, "ValidatingAdmissionPolicy", "millrace-pauses")["spec"]
    assert one(documents, "ValidatingAdmissionPolicyBinding", "millrace-pauses")["spec"] == {
        "policyName": "millrace-pauses",
        "validationActions": ["Deny"],
    }
    assert policy["matchConstraints"]["objectSelector"] == {"matchLabels": {names.MANAGED_BY: "millrace"}}
    [rule] = policy["validations"]
    assert cel.evaluate(rule["expression"], {"object": {"metadata": metadata}}) is passes
    assert "ValidatingAdmissionPolicy" not in {item["kind"] for item in rendered(VARIANTS["namespaces"])}


def test_every_image_is_of_one_release_and_named_by_what_it_runs() -> None:
    documents = rendered({**STORE, "image": {"repository": "registry.example/ml/millrace", "tag": "9"}})
    containers = {
        document["metadata"]["name"]: document["spec"]["template"]["spec"]["containers"][0]
        for document in documents
        if document["kind"] == "Deployment"
    }
    images = {name: container["image"] for name, container in containers.items()}
    assert images == {
        f"millrace-{process}": f"registry.example/ml/millrace/{process}:9"
        for process in ("operator", "registry", "gateway")
    }
    environ = {one["name"]: one["value"] for one in containers["millrace-operator"]["env"] if "value" in one}
    assert {name: value for name, value in environ.items() if name.endswith("_IMAGE")} == {
        "MILLRACE_INFERENCE_IMAGE": "registry.example/ml/millrace/inference:9",
        "MILLRACE_GPU_IMAGE": "registry.example/ml/millrace/inference-gpu:9",
        "MILLRACE_MATERIALIZE_IMAGE": "registry.example/ml/millrace/materialize:9",
    }


def test_every_container_runs_a_module_that_there_is_with_settings_that_it_has() -> None:
    for document in rendered(STORE):
        if document["kind"] in ("Deployment", "Job"):
            [container] = document["spec"]["template"]["spec"]["containers"]
            python, option, module = container["command"]
            assert (python, option) == ("python", "-m")
            assert find_spec(f"{module}.__main__")
            named = {variable["name"] for variable in container["env"]} - OF_LIBRARIES
            assert named <= SETTINGS[document["metadata"]["name"]]


def deployment(documents: list[dict[str, Any]], process: str) -> dict[str, Any]:
    """The Deployment of a process."""
    return one(documents, "Deployment", f"millrace-{process}")


def one(documents: list[dict[str, Any]], kind: str, name: str) -> dict[str, Any]:
    """The one object of this kind and name."""
    [found] = [each for each in documents if (each["kind"], each["metadata"]["name"]) == (kind, name)]
    return found


def pod_specs(documents: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The spec of every pod that the chart makes."""
    jobs = [each["spec"]["jobTemplate"] for each in documents if each["kind"] == "CronJob"]
    others = [each for each in documents if each["kind"] in ("Deployment", "Job")]
    return [each["spec"]["template"]["spec"] for each in [*others, *jobs]]


@pytest.mark.parametrize("process", PROCESSES)
@pytest.mark.parametrize("field", ["nodeSelector", "tolerations", "affinity"])
def test_a_process_runs_where_its_values_say(process: str, field: str) -> None:
    made = deployment(rendered({**STORE, process: {field: PLACED[field]}}), process)
    assert made["spec"]["template"]["spec"][field] == PLACED[field]
    assert field not in deployment(rendered(STORE), process)["spec"]["template"]["spec"]


@pytest.mark.parametrize("process", PROCESSES)
def test_a_process_has_the_annotations_and_variables_of_its_values(process: str) -> None:
    documents = rendered({**STORE, process: PLACED})
    template = deployment(documents, process)["spec"]["template"]
    assert template["metadata"]["annotations"].items() >= PLACED["podAnnotations"].items()
    [container] = template["spec"]["containers"]
    assert container["env"][-2:] == PLACED["extraEnv"]
    account = one(documents, "ServiceAccount", f"millrace-{process}")
    assert account["metadata"]["annotations"] == PLACED["serviceAccount"]["annotations"]
    assert template["spec"]["serviceAccountName"] == account["metadata"]["name"]


@pytest.mark.parametrize("process", ["registry", "gateway"])
def test_a_process_that_asks_kubernetes_nothing_has_an_account_of_its_own_without_a_token(process: str) -> None:
    documents = rendered(STORE)
    pod = deployment(documents, process)["spec"]["template"]["spec"]
    account = one(documents, "ServiceAccount", pod["serviceAccountName"])
    assert pod["automountServiceAccountToken"] is account["automountServiceAccountToken"] is False
    bound = [each["subjects"] for each in documents if each["kind"].endswith("RoleBinding")]
    assert account["metadata"]["name"] not in {subject["name"] for subjects in bound for subject in subjects}


@pytest.mark.parametrize("namespaces", [[], ["team-a", "team-b"]])
def test_a_gateway_that_may_start_runs_gets_a_token_and_the_right_to_command_views_and_no_other(
    namespaces: list[str],
) -> None:
    documents = rendered({**STORE, "namespaces": namespaces, "gateway": {"materialize": True}})
    pod = deployment(documents, "gateway")["spec"]["template"]["spec"]
    assert pod["automountServiceAccountToken"] is True
    assert {"name": "MILLRACE_MATERIALIZE", "value": "true"} in pod["containers"][0]["env"]
    named = [each for each in documents if each["metadata"]["name"] == "millrace-gateway"]
    roles = [each for each in named if each["kind"] in ("Role", "ClusterRole")]
    bindings = [each for each in named if each["kind"] in ("RoleBinding", "ClusterRoleBinding")]
    assert [each["metadata"].get("namespace", "") for each in roles] == (namespaces or [""])
    assert [each["metadata"].get("namespace", "") for each in bindings] == (namespaces or [""])
    for role, binding in zip(roles, bindings, strict=True):
        [rule] = role["rules"]
        assert (rule["apiGroups"], rule["resources"]) == (["millrace.dev"], ["featureviews"])
        assert rule["verbs"] == ["get", "patch"]
        assert binding["roleRef"]["kind"] == role["kind"] == ("Role" if namespaces else "ClusterRole")
        assert [each["name"] for each in binding["subjects"]] == [pod["serviceAccountName"]]


def test_a_digest_stands_in_place_of_the_tag() -> None:
    names = ("operator", "registry", "gateway", "materialize", "inference", "inference-gpu")
    digests = {name: f"sha256:{number:064x}" for number, name in enumerate(names)}
    documents = rendered({**STORE, "image": {"digests": digests}})
    text = yaml.safe_dump(documents)
    for name, digest in digests.items():
        assert f"millrace/{name}@{digest}" in text
        assert f"millrace/{name}:" not in text


def test_images_are_pulled_by_the_secrets_of_the_values_by_the_operators_pods_too() -> None:
    documents = rendered({**STORE, "imagePullSecrets": ["one", "two"]})
    for spec in pod_specs(documents):
        assert spec["imagePullSecrets"] == [{"name": "one"}, {"name": "two"}]
    assert operator_environment(documents)["MILLRACE_IMAGE_PULL_SECRETS"] == "one,two"


def operator_environment(documents: list[dict[str, Any]]) -> dict[str, str]:
    [container] = deployment(documents, "operator")["spec"]["template"]["spec"]["containers"]
    return {variable["name"]: variable["value"] for variable in container["env"] if "value" in variable}


def test_resources_of_the_workloads_reach_the_operators_settings() -> None:
    stated = {
        name: {"requests": {"cpu": f"{number}m"}, "limits": {"memory": "3Gi"}}
        for number, name in enumerate(("materialize", "purge", "fetch", "serve"), start=1)
    }
    stated["serve"]["limits"]["cpu"] = "8"
    as_numbers = {**stated, "serve": {**stated["serve"], "limits": {"memory": "3Gi", "cpu": 8}}}
    environ = operator_environment(rendered({**STORE, "workloads": {"resources": as_numbers}}))
    made = OperatorSettings.load(environ).platform().resources
    assert {name: getattr(made, name) for name in stated} == stated
    assert OperatorSettings.load(operator_environment(rendered(STORE))).platform().resources == DefaultResources()


def test_where_nodes_keep_models_reaches_the_operator_and_is_nowhere_by_itself() -> None:
    for cache in ({"hostPath": "/var/lib/millrace/models", "size": "5Gi"}, {"claim": "models"}):
        environ = operator_environment(rendered({**STORE, "workloads": {"modelCache": cache}}))
        assert OperatorSettings.load(environ).model_cache == ModelCache.model_validate(cache)
    assert "MILLRACE_MODEL_CACHE" not in operator_environment(rendered(STORE))


def test_what_the_mesh_does_where_pods_fail_reaches_the_operator_and_is_its_own_by_itself() -> None:
    stated = {"retries": 1, "tryTimeout": "1m", "maxRequests": 2_000_000}
    environ = operator_environment(rendered({**STORE, "workloads": {"resilience": stated}}))
    assert OperatorSettings.load(environ).platform().resilience == Resilience.model_validate(stated)
    assert "MILLRACE_RESILIENCE" not in operator_environment(rendered(STORE))


def test_a_lake_reaches_the_operator_and_has_a_job_and_without_one_there_is_none() -> None:
    lake = {"uri": "s3://lake/evidence", "existingSecret": "keys", "retention": "30d", **PLACED}
    documents = rendered({**STORE, "evidence": lake})
    environ = operator_environment(documents)
    assert (environ["MILLRACE_LAKE_URI"], environ["MILLRACE_LAKE_SECRET"]) == ("s3://lake/evidence", "keys")
    job = one(documents, "CronJob", "millrace-evidence")
    pod = job["spec"]["jobTemplate"]["spec"]["template"]["spec"]
    [container] = pod["containers"]
    assert find_spec(f"{container['command'][2]}.__main__")
    told = {variable["name"]: variable.get("value") for variable in container["env"][:-2]}
    assert {**told, "TMPDIR": "/tmp"} == {
        "MILLRACE_LAKE_URI": "s3://lake/evidence",
        "MILLRACE_LAKE_RETENTION": "30d",
        "TMPDIR": "/tmp",
    }
    assert {*told} - {"TMPDIR"} <= {field.alias for field in EvidenceSettings.model_fields.values()}
    assert container["envFrom"] == [{"secretRef": {"name": "keys"}}]
    assert container["env"][-2:] == PLACED["extraEnv"]
    assert {name: pod[name] for name in ("nodeSelector", "tolerations", "affinity")}.items() <= PLACED.items()
    assert "CronJob" not in {each["kind"] for each in rendered(STORE)}
    assert "MILLRACE_LAKE_URI" not in operator_environment(rendered(STORE))


def test_where_connections_may_go_reaches_the_operator_and_the_gateway_and_is_closed_by_itself() -> None:
    said = {
        "allow": ["*.data.svc:9000", "10.0.0.0/8", "[fd00::1]:80"],
        "clusterNetworks": ["10.96.0.0/12"],
        "private": True,
    }
    for values, expected in ((STORE, Outgoing()), ({**STORE, "outgoing": said}, Outgoing.model_validate(said))):
        for process in ("operator", "gateway"):
            [container] = deployment(rendered(values), process)["spec"]["template"]["spec"]["containers"]
            env = {each["name"]: each.get("value", "") for each in container["env"]}
            assert Outgoing.model_validate_json(env["MILLRACE_OUTGOING"]) == expected


def test_trusted_proxies_reach_the_servers_and_by_the_operator_those_of_models() -> None:
    named = {**STORE, "trustedProxies": ["127.0.0.0/8", "fd00::/8"]}
    for values, expected in ((STORE, None), (named, "127.0.0.0/8,fd00::/8")):
        for process in ("operator", "gateway", "registry"):
            [container] = deployment(rendered(values), process)["spec"]["template"]["spec"]["containers"]
            env = {each["name"]: each.get("value") for each in container["env"]}
            assert env.get("MILLRACE_TRUSTED_PROXIES") == expected


def test_a_secret_with_tokens_is_a_file_of_registry_gateway_and_operator_and_named_to_the_operators_pods() -> None:
    for process in ("operator", "gateway", "registry"):
        pod = deployment(rendered(VARIANTS["tokens"]), process)["spec"]["template"]["spec"]
        [container] = pod["containers"]
        env = {each["name"]: each.get("value", "") for each in container["env"]}
        [mount] = [each for each in container["volumeMounts"] if each["name"] == "token"]
        assert [each["secret"] for each in pod["volumes"] if each["name"] == "token"] == [{"secretName": "callers"}]
        assert env["MILLRACE_TOKEN_FILE"] == f"{mount['mountPath']}/tokens"
        assert "subPath" not in mount  # it would stay as it was while the Secret changes
        assert env.get("MILLRACE_TOKEN_SECRET") == ("callers" if process == "operator" else None)
        assert "token" not in str(deployment(rendered(STORE), process)).lower().replace(
            "automountserviceaccounttoken", ""
        )


@pytest.mark.parametrize("values", VARIANTS.values(), ids=VARIANTS.keys())
def test_a_quota_of_requests_and_limits_takes_every_pod_of_the_chart(values: dict[str, Any]) -> None:
    for spec in pod_specs(rendered(values)):
        for container in spec["containers"]:
            for part in ("requests", "limits"):
                assert {"cpu", "memory"} <= container["resources"][part].keys(), container["name"]


@pytest.mark.parametrize("url", ["postgresql+psycopg://user:hunter2@db/registry"])
def test_the_registrys_password_is_in_a_secret_of_the_chart_or_of_the_user(url: str) -> None:
    made = rendered({**STORE, "registry": {"databaseUrl": url}})
    assert one(made, "Secret", "millrace-registry")["stringData"] == {"url": url}
    assert "hunter2" not in yaml.safe_dump(deployment(made, "registry"))
    given = rendered({**STORE, "registry": {"existingSecret": "mine"}})
    assert "millrace-registry" not in {each["metadata"]["name"] for each in given if each["kind"] == "Secret"}
    for documents, secret in ((made, "millrace-registry"), (given, "mine")):
        assert "PersistentVolumeClaim" not in {document["kind"] for document in documents}
        spec = deployment(documents, "registry")["spec"]["template"]["spec"]
        [database] = [v for v in spec["containers"][0]["env"] if v["name"] == "MILLRACE_DATABASE_URL"]
        assert database["valueFrom"]["secretKeyRef"] == {"name": secret, "key": "url"}


def test_files_of_runs_are_on_the_registrys_volume_or_in_a_bucket_with_the_keys_of_a_secret() -> None:
    bucket = {"artifacts": {"uri": "s3://files/mlflow", "existingSecret": "keys"}}
    for values, said, keys in (({}, [], None), (bucket, ["s3://files/mlflow"], [{"secretRef": {"name": "keys"}}])):
        [container] = deployment(rendered({**STORE, "registry": values}), "registry")["spec"]["template"]["spec"][
            "containers"
        ]
        assert [each["value"] for each in container["env"] if each["name"] == "MILLRACE_ARTIFACTS"] == said
        assert container.get("envFrom") == keys


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("registry.artifacts.uri", "gs://files"),
        ("imagePullSecrets", [{"name": "one"}]),
        ("image.digests.operator", "sha256:short"),
        ("image.digests.other", "sha256:" + "ab" * 32),
        ("gateway.tolerations", [{"key": "a", "effect": "Never"}]),
        ("gateway.podAnnotations.number", 1),
        ("gateway.extraEnv", [{"value": "nameless"}]),
        ("gateway.resources.limits.memory", "much"),
        ("workloads.resources.pod", {}),
        ("registry.serviceAccount.name", "mine"),
    ],
)
def test_a_value_of_the_wrong_form_is_refused_by_its_name(path: str, value: object) -> None:
    *parents, last = path.split(".")
    values: dict[str, Any] = {last: value}
    for parent in reversed(parents):
        values = {parent: values}
    named = parents[0] if parents else last
    with pytest.raises(helm.HelmError, match=named):
        rendered({**STORE, **values})


def test_an_uninstall_deletes_objects_only_where_that_was_chosen() -> None:
    for chosen in (False, True):
        documents = rendered({**STORE, "uninstall": {"deleteObjects": chosen}})
        [container] = one(documents, "Job", "millrace-uninstall")["spec"]["template"]["spec"]["containers"]
        environ = {variable["name"]: variable["value"] for variable in container["env"]}
        assert UninstallSettings.load(environ).delete_objects is chosen
        [rule] = one(documents, "ClusterRole", "millrace-uninstall-objects")["rules"]
        assert ("delete" in rule["verbs"]) is chosen
    kinds = {each["kind"] for each in rendered({**STORE, "uninstall": {"hook": False}})}
    assert "Job" not in kinds


def test_several_registries_share_a_postgresql_and_a_volume_has_one() -> None:
    shared = rendered(VARIANTS["registries"])
    spec = deployment(shared, "registry")["spec"]
    assert (spec["replicas"], spec.get("strategy")) == (3, None)
    assert one(shared, "PodDisruptionBudget", "millrace-registry")["spec"]["maxUnavailable"] == 1
    alone = deployment(rendered(STORE), "registry")["spec"]
    assert (alone["replicas"], alone["strategy"]) == (1, {"type": "Recreate"})
    with pytest.raises(helm.HelmError, match=r"registry\.replicas: several need one PostgreSQL"):
        rendered({**STORE, "registry": {"replicas": 2}})
    with pytest.raises(helm.HelmError, match=r"registry\.databaseUrl: a URL of PostgreSQL is expected"):
        rendered({**STORE, "registry": {"databaseUrl": "sqlite:////data/r.db", "replicas": 2}})


@pytest.mark.parametrize("process", ["gateway", "registry"])
def test_a_process_that_waits_for_another_is_not_ended_for_it(process: str) -> None:
    [container] = deployment(rendered(STORE), process)["spec"]["template"]["spec"]["containers"]
    paths = {name: container[f"{name}Probe"]["httpGet"]["path"] for name in ("startup", "liveness", "readiness")}
    assert paths == {"startup": "/health/live", "liveness": "/health/live", "readiness": "/health/ready"}


def test_the_volume_of_the_registry_outlives_the_release() -> None:
    volume = one(rendered(STORE), "PersistentVolumeClaim", "millrace-registry")
    assert volume["metadata"]["annotations"] == {"helm.sh/resource-policy": "keep"}


def test_a_chart_without_a_store_says_what_is_needed() -> None:
    with pytest.raises(helm.HelmError, match=r"store\.url or store\.existingSecret is needed"):
        rendered({})


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"store": {"url": "redis://store:6379", "existingSecret": "mine"}}, r"store: url and existingSecret are both"),
        (
            {"registry": {"databaseUrl": "postgresql+psycopg://u@h/d", "existingSecret": "mine"}},
            r"registry: databaseUrl and existingSecret are both",
        ),
        ({"registry": {"databaseUrl": "postgres://u@h/d"}}, r"registry\.databaseUrl: a URL of PostgreSQL is expected"),
        ({"uninstall": {"hook": False, "deleteObjects": True}}, r"uninstall\.deleteObjects: the hook is what deletes"),
    ],
)
def test_values_of_which_one_would_mean_nothing_are_refused(values: dict[str, Any], said: str) -> None:
    with pytest.raises(helm.HelmError, match=said):
        rendered({**STORE, **values})


def test_an_unknown_value_is_refused_rather_than_ignored() -> None:
    with pytest.raises(helm.HelmError, match="replicaCount"):
        rendered({**STORE, "gateway": {"replicaCount": 3}})


def test_an_existing_secret_is_used_and_none_is_made() -> None:
    documents = rendered(VARIANTS["existing secret"])
    assert not [document for document in documents if document["kind"] == "Secret"]
    [gateway] = [d for d in documents if d["kind"] == "Deployment" and d["metadata"]["name"] == "millrace-gateway"]
    environment = gateway["spec"]["template"]["spec"]["containers"][0]["env"]
    [store] = [variable for variable in environment if variable["name"] == "MILLRACE_STORE_URL"]
    assert store["valueFrom"]["secretKeyRef"]["name"] == "mine"


@pytest.mark.parametrize(("field", "scheme"), [("store.url", "redis"), ("registry.databaseUrl", "postgresql+psycopg")])
def test_pods_that_read_a_secret_of_the_chart_are_replaced_when_it_changes(field: str, scheme: str) -> None:
    first, second = f"{scheme}://u:1@h", f"{scheme}://u:2@h"
    section, _, key = field.partition(".")

    def templates(url: str) -> tuple[str, dict[str, Any]]:
        """The Secret that the URL is in, and each Deployment's pod template."""
        documents = rendered({**STORE, section: {key: url}})
        [secret] = [each for each in documents if each["kind"] == "Secret" and each["stringData"]["url"] == url]
        found = {
            each["metadata"]["name"]: each["spec"]["template"] for each in documents if each["kind"] == "Deployment"
        }
        return secret["metadata"]["name"], found

    name, before = templates(first)
    _, after = templates(second)
    read = {process for process, template in before.items() if f"'name': '{name}', 'key': 'url'" in str(template)}
    assert read
    assert {process for process in before if before[process] != after[process]} == read
    assert templates(first)[1] == before


def test_the_chart_passes_helm_lint() -> None:
    result = helm.lint(str(CHART), values=STORE)
    assert result["errors"] == []


def rights(role: dict[str, Any]) -> set[Right]:
    """What a role allows."""
    return {
        (group, resource, verb)
        for rule in role["rules"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
    }


CLUSTER_SCOPED = {("", "nodes")}
BY_NAME = {("", "secrets"): names.STORE_SECRET, ("coordination.k8s.io", "leases"): LEASE_NAME}


def test_the_operator_may_do_what_it_was_seen_to_do_and_nothing_else() -> None:
    documents, seen = rendered(STORE), recorded()
    assert rights(one(documents, "ClusterRole", OPERATOR)) == seen["everywhere"]
    assert rights(one(documents, "Role", "millrace-operator-own")) == seen["own"] - seen["everywhere"]


def test_with_namespaces_it_may_do_the_same_in_these_by_roles_alone() -> None:
    documents, seen = rendered({**STORE, "namespaces": ["a", "b"]}), recorded()
    assert not {each["kind"] for each in documents} & {"ClusterRole", "ClusterRoleBinding"}
    there = {right for right in seen["everywhere"] if right[:2] not in CLUSTER_SCOPED}
    roles = [each for each in documents if each["kind"] == "Role" and each["metadata"]["name"] == OPERATOR]
    assert [role["metadata"]["namespace"] for role in roles] == ["a", "b"]
    for role in roles:
        assert rights(role) == there
    assert rights(one(documents, "Role", "millrace-operator-own")) == seen["own"]
    for binding in (each for each in documents if each["kind"] == "RoleBinding"):
        assert [subject["namespace"] for subject in binding["subjects"]] == ["millrace-system"]
    assert operator_environment(documents)["MILLRACE_NAMESPACES"] == "a,b"
    [container] = one(documents, "Job", "millrace-uninstall")["spec"]["template"]["spec"]["containers"]
    environ = {variable["name"]: variable["value"] for variable in container["env"]}
    assert UninstallSettings.load(environ).namespaces == ("a", "b")


@pytest.mark.parametrize("values", [STORE, {**STORE, "namespaces": ["a"]}], ids=["everywhere", "namespaces"])
def test_no_right_has_a_wildcard_and_secrets_and_leases_are_named(values: dict[str, Any]) -> None:
    roles = [each for each in rendered(values) if each["kind"] in ("Role", "ClusterRole")]
    assert len(roles) >= 4
    for role in roles:
        for rule in role["rules"]:
            assert "*" not in (*rule["apiGroups"], *rule["resources"], *rule["verbs"])
            for group in rule["apiGroups"]:
                for resource in rule["resources"]:
                    name = BY_NAME.get((group, resource))
                    # A plain create has no name to be asked about; an apply has.
                    if name is not None and rule["verbs"] != ["create"]:
                        assert rule["resourceNames"] == [name]


def test_a_secret_is_never_made_by_a_plain_create() -> None:
    for role in (each for each in rendered(STORE) if each["kind"] in ("Role", "ClusterRole")):
        for rule in role["rules"]:
            assert "secrets" not in rule["resources"] or "resourceNames" in rule
