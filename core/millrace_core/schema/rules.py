"""The CEL rules of a whole schema: compiled and costed when a CRD is created, evaluated for every object.

Source: ``k8s.io/apiextensions-apiserver``: ``pkg/apiserver/schema/cel/validation.go`` and
``pkg/apis/apiextensions/validation/cel_validation.go``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from millrace_core.schema.cel.costing import times
from millrace_core.schema.cel.declarations import MAX_REQUEST_BYTES, declare
from millrace_core.schema.cel.evaluating import Convert, converter
from millrace_core.schema.cel.rules import CelRule, compile_rule, malformed
from millrace_core.schema.errors import FieldError, forbidden, invalid

RULE_COST_LIMIT, TOTAL_COST_LIMIT = 10_000_000, 100_000_000

_KEYWORD = "x-kubernetes-validations"
_HUNDREDFOLD = 100.0
_NEARLY_ONE = 1.5
_MOST_EXPENSIVE = 4


@dataclass(slots=True)
class RuleNode:
    """The rules at a schema node and below; nodes without rules are left out."""

    kind: str
    rules: list[CelRule] = field(default_factory=list)
    convert: Convert | None = None
    properties: dict[str, RuleNode] = field(default_factory=dict)
    additional: RuleNode | None = None
    items: RuleNode | None = None
    map_keys: tuple[str, ...] = ()


@dataclass(slots=True)
class _Place:
    """The place of a node in its schema.

    ``repeats`` is how many values of it an object can have (None: no bound); ``uncorrelated`` is the path of
    the list whose
    items cannot be matched with those of an older object.
    """

    path: str
    repeats: int | None = 1
    uncorrelated: str = ""


@dataclass(slots=True)
class _Found:
    """The results of the walk: errors, and the cost of every rule."""

    errors: list[FieldError] = field(default_factory=list)
    costs: list[tuple[int, str]] = field(default_factory=list)


def compile_rules(raw: Mapping[str, Any], path: str) -> tuple[RuleNode | None, list[FieldError]]:
    """The rules of a whole object's schema, and every reason for which Kubernetes refuses them."""
    found = _Found()
    node = _compile(raw, _Place(path), found, whole_object=True)
    total = sum(cost for cost, _ in found.costs)
    if total > TOTAL_COST_LIMIT:
        dear = sorted((entry for entry in found.costs if entry[0] * 100 >= TOTAL_COST_LIMIT), reverse=True)
        share = "contributed to estimated rule cost total exceeding cost limit for entire OpenAPIv3 schema"
        found.errors += [forbidden(at, share) for _, at in dear[:_MOST_EXPENSIVE]]
        name = f"{_KEYWORD} estimated rule cost total for entire OpenAPIv3 schema"
        found.errors.append(forbidden(path, _over_budget(name, total, TOTAL_COST_LIMIT)))
    return node, found.errors


def _compile(raw: Mapping[str, Any], place: _Place, found: _Found, *, whole_object: bool = False) -> RuleNode | None:
    node = RuleNode(raw.get("type", ""), map_keys=_correlating_keys(raw))
    if raw.get(_KEYWORD):
        _compile_own(raw, place, node, found, whole_object=whole_object)
    for name, sub in (raw.get("properties") or {}).items():
        below = _compile(sub, _below(place, f".properties[{name}]", 1), found)
        if below is not None:
            node.properties[name] = below
    if isinstance(raw.get("additionalProperties"), Mapping):
        inside = _below(place, ".additionalProperties", raw.get("maxProperties"))
        node.additional = _compile(raw["additionalProperties"], inside, found)
    if isinstance(raw.get("items"), Mapping):
        inside = _below(place, ".items", raw.get("maxItems"))
        if not node.map_keys:
            inside.uncorrelated = inside.uncorrelated or place.path
        node.items = _compile(raw["items"], inside, found)
    return node if node.rules or node.properties or node.additional or node.items else None


def _correlating_keys(raw: Mapping[str, Any]) -> tuple[str, ...]:
    is_map = raw.get("x-kubernetes-list-type") == "map"
    return tuple(raw.get("x-kubernetes-list-map-keys") or ()) if is_map else ()


def _below(place: _Place, step: str, most: int | None) -> _Place:
    repeats = None if place.repeats is None or most is None else times(place.repeats, max(most, 0))
    return _Place(place.path + step, repeats, place.uncorrelated)


def _compile_own(raw: Mapping[str, Any], place: _Place, node: RuleNode, found: _Found, *, whole_object: bool) -> None:
    declaration = declare(raw, whole_object=whole_object)
    if declaration is None:
        detail = "rules need a schema that says what the value is made of"
        found.errors.append(invalid(f"{place.path}.{_KEYWORD}", raw.get("type", ""), detail))
        return
    node.convert = converter(declaration.type)
    repeats = place.repeats if place.repeats is not None else MAX_REQUEST_BYTES // (declaration.min_bytes + 1)
    for index, rule in enumerate(raw[_KEYWORD]):
        at = f"{place.path}.{_KEYWORD}[{index}]"
        wrong = list(malformed(rule, raw, at))
        compiled = wrong or compile_rule(rule, raw, declaration, at)
        if isinstance(compiled, list):
            found.errors += compiled
            continue
        node.rules.append(compiled)
        cost = times(compiled.cost, repeats)
        found.costs += [(cost, f"{at}.rule"), (compiled.message_cost, f"{at}.messageExpression")]
        if cost > RULE_COST_LIMIT:
            found.errors.append(forbidden(f"{at}.rule", _over_budget("estimated rule cost", cost, RULE_COST_LIMIT)))
        if compiled.message_cost > RULE_COST_LIMIT:
            dear = _over_budget("estimated messageExpression cost", compiled.message_cost, RULE_COST_LIMIT)
            found.errors.append(forbidden(f"{at}.messageExpression", dear))
        if compiled.uses_old and place.uncorrelated:
            detail = f"oldSelf cannot be used on the uncorrelatable portion of the schema within {place.uncorrelated}"
            found.errors.append(invalid(f"{at}.rule", rule["rule"], detail))


def _over_budget(name: str, cost: int, limit: int) -> str:
    excess = cost / limit
    factor = f"{excess:.1f}x"
    if excess > _HUNDREDFOLD:
        factor = "more than 100x"
    elif excess < _NEARLY_ONE:
        factor = f"{excess:f}x"
    advice = (
        "try simplifying the rule, or adding maxItems, maxProperties, and maxLength where arrays, maps, and strings"
    )
    return f"{name} exceeds budget by factor of {factor} ({advice} are declared)"
