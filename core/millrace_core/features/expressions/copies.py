"""How large an expression becomes while it is parsed and bound: some forms are written once and copied then.

``case x when … when …`` compares a copy of ``x`` in each ``when``, and the parser makes these copies. The macros of
DuckDB, and ``between``, are copied by its binder (``MACROS``). Nested in themselves they double at each level.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

# Functions that are macros with arguments that stand in them several times: how often each argument, in order.
MACROS: Final[Mapping[str, tuple[int, ...]]] = {
    "array_pop_back": (2,),
    "array_to_string": (2, 1),
    "fmod": (2, 2),
    "nullif": (2, 1),
    "split_part": (2, 2, 2),
}
# The same of ``x between low and high``.
BETWEEN: Final = (2, 1, 1)

_WORDS: Final = frozenset(["case", "when", "end"])


@dataclass
class _Case:
    operand: int = 0
    rest: int = 1
    whens: int = 0
    in_operand: bool = False

    def add(self, tokens: int) -> None:
        if self.in_operand:
            self.operand += tokens
        else:
            self.rest += tokens


def parsed_size(words: Iterable[str]) -> int | None:
    """How many tokens there are once the operand of each ``case`` is copied into its ``when``.

    Args:
        words: the tokens of an expression, in lower case.

    Returns:
        None where ``case`` and ``end`` do not pair off, so that nothing is known.
    """
    listed = list(words)
    open_cases = [_Case()]
    for before, word, after in zip(["", *listed], listed, [*listed[1:], ""], strict=False):
        if word not in _WORDS or before in (".", "as"):
            open_cases[-1].add(1)
        elif word == "case":
            open_cases.append(_Case(in_operand=after != "when"))
        elif len(open_cases) == 1:
            return None
        elif word == "when":
            open_cases[-1].whens += 1
            open_cases[-1].in_operand = False
        else:
            done = open_cases.pop()
            open_cases[-1].add(done.operand * max(1, done.whens) + done.rest)
    return open_cases[0].rest if len(open_cases) == 1 else None
