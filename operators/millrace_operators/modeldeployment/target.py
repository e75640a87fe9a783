"""The revision that a ModelDeployment's spec asks for, and what this release would render for it."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from millrace_core.api.modeldeployment import ModelDeploymentSpec
from millrace_core.identity.revision import content, revision_name
from millrace_kube.resources import Object, name_of
from millrace_operators.modeldeployment import pod
from millrace_operators.modeldeployment.revisions import RevisionRecord, asked_for, differences
from millrace_operators.platform import Platform


def target_record(
    document: Object,
    spec: ModelDeploymentSpec,
    kept: Sequence[RevisionRecord],
    device: str,
    command: str,
    platform: Platform,
    *,
    taken: Collection[str],
) -> RevisionRecord:
    """The record that the spec asks for: the one that there is, or as this release makes it.

    Args:
        kept: the records that there are.
        device: gpu or cpu, the one chosen.
        command: a command that asks for a revision of its own; empty: none.
        taken: names that a revision has whose record somebody deleted; no other gets one of them.
    """
    name = name_of(document)
    now, stated = (content(name, spec, device, defaults=defaults) for defaults in (True, False))
    found = asked_for(kept, now, stated, command)
    if found is not None:
        return found
    uid, number = document["metadata"]["uid"], max((item.number for item in kept), default=0) + 1
    while (made := revision_name(name, uid, number, now)) in taken:
        number += 1
    template = pod.template(document, spec, made, device, platform)
    return RevisionRecord(made, number, device, now, template, command)


def outdated(
    document: Object, spec: ModelDeploymentSpec, record: RevisionRecord, platform: Platform
) -> tuple[str, ...]:
    """Where the template that is kept differs from what this release renders of the same spec."""
    now = pod.template(document, spec, record.name, record.device, platform)
    return tuple(differences(record.template, now))
