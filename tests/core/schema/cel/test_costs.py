"""The worst-case costs of rules equal those that Kubernetes computes.

The expected figures are those of the cost tests of k8s.io/apiextensions-apiserver, without and with a size limit.
"""

from typing import Any

import pytest

from millrace_core.schema import SchemaError, compile_schema
from millrace_core.schema.cel.checking import check
from millrace_core.schema.cel.costing import estimate
from millrace_core.schema.cel.declarations import declare
from millrace_core.schema.cel.parsing import parse

NUMBER, STRING, BOOLEAN = {"type": "number"}, {"type": "string"}, {"type": "boolean"}
DURATION, DATE, DATE_TIME = ({"type": "string", "format": name} for name in ("duration", "date", "date-time"))
EITHER = {"x-kubernetes-int-or-string": True}
OBJECT = {"type": "object", "required": ["required"], "properties": {"required": STRING, "optional": STRING}}


def array(items: dict[str, Any], most: int | None) -> dict[str, Any]:
    return {"type": "array", "items": items} | ({} if most is None else {"maxItems": most})


def mapping(values: dict[str, Any], most: int | None) -> dict[str, Any]:
    return {"type": "object", "additionalProperties": values} | ({} if most is None else {"maxProperties": most})


def text(most: int | None, **more: Any) -> dict[str, Any]:
    return {"type": "string", **more} | ({} if most is None else {"maxLength": most})


def cost(rule: str, schema: dict[str, Any]) -> int:
    declaration = declare(schema)
    assert declaration is not None
    expr = parse(rule)
    check(expr, {"self": declaration.type, "oldSelf": declaration.type})
    return estimate(expr, declaration)


def arrays_of(items: dict[str, Any]) -> Any:
    return lambda most: array(items, most)


def maps_of(values: dict[str, Any]) -> Any:
    return lambda most: mapping(values, most)


def objects(**properties: Any) -> dict[str, Any]:
    return {"type": "object", "properties": properties}


@pytest.mark.parametrize(
    ("rule", "schema", "unlimited", "limit", "limited"),
    [
        ("self.all(x, true)", arrays_of(NUMBER), 4718591, 10, 32),
        ("self.all(x, true)", arrays_of(STRING), 3145727, 20, 62),
        ("self.all(x, true)", arrays_of(BOOLEAN), 1887437, 5, 17),
        ("self.all(x, true)", arrays_of(array(NUMBER, None)), 3145727, 100, 302),
        ("self.all(x, true)", arrays_of(OBJECT), 555128, 50, 152),
        ("self.all(x, true)", arrays_of(EITHER), 4718591, 10, 32),
        ("self.all(x, true)", arrays_of(DURATION), 2359295, 5, 17),
        ("self.all(x, true)", arrays_of(DATE), 725936, 15, 47),
        ("self.all(x, true)", arrays_of(DATE_TIME), 428963, 25, 77),
        ("self.all(x, true)", maps_of(NUMBER), 1348169, 10, 32),
        ("self.all(x, true)", maps_of(STRING), 1179647, 3, 11),
        ("self.all(x, true)", maps_of(BOOLEAN), 943718, 100, 302),
        ("self.all(x, true)", maps_of(EITHER), 1348169, 15, 47),
        ("self.all(x, true)", maps_of(OBJECT), 428963, 20, 62),
        ("self.all(x, true)", maps_of(mapping(NUMBER, None)), 1179647, 10, 32),
        ("self.all(x, true)", maps_of(array(NUMBER, None)), 1179647, 25, 77),
        ("self.all(x, true)", maps_of(DURATION), 1048577, 5, 17),
        ("self.all(x, true)", maps_of(DATE), 524288, 10, 32),
        ("self.all(x, true)", maps_of(DATE_TIME), 349526, 25, 77),
        ("self.contains('test')", text, 314574, 10, 5),
        ("self.startsWith('test')", text, 2, 15, 2),
        ("self.endsWith('test')", text, 2, 30, 2),
        ('size(self + "hello") > size("hello")', text, 314578, 4, 7),
        ("self[1] == 0.0", arrays_of(NUMBER), 2, 5000, 2),
        ("self[1] == self[1]", arrays_of(STRING), 314577, 8, 314577),
        ("self.all(x, self.all(y, true))", arrays_of(NUMBER), None, 10, 352),
        ("self.all(x, self.all(y, self.all(z, true)))", arrays_of(NUMBER), None, 10, 3552),
        ('self.matches("x")', text, 314574, 50, 22),
        ('"".matches("(((((((((())))))))))[0-9]")', text, 7, 10, 7),
        ('self.matches("")', text, 1, 100, 1),
        ("self.all(x, x.contains(self[x]))", lambda most: mapping(text(most), most), 2752507, 10, 72),
        ('self["x"] == 0.0', maps_of(NUMBER), 2, 0, 2),
        ('self == "x"', text, 2, 0, 1),
        ('self == b"x"', lambda most: text(most, format="byte"), 2, 0, 1),
        ("self.all(x, x == 0.0)", arrays_of(NUMBER), 6291454, 3 * 1024 * 2048, 25165826),
        ("self[0] == 5", arrays_of(EITHER), 3, 10, 3),
        ("self[0] == false", arrays_of(BOOLEAN), 2, 25, 2),
        ("self[0] == null", arrays_of(OBJECT), 2, 422, 2),
        ("self[0][0] == -1.0", arrays_of(array(NUMBER, None)), 3, 51, 3),
        ("self.all(x, x.y == 25.2)", arrays_of(mapping(NUMBER, None)), 6291452, 12, 74),
        ("self[0].x > 2.0", arrays_of(mapping(NUMBER, None)), 4, 3000, 4),
        ("self[0].getHours() == 2", arrays_of(DURATION), 4, 525, 4),
        ("self[2].getDayOfMonth() == 13", arrays_of(DATE), 4, 42, 4),
        ("self[2].getMinutes() == 45", arrays_of(DATE_TIME), 4, 99, 4),
        ("self.find('[0-9]+') == ''", text, 629147, 10, 11),
        ("self.join(' ') == 'aa bb'", lambda most: array(text(most), most), 329853068905, 10, 43),
        ("self.isSorted() == true", lambda most: array(text(most), most), 329854432052, 10, 52),
        (
            "self.str.replace(self.before, self.after) == 'does not matter'",
            lambda most: objects(str=text(most), before=text(2), after=text(4)),
            629154,
            4,
            12,
        ),
        (
            "self.str.split(self.separator) == []",
            lambda most: objects(str=text(most), separator=text(most)),
            629160,
            10,
            22,
        ),
        ("self.lowerAscii() == 'lower!'", text, 314575, 10, 6),
        ("oldSelf.size() == self.size()", maps_of({"type": "integer"}), 5, 10, 5),
        ('self["a"] == self["b"]', maps_of(DATE_TIME), 8, 7, 8),
        ('self["c"] == self["d"]', maps_of(DURATION), 8, 42, 8),
        ("self.contains('A')", lambda most: text(most, enum=["A", "LongValue"]), 2, 1000, 401),
    ],
)
def test_a_rule_costs_what_kubernetes_says_without_and_with_a_limit(
    rule: str, schema: Any, unlimited: int | None, limit: int, limited: int
) -> None:
    if unlimited is None:
        assert cost(rule, schema(None)) > 10_000_000
    else:
        assert cost(rule, schema(None)) == unlimited
    assert cost(rule, schema(limit)) == limited


def whole(spec: dict[str, Any]) -> dict[str, Any]:
    return {"type": "object", "properties": {"spec": spec}}


def refusals(spec: dict[str, Any]) -> list[tuple[str, str]]:
    with pytest.raises(SchemaError) as refused:
        compile_schema(whole(spec))
    return [(error.path, error.message) for error in refused.value.errors]


def test_a_rule_in_nested_lists_without_limits_is_refused_with_the_factor_by_which_it_is_too_dear() -> None:
    rule = {"rule": "self.all(x, self.exists(y, y == x))"}
    assert refusals({"type": "array", "items": STRING, "x-kubernetes-validations": [rule]}) == [
        (
            "openAPIV3Schema.properties[spec].x-kubernetes-validations[0].rule",
            "Forbidden: estimated rule cost exceeds budget by factor of more than 100x (try simplifying the rule, or "
            "adding maxItems, maxProperties, and maxLength where arrays, maps, and strings are declared)",
        ),
        (
            "openAPIV3Schema.properties[spec].x-kubernetes-validations[0].rule",
            "Forbidden: contributed to estimated rule cost total exceeding cost limit for entire OpenAPIv3 schema",
        ),
        (
            "openAPIV3Schema",
            "Forbidden: x-kubernetes-validations estimated rule cost total for entire OpenAPIv3 schema exceeds budget "
            "by factor of more than 100x (try simplifying the rule, or adding maxItems, maxProperties, and maxLength "
            "where arrays, maps, and strings are declared)",
        ),
    ]


def test_a_rule_on_items_counts_once_for_every_item_there_can_be() -> None:
    item = {"type": "string", "maxLength": 100, "x-kubernetes-validations": [{"rule": "self.matches('^[a-z]+$')"}]}
    compile_schema(whole({"type": "array", "items": item, "maxItems": 100}))
    errors = refusals({"type": "array", "items": item})
    assert errors[0][0].endswith(".items.x-kubernetes-validations[0].rule")
    assert "exceeds budget by factor of 8.7x" in errors[0][1]


def test_the_text_of_a_number_has_no_bound_so_a_message_with_it_is_refused() -> None:
    """As https://github.com/kubernetes/kubernetes/issues/124234 found."""
    said = {"rule": "self.attempts >= 0", "messageExpression": "'invalid attempts: ' + string(self.attempts)"}
    errors = refusals({**objects(attempts={"type": "integer"}), "x-kubernetes-validations": [said]})
    assert errors[0][0] == "openAPIV3Schema.properties[spec].x-kubernetes-validations[0].messageExpression"
    assert errors[0][1].startswith(
        "Forbidden: estimated messageExpression cost exceeds budget by factor of more than 100x"
    )
