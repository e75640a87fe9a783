"""Label selectors as objects carry them (``matchLabels`` and ``matchExpressions``), and node selector terms."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

Labels = Mapping[str, str]


def matches(selector: Mapping[str, Any] | None, labels: Labels) -> bool:
    """Whether a ``metav1.LabelSelector`` selects ``labels``: None selects nothing, an empty one everything."""
    if selector is None:
        return False
    wanted = selector.get("matchLabels") or {}
    terms = selector.get("matchExpressions") or []
    return all(labels.get(k) == v for k, v in wanted.items()) and all(_holds(term, labels) for term in terms)


def matches_map(selector: Labels | None, labels: Labels) -> bool:
    """Whether a plain map selector, such as a Service's, selects ``labels``; an empty one selects nothing."""
    return bool(selector) and all(labels.get(k) == v for k, v in (selector or {}).items())


def matches_node_terms(terms: list[Mapping[str, Any]], labels: Labels, name: str) -> bool:
    """Whether one of ``nodeSelectorTerms`` (alternatives) selects the node with these labels and this name."""
    fields = {"metadata.name": name}
    return any(
        (term.get("matchExpressions") or term.get("matchFields"))
        and all(_holds(rule, labels) for rule in term.get("matchExpressions") or [])
        and all(_holds(rule, fields) for rule in term.get("matchFields") or [])
        for term in terms
    )


def _holds(rule: Mapping[str, Any], labels: Labels) -> bool:
    value = labels.get(rule["key"])
    return _OPERATORS[rule["operator"]](value, rule.get("values") or [])


def _compared(value: str | None, values: list[str], sign: int) -> bool:
    try:
        return value is not None and (int(value) - int(values[0])) * sign > 0
    except (ValueError, IndexError):
        return False


_OPERATORS: Mapping[str, Callable[[str | None, list[str]], bool]] = {
    "In": lambda value, values: value in values,
    "NotIn": lambda value, values: value not in values,
    "Exists": lambda value, _values: value is not None,
    "DoesNotExist": lambda value, _values: value is None,
    "Gt": lambda value, values: _compared(value, values, 1),
    "Lt": lambda value, values: _compared(value, values, -1),
}
