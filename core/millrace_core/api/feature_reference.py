"""References to features, wherever they stand: in requests, training sets, ModelDeployments and FeatureServices.

::

    user-stats:visits                                   the feature visits of the view user-stats
    user_stats:visits                                   the same: a view's name has no _, so it stands for -
    user-stats as sender(user_id=sender_id):visits      the same feature of whom the column sender_id names

``as sender`` is what the feature's full name begins with (``sender__visits``) in place of the view's name. In brackets
stands where each join key of the view comes from, where that is not a column of its own name. Within one list a name
stands for one view under one set of keys.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from contextlib import suppress
from typing import Final, NamedTuple

from millrace_core.base.errors import RejectError
from millrace_core.base.shown import shown

_NAME: Final = "[A-Za-z_][A-Za-z0-9_]*"
_KEY: Final = f"{_NAME} ?= ?{_NAME}"
# What the API server lets pass.
PATTERN: Final = f"^[a-z0-9]([-_a-z0-9]*[a-z0-9])?( as [A-Za-z_][-A-Za-z0-9_]*)?( ?\\({_KEY}(, ?{_KEY})*\\))?:{_NAME}$"
EXPECTED: Final = "view:feature is expected, or view as name(key=column):feature"
_PARTS: Final = re.compile(
    # No two parts may take the same blanks: they would be shared out in all ways before a text is found to be none.
    r"(?P<view>[^\s():]+)(\s+as\s+(?P<label>[^\s():]+))?\s*(\((?P<keys>[^():]*)\)\s*)?:\s*(?P<feature>[^\s():]+)"
)
_ONE_KEY: Final = re.compile(rf"\s*({_NAME})\s*=\s*({_NAME})\s*")


class FeatureReference(NamedTuple):
    """One reference, read.

    Attributes:
        view: the name of the FeatureView.
        label: what the full name begins with: the name after ``as``, or the view's as it was written.
        keys: the column of each join key that is not a column of its own name, in the order of the keys' names.
        feature: its name in the view.
    """

    view: str
    label: str
    keys: tuple[tuple[str, str], ...]
    feature: str

    @property
    def full_name(self) -> str:
        """The feature's name where those of several views stand side by side."""
        return f"{self.label}__{self.feature}"

    @property
    def subject(self) -> str:
        """The view and whose rows of it are meant, such as ``user-stats(user_id=sender_id)``."""
        return f"{self.view}{_in_brackets(self.keys)}"


def parse(text: str, *, field: str = "features") -> FeatureReference:
    """Reads a reference.

    Raises:
        RejectError: it is none; names ``field``.
    """
    found = _PARTS.fullmatch(text.strip())
    if found is None:
        raise RejectError(f"{shown(text)} is no reference; {EXPECTED}", field=field)
    keys: dict[str, str] = {}
    for pair in found["keys"].split(",") if found["keys"] is not None else ():
        one = _ONE_KEY.fullmatch(pair)
        if one is None or one[1] in keys:
            why = (
                f"{shown(pair.strip())} is no key=column" if one is None else f"the key {shown(one[1])} is there twice"
            )
            raise RejectError(f"{shown(text)} is no reference: {why}; {EXPECTED}", field=field)
        keys[one[1]] = one[2]
    view = found["view"]
    return FeatureReference(view_name(view), found["label"] or view, tuple(sorted(keys.items())), found["feature"])


def refuse_shared_labels(references: Iterable[FeatureReference], *, field: str = "features") -> None:
    """Refuses references of which one label means different things: two views, or one under different keys.

    Raises:
        RejectError: names the label, and both.
    """
    first: dict[str, FeatureReference] = {}
    for each in references:
        other = first.setdefault(each.label, each)
        if (each.view, each.keys) != (other.view, other.keys):
            raise RejectError(
                f"{each.label!r} would stand for both {other.subject} and {each.subject}",
                hint=f"Give each a name of its own: {each.view} as <name>{_in_brackets(each.keys)}:{each.feature}",
                field=field,
            )


def _in_brackets(keys: tuple[tuple[str, str], ...]) -> str:
    return f"({', '.join(f'{key}={column}' for key, column in keys)})" if keys else ""


def readable(texts: object) -> Iterator[FeatureReference]:
    """Those of some texts that are references, for those who only look at what others have checked or will refuse."""
    for text in texts if isinstance(texts, list | tuple) else ():
        if isinstance(text, str):
            with suppress(RejectError):
                yield parse(text)


def view_name(text: str) -> str:
    """The name of the Kubernetes object that is meant: those have no ``_``, names of Feast's and of Python have."""
    return text.replace("_", "-")
