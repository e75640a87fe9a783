"""How large the automaton of a regular expression may become."""

from __future__ import annotations

import re


def states(pattern: str) -> int:
    """A bound of the states of a regular expression: each sign as often as it and what is around it are repeated."""
    total, classes = (
        [0],
        re.finditer(r"\\[pP](\{[^{}]*+\}|.)|\\.|\[[^\]]*+\]?|\{(\d*+),?(\d*+)\}|[()]|.", pattern, re.DOTALL),
    )
    last = 0
    for match in classes:
        sign = match[0]
        if sign == "(":
            total.append(0)
            last = 1
        elif sign == ")" and len(total) > 1:
            last = total.pop() + 1
            total[-1] += last
        elif sign[0] == "{" and len(sign) > 1:
            times = max([1, *(int(each[:6]) for each in match.groups()[1:] if each)])
            total[-1] += last * (times - 1)
            last *= times
        else:
            last = 256 if sign[:2] in (r"\p", r"\P") else 8 if sign[0] in "[.\\" else 1
            total[-1] += last
        total[-1] = min(total[-1], 10**12)
    return sum(total)
