"""Strategies of Jobs and CronJobs."""

from __future__ import annotations

from collections.abc import Iterable

from millrace_core.base import cron
from millrace_core.base.errors import RejectError
from millrace_core.schema.errors import FieldError, invalid, not_supported, required
from millrace_local.apiserver.kinds.podspec import default_pod_spec, selector_matches, template_errors
from millrace_local.apiserver.strategy import Draft, Obj, Strategy, fill, immutable

_RESTARTS = ("OnFailure", "Never")
_CRON_JOB_NAME_LIMIT = 52
_COUNTS = (
    "parallelism",
    "completions",
    "backoffLimit",
    "backoffLimitPerIndex",
    "maxFailedIndexes",
    "activeDeadlineSeconds",
    "ttlSecondsAfterFinished",
)
_CONCURRENCY = ("Allow", "Forbid", "Replace")
_CRON_JOB_COUNTS = ("successfulJobsHistoryLimit", "failedJobsHistoryLimit", "startingDeadlineSeconds")
# The default of backoffLimit if each index has a limit of its own.
_NO_LIMIT = 2**31 - 1


def _default_job_spec(spec: Obj) -> None:
    if spec.get("completions") is None and spec.get("parallelism") is None:
        spec["completions"] = 1
    fill(
        spec,
        {
            "parallelism": 1,
            "backoffLimit": 6 if spec.get("backoffLimitPerIndex") is None else _NO_LIMIT,
            "completionMode": "NonIndexed",
            "suspend": False,
            "manualSelector": False,
            "podReplacementPolicy": "Failed" if spec.get("podFailurePolicy") else "TerminatingOrFailed",
        },
    )
    default_pod_spec(spec["template"].setdefault("spec", {}))


def _job_spec_errors(spec: Obj, path: str) -> list[FieldError]:
    errors = _below_zero(spec, path, _COUNTS) + _index_errors(spec, path)
    return errors + template_errors(spec["template"], _RESTARTS, f"{path}.template")


def _index_errors(spec: Obj, path: str) -> list[FieldError]:
    """What an Indexed Job must have, and what only such a one may."""
    errors = []
    indexed = spec.get("completionMode") == "Indexed"
    per_index, most = spec.get("backoffLimitPerIndex"), spec.get("maxFailedIndexes")
    if indexed and spec.get("completions") is None:
        errors.append(required(f"{path}.completions", "when completion mode is Indexed"))
    if per_index is not None and not indexed:
        errors.append(invalid(f"{path}.backoffLimitPerIndex", per_index, "requires indexed completion mode"))
    if most is not None and per_index is None:
        errors.append(required(f"{path}.backoffLimitPerIndex", "when maxFailedIndexes is specified"))
    if most is not None and most > (spec.get("completions") or 0):
        errors.append(invalid(f"{path}.maxFailedIndexes", most, "must be less than or equal to completions"))
    for number, rule in enumerate((spec.get("podFailurePolicy") or {}).get("rules") or ()):
        if rule.get("action") == "FailIndex" and per_index is None:
            where = f"{path}.podFailurePolicy.rules[{number}].action"
            errors.append(invalid(where, "FailIndex", "requires the backoffLimitPerIndex to be set"))
    return errors


class JobStrategy(Strategy):
    """Jobs. Their pods carry labels with the Job's uid, which the Job's selector selects."""

    has_spec = True
    # As in Kubernetes, for old clients: a delete of a batch/v1 Job without a policy orphans its pods.
    orphans = True

    def default(self, obj: Obj) -> None:
        _default_job_spec(obj["spec"])

    def prepare(self, draft: Draft) -> None:
        obj, old = draft.obj, draft.old
        spec = obj["spec"]
        fill(obj, {"status": {}})
        if old is not None or spec["manualSelector"]:
            return
        metadata = obj["metadata"]
        labels = spec["template"].setdefault("metadata", {}).setdefault("labels", {})
        for prefix in ("", "batch.kubernetes.io/"):
            labels[f"{prefix}controller-uid"] = metadata["uid"]
            labels[f"{prefix}job-name"] = metadata["name"]
        spec.setdefault("selector", {}).setdefault("matchLabels", {})["batch.kubernetes.io/controller-uid"] = metadata[
            "uid"
        ]

    def check(self, draft: Draft) -> list[FieldError]:
        obj, old = draft.obj, draft.old
        spec = obj["spec"]
        errors = _job_spec_errors(spec, "spec")
        labels = spec["template"].get("metadata", {}).get("labels") or {}
        if not selector_matches(spec.get("selector") or {}, labels):
            errors.append(
                invalid("spec.template.metadata.labels", labels, "`selector` does not match template `labels`")
            )
        fixed = ["spec.selector", "spec.completionMode", "spec.podFailurePolicy", "spec.backoffLimitPerIndex"]
        if spec["completionMode"] != "Indexed":
            fixed.append("spec.completions")
        if old is not None and not old["spec"].get("suspend"):
            fixed.append("spec.template")
        return errors + immutable(obj, old, *fixed)


class CronJobStrategy(Strategy):
    """CronJobs: the schedule can be parsed, the time zone exists, the name leaves room for the suffix of its Jobs."""

    has_spec = True

    def default(self, obj: Obj) -> None:
        spec = obj["spec"]
        fill(
            spec,
            {
                "concurrencyPolicy": "Allow",
                "suspend": False,
                "successfulJobsHistoryLimit": 3,
                "failedJobsHistoryLimit": 1,
            },
        )
        template = spec["jobTemplate"].setdefault("spec", {}).setdefault("template", {})
        default_pod_spec(template.setdefault("spec", {}))

    def prepare(self, draft: Draft) -> None:
        obj = draft.obj
        fill(obj, {"status": {}})

    def check(self, draft: Draft) -> list[FieldError]:
        obj, old = draft.obj, draft.old
        spec, name = obj["spec"], obj["metadata"]["name"]
        errors = _job_spec_errors(spec["jobTemplate"]["spec"], "spec.jobTemplate.spec")
        errors += _schedule_errors(spec)
        if len(name) > _CRON_JOB_NAME_LIMIT and old is None:
            errors.append(invalid("metadata.name", name, f"must be no more than {_CRON_JOB_NAME_LIMIT} characters"))
        return errors


def _schedule_errors(spec: Obj) -> list[FieldError]:
    if not spec["schedule"]:
        return [required("spec.schedule", "")]
    errors = []
    try:
        cron.parse(spec["schedule"])
    except RejectError as error:
        errors.append(invalid("spec.schedule", spec["schedule"], error.message))
    zone = spec.get("timeZone")
    if zone == "":
        errors.append(invalid("spec.timeZone", zone, "timeZone must be nil or non-empty string"))
    elif zone is not None:
        try:
            cron.time_zone(zone)
        except RejectError as error:
            errors.append(invalid("spec.timeZone", zone, error.message))
    if spec["concurrencyPolicy"] not in _CONCURRENCY:
        errors.append(not_supported("spec.concurrencyPolicy", spec["concurrencyPolicy"], list(_CONCURRENCY)))
    return errors + _below_zero(spec, "spec", _CRON_JOB_COUNTS)


def _below_zero(spec: Obj, path: str, names: Iterable[str]) -> list[FieldError]:
    return [
        invalid(f"{path}.{name}", spec[name], "must be greater than or equal to 0")
        for name in names
        if (spec.get(name) or 0) < 0
    ]
