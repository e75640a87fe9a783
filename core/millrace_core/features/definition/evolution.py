"""What a change of a view's definition means for its rows and for those who read it. Pure.

Which field matters how is in ``meaning``. What a feature is made of is compared as it is compiled, so another spelling
of the same (a window of ``168h`` for ``7d``, a default that is written out) is no change.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from millrace_core.features.definition import source_columns
from millrace_core.features.definition.definition import Definition, Feature
from millrace_core.features.definition.meaning import changed_rows

# As many names as a sentence shows.
_SHOWN: Final = 10


@dataclass(frozen=True)
class Evolution:
    """How a definition differs from the one before, feature by feature.

    Attributes:
        join_keys: the join keys before and after, such as ``user_id int64``, where they differ.
        rows: fields of the spec that decide every row, and differ.
        unserved: whether the rows leave the online store.
        served: whether they were in it before, so that somebody can read them.
        retyped: features of another type, with the types before and after.
        redefined: features of the same name and type, but made of something else, with what becomes of them.
        removed: features that are gone.
        added: features that are new.
        known: the features before.
        schema: whether the stored rows change, so that the view is materialized anew.
    """

    join_keys: tuple[str, str] | None
    rows: Sequence[str]
    unserved: bool
    served: bool
    retyped: Mapping[str, tuple[str, str]]
    redefined: Mapping[str, str]
    removed: Sequence[str]
    added: Sequence[str]
    known: Sequence[str]
    schema: bool

    @property
    def breaking(self) -> bool:
        """Whether it would break somebody who read everything."""
        return bool(self.blocks({"anybody": self.known}))

    def blocks(self, users: Mapping[str, Sequence[str]]) -> list[str]:
        """Why the change must not happen, one sentence each: it would break what reads the view.

        Args:
            users: the features that each reader of the view reads, by the reader's name.
        """
        # A reader of what has never been here waits for it, and loses nothing.
        read = {user: [name for name in names if name in self.known] for user, names in users.items()}
        read = {user: names for user, names in read.items() if names}
        if not read or not self.served:
            return []
        found, everything = [], sorted({name for names in read.values() for name in names})
        if self.unserved:
            found.append(f"spec.online.enabled becomes false, which takes {_quoted(everything)} from {_named(read)}")
        if self.join_keys is not None:
            before, after = self.join_keys
            found.append(f"the entities change from ({before}) to ({after}), and the view is used by {_named(read)}")
        if self.rows:
            fields = _named([f"spec.{path}" for path in self.rows], "and")
            found.append(
                f"{fields} would give {_quoted(everything)} other rows, and the view is used by {_named(read)}"
            )
        for name, what in self._features.items():
            using = [user for user, names in read.items() if name in names]
            if using:
                found.append(f"feature {name!r} {what}, and is used by {_named(using)}")
        return found

    @property
    def _features(self) -> dict[str, str]:
        """What becomes of the features that are not what they were."""
        retyped = {name: f"changes from {before} to {after}" for name, (before, after) in self.retyped.items()}
        return {**retyped, **self.redefined, **dict.fromkeys(self.removed, "is removed")}


def evolution(before: Definition, after: Definition) -> Evolution:
    """Compares two definitions of one view."""
    old, new = before.feature, after.feature
    both = [name for name in new if name in old]
    keys = [_keys(definition) for definition in (before, after)]
    return Evolution(
        join_keys=(keys[0], keys[1]) if _identity(before) != _identity(after) else None,
        rows=changed_rows(_spec(before), _spec(after)),
        unserved=before.online and not after.online,
        served=before.online,
        retyped={name: (old[name].type, new[name].type) for name in both if old[name].type != new[name].type},
        redefined={
            name: _redefined(old[name], new[name])
            for name in both
            if old[name].type == new[name].type and old[name].meaning != new[name].meaning
        },
        removed=[name for name in old if name not in new],
        added=[name for name in new if name not in old],
        known=list(old),
        schema=before.schema_hash != after.schema_hash,
    )


def _redefined(before: Feature, after: Feature) -> str:
    old, new = before.aggregate, after.aggregate
    if old is not None and new is not None and replace(old, every=new.every) == new:
        return "moves to another time grid (say the former one in spec.aggregation.every)"
    return "is made of something else"


def _spec(definition: Definition) -> dict[str, Any]:
    """The part of the spec that decides every row, with its expressions in one spelling."""
    source = definition.source.model_dump(by_alias=True)
    source["where"] = source_columns.condition(definition.source)
    computed = source_columns.decisive(definition.source, [key.name for key in definition.entities])
    source["columns"] = [{"name": name, "expression": text} for name, text in sorted(computed.items())]
    return {"source": source}


def _identity(definition: Definition) -> list[tuple[str, str]]:
    # Keys of both integer types are one type.
    return [(key.name, "int" if key.type in ("int32", "int64") else key.type) for key in definition.entities]


def _keys(definition: Definition) -> str:
    return ", ".join(f"{key.name} {key.type}" for key in definition.entities) or "none"


def _named(users: Mapping[str, Sequence[str]] | Sequence[str], last: str = "") -> str:
    names = sorted(users)
    if len(names) > _SHOWN:
        return f"{', '.join(names[:_SHOWN])} and {len(names) - _SHOWN} more"
    return f"{', '.join(names[:-1])} {last} {names[-1]}" if last and len(names) > 1 else ", ".join(names)


def _quoted(features: Sequence[str]) -> str:
    return _named([repr(name) for name in features])
