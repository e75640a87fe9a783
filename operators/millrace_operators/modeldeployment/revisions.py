"""The revisions of a ModelDeployment as ControllerRevisions keep them, and which of them its spec asks for.

A ControllerRevision is immutable, so what was rendered for a revision stays what it is: ``desired.deployment`` puts
its Deployment back from here, in this release and in the next.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from millrace_core.identity.revision import Content, unchanged
from millrace_kube.resources import Object, deleting, name_of

# Revisions kept beside those in use, for a spec that goes back.
HISTORY: Final = 5


@dataclass(frozen=True)
class RevisionRecord:
    """A revision as it was made.

    Attributes:
        number: counts the revisions of a deployment, from 1.
        device: gpu or cpu.
        content: what was asked for, see ``millrace_core.identity.revision``.
        template: of its pods.
        command: the command that asked for it; empty: a change of the spec did.
    """

    name: str
    number: int
    device: str
    content: Mapping[str, Any] = field(repr=False)
    template: Mapping[str, Any] = field(repr=False)
    command: str = ""

    @property
    def stated_digest(self) -> str:
        """``spec.model.digest``; empty where the spec has none."""
        return str((self.content.get("model") or {}).get("digest") or "")

    def data(self) -> Object:
        """As the ControllerRevision has it."""
        return {
            "device": self.device,
            "content": dict(self.content),
            "template": dict(self.template),
            "command": self.command,
        }


def records(documents: Iterable[Object], uid: str) -> tuple[RevisionRecord, ...]:
    """The records among ControllerRevisions, oldest first; only those of the ModelDeployment with this uid."""
    found = [of_revision(item) for item in documents if not deleting(item) and _owned(item, uid)]
    return tuple(sorted((item for item in found if item is not None), key=lambda item: item.number))


def asked_for(
    known: Sequence[RevisionRecord], now: Content, stated: Content, command: str = ""
) -> RevisionRecord | None:
    """The newest record that the spec asks for; None where one has to be made.

    Args:
        now, stated: the spec's content, with and without its defaults.
        command: a command that asks for a revision of its own; empty: none.
    """
    matching = [item for item in known if unchanged(item.content, now, stated)]
    newest = matching[-1] if matching else None
    return None if command and newest is not None and newest.command != command else newest


def superfluous(known: Sequence[RevisionRecord], used: Iterable[str]) -> tuple[str, ...]:
    """Names of the records that are neither used nor among the newest of the others."""
    unused = [item.name for item in known if item.name not in set(used)]
    return tuple(unused[:-HISTORY])


def differences(kept: Any, now: Any, path: str = "") -> Iterator[str]:
    """Where two templates differ, such as ``spec.containers[serve].image``."""
    if isinstance(kept, Mapping) and isinstance(now, Mapping):
        for key in sorted({*kept, *now}):
            yield from differences(kept.get(key), now.get(key), f"{path}.{key}" if path else key)
    elif _named(kept) and _named(now):
        before, after = ({item["name"]: item for item in items} for items in (kept, now))
        for name in [*before, *(name for name in after if name not in before)]:
            yield from differences(before.get(name), after.get(name), f"{path}[{name}]")
    elif kept != now:
        yield path


def _named(items: Any) -> bool:
    return isinstance(items, list) and all(isinstance(item, Mapping) and "name" in item for item in items)


def _owned(document: Object, uid: str) -> bool:
    return any(owner.get("uid") == uid for owner in document["metadata"].get("ownerReferences") or ())


def of_revision(document: Object) -> RevisionRecord | None:
    """The record that a ControllerRevision keeps; None where it is none of ours."""
    data = document.get("data") or {}
    try:
        content, template = data["content"], data["template"]
        if not all(isinstance(part, Mapping) for part in (content["model"], template["metadata"]["labels"])):
            return None
        return RevisionRecord(
            name=name_of(document),
            number=int(document["revision"]),
            device=data["device"],
            content=content,
            template=template,
            command=data.get("command", ""),
        )
    except (KeyError, TypeError, ValueError):  # somebody made it by hand, with our label and owner
        return None
