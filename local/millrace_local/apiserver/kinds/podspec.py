"""Defaults and checks of pod specs, alone and in templates (``SetDefaults_PodSpec`` and its like in Kubernetes)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from millrace_core.schema.errors import DUPLICATE, FieldError, forbidden, invalid, not_supported, required
from millrace_core.schema.metadata import dns_label_error, label_errors
from millrace_local.apiserver.kinds.podpaths import mount_errors, volume_errors
from millrace_local.apiserver.strategy import Obj, fill

_SPEC: Obj = {
    "restartPolicy": "Always",
    "terminationGracePeriodSeconds": 30,
    "dnsPolicy": "ClusterFirst",
    "securityContext": {},
    "schedulerName": "default-scheduler",
}
_CONTAINER: Obj = {
    "resources": {},
    "terminationMessagePath": "/dev/termination-log",
    "terminationMessagePolicy": "File",
}
_PROBE: Obj = {"timeoutSeconds": 1, "periodSeconds": 10, "successThreshold": 1, "failureThreshold": 3}
_FILE_VOLUMES = ("configMap", "secret", "downwardAPI", "projected")
_DEFAULT_MODE = 0o644
PORTS = range(1, 65536)


def default_pod_spec(spec: Obj) -> None:
    """Sets the defaults of a pod spec in place."""
    fill(spec, _SPEC)
    if spec.get("serviceAccount") and not spec.get("serviceAccountName"):
        spec["serviceAccountName"] = spec["serviceAccount"]
    elif spec.get("serviceAccountName"):
        spec["serviceAccount"] = spec["serviceAccountName"]
    for container in _containers(spec):
        _default_container(container)
    for volume in spec.get("volumes") or ():
        _default_volume(volume)


def _containers(spec: Obj) -> Iterable[Obj]:
    yield from spec.get("initContainers") or ()
    yield from spec.get("containers") or ()


def _default_container(container: Obj) -> None:
    image = container.get("image", "")
    tag = image.rpartition("/")[2].partition("@")[0].partition(":")[2]
    latest = "@" not in image and tag in ("", "latest")
    fill(container, {"imagePullPolicy": "Always" if latest else "IfNotPresent"})
    fill(container, _CONTAINER)
    resources = container["resources"]
    if resources.get("limits"):
        resources["requests"] = {**resources["limits"], **(resources.get("requests") or {})}
    for port in container.get("ports") or ():
        fill(port, {"protocol": "TCP"})
    for name in ("livenessProbe", "readinessProbe", "startupProbe"):
        if container.get(name):
            fill(container[name], _PROBE)
            _default_handler(container[name])
    for hook in (container.get("lifecycle") or {}).values():
        _default_handler(hook)
    for variable in container.get("env") or ():
        reference = (variable.get("valueFrom") or {}).get("fieldRef")
        if reference:
            fill(reference, {"apiVersion": "v1"})


def _default_handler(handler: Obj) -> None:
    if handler.get("httpGet"):
        fill(handler["httpGet"], {"path": "/", "scheme": "HTTP"})
    if handler.get("grpc"):
        fill(handler["grpc"], {"service": ""})


def _default_volume(volume: Obj) -> None:
    if not any(name != "name" for name in volume):
        volume["emptyDir"] = {}
    for name in _FILE_VOLUMES:
        if name in volume:
            fill(volume[name], {"defaultMode": _DEFAULT_MODE})
    if "hostPath" in volume:
        fill(volume["hostPath"], {"type": ""})


def pod_spec_errors(spec: Obj, path: str) -> list[FieldError]:
    """Errors of a pod spec that its schema cannot express."""
    errors: list[FieldError] = []
    if not spec.get("containers"):
        errors.append(required(f"{path}.containers"))
    volumes = [volume["name"] for volume in spec.get("volumes") or ()]
    errors += _duplicates(volumes, f"{path}.volumes")
    names = [container["name"] for container in _containers(spec)]
    errors += _duplicates(names, f"{path}.containers")
    for field in ("initContainers", "containers", "volumes"):
        # A node makes folders and files of these names.
        named = enumerate(spec.get(field) or ())
        wrong = (dns_label_error(one["name"], f"{path}.{field}[{index}].name") for index, one in named)
        errors += [error for error in wrong if error]
    for index, volume in enumerate(spec.get("volumes") or ()):
        errors += volume_errors(volume, f"{path}.volumes[{index}]")
    for field in ("initContainers", "containers"):
        for index, container in enumerate(spec.get(field) or ()):
            errors += _container_errors(container, f"{path}.{field}[{index}]", volumes)
            errors += mount_errors(container, f"{path}.{field}[{index}]")
    return errors


def _duplicates(names: Sequence[str], path: str) -> list[FieldError]:
    return [
        FieldError(DUPLICATE, f"{path}[{index}].name", f'Duplicate value: "{name}"')
        for index, name in enumerate(names)
        if name in names[:index]
    ]


def _container_errors(container: Obj, path: str, volumes: Sequence[str]) -> list[FieldError]:
    errors = []
    if not container.get("image"):
        errors.append(required(f"{path}.image"))
    for index, mount in enumerate(container.get("volumeMounts") or ()):
        if mount["name"] not in volumes:
            errors.append(
                FieldError("FieldValueNotFound", f"{path}.volumeMounts[{index}].name", f'Not found: "{mount["name"]}"')
            )
    for index, port in enumerate(container.get("ports") or ()):
        if port["containerPort"] not in PORTS:
            errors.append(
                invalid(
                    f"{path}.ports[{index}].containerPort",
                    port["containerPort"],
                    "must be between 1 and 65535, inclusive",
                )
            )
    for index, variable in enumerate(container.get("env") or ()):
        if variable.get("value") and variable.get("valueFrom"):
            errors.append(
                invalid(f"{path}.env[{index}].valueFrom", "", "may not be specified when `value` is not empty")
            )
    return errors


def template_errors(template: Obj, restart_policies: Sequence[str], path: str = "spec.template") -> list[FieldError]:
    """Errors of a pod template; ``restart_policies`` are those that its controller supports."""
    spec = template.get("spec") or {}
    errors = label_errors((template.get("metadata") or {}).get("labels") or {}, f"{path}.metadata.labels")
    errors += pod_spec_errors(spec, f"{path}.spec")
    policy = spec.get("restartPolicy")
    if policy not in restart_policies:
        errors.append(not_supported(f"{path}.spec.restartPolicy", policy, sorted(restart_policies)))
    return errors


def selector_matches(selector: Obj, labels: dict[str, str]) -> bool:
    """Whether a ``LabelSelector`` selects these labels."""
    if any(labels.get(key) != value for key, value in (selector.get("matchLabels") or {}).items()):
        return False
    return all(_term_matches(term, labels) for term in selector.get("matchExpressions") or ())


def _term_matches(term: Obj, labels: dict[str, str]) -> bool:
    key, operator, values = term["key"], term["operator"], term.get("values") or ()
    if operator == "In":
        return labels.get(key) in values
    if operator == "NotIn":
        return labels.get(key) not in values
    return (key in labels) is (operator == "Exists")


def selector_errors(spec: Obj) -> list[FieldError]:
    """Errors of a workload's selector, which must select the pods of its own template."""
    selector = spec.get("selector") or {}
    if not selector.get("matchLabels") and not selector.get("matchExpressions"):
        return [invalid("spec.selector", selector, "empty selector is invalid for deployment")]
    for index, term in enumerate(selector.get("matchExpressions") or ()):
        if term["operator"] not in ("In", "NotIn", "Exists", "DoesNotExist"):
            path = f"spec.selector.matchExpressions[{index}].operator"
            return [invalid(path, term["operator"], "not a valid selector operator")]
    labels = ((spec.get("template") or {}).get("metadata") or {}).get("labels") or {}
    if not selector_matches(selector, labels):
        return [invalid("spec.template.metadata.labels", labels, "`selector` does not match template `labels`")]
    return []


def unchanged(spec: Obj, old: Obj, may_change: Iterable[str], path: str, why: str) -> list[FieldError]:
    """An error if anything but the fields in ``may_change`` differs between two specs."""
    free = set(may_change)
    before: dict[str, Any] = {name: value for name, value in old.items() if name not in free}
    after = {name: value for name, value in spec.items() if name not in free}
    return [] if before == after else [forbidden(path, why)]
