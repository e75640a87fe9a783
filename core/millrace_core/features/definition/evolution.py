"""What a change of a view's definition means for its rows and for those who read it. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from millrace_core.features.definition.definition import Definition


@dataclass(frozen=True)
class Evolution:
    """How a definition differs from the one before, feature by feature.

    Attributes:
        join_keys: the join keys before and after, such as ``user_id int64``, where they differ.
        retyped: features of another type, with the types before and after.
        redefined: features of the same name and type, but with another meaning.
        removed: features that are gone.
        added: features that are new.
        schema: whether the stored rows change, so that the view is materialized anew.
    """

    join_keys: tuple[str, str] | None
    retyped: Mapping[str, tuple[str, str]]
    redefined: Sequence[str]
    removed: Sequence[str]
    added: Sequence[str]
    schema: bool

    def blocks(self, users: Mapping[str, Sequence[str]]) -> list[str]:
        """Why the change must not happen, one sentence each: it would break what reads the view.

        Args:
            users: the features that each reader of the view reads, by the reader's name.
        """
        found = []
        if self.join_keys is not None and users:
            before, after = self.join_keys
            found.append(f"the entities change from ({before}) to ({after}), and the view is used by {_named(users)}")
        for name, (before, after) in self.retyped.items():
            using = [user for user, features in users.items() if name in features]
            if using:
                found.append(f"feature {name!r} changes from {before} to {after}, and is used by {_named(using)}")
        return found


def evolution(before: Definition, after: Definition) -> Evolution:
    """Compares two definitions of one view."""
    old, new = before.feature, after.feature
    both = [name for name in new if name in old]
    keys = [_keys(definition) for definition in (before, after)]
    return Evolution(
        join_keys=(keys[0], keys[1]) if _identity(before) != _identity(after) else None,
        retyped={name: (old[name].type, new[name].type) for name in both if old[name].type != new[name].type},
        redefined=[n for n in both if old[n].type == new[n].type and old[n].meaning != new[n].meaning],
        removed=[name for name in old if name not in new],
        added=[name for name in new if name not in old],
        schema=before.schema_hash != after.schema_hash,
    )


def _identity(definition: Definition) -> list[tuple[str, str]]:
    # Keys of both integer types are one type.
    return [(key.name, "int" if key.type in ("int32", "int64") else key.type) for key in definition.join_keys]


def _keys(definition: Definition) -> str:
    return ", ".join(f"{key.name} {key.type}" for key in definition.join_keys)


def _named(users: Mapping[str, Sequence[str]] | Sequence[str]) -> str:
    return ", ".join(sorted(users))
