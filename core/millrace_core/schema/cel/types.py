"""CEL's static types, and which is assignable to which."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Type:
    """A type by kind and parameters; an object type also has its declaration, which makes it unique."""

    kind: str
    params: tuple[Type, ...] = ()
    declaration: Any = field(default=None, hash=False)

    def __str__(self) -> str:
        return f"{self.kind}({', '.join(map(str, self.params))})" if self.params else self.kind


BOOL, INT, UINT, DOUBLE = Type("bool"), Type("int"), Type("uint"), Type("double")
STRING, BYTES, NULL, DYN, TYPE = Type("string"), Type("bytes"), Type("null"), Type("dyn"), Type("type")
TIMESTAMP, DURATION = Type("timestamp"), Type("duration")

_PARAMETER = "parameter"
_NULLABLE = frozenset({"object", "timestamp", "duration", "optional"})

Bindings = dict[str, Type]


def list_of(item: Type) -> Type:
    return Type("list", (item,))


def map_of(key: Type, value: Type) -> Type:
    return Type("map", (key, value))


def optional_of(value: Type) -> Type:
    return Type("optional", (value,))


def parameter(name: str) -> Type:
    """A type variable of a function's signature."""
    return Type(_PARAMETER, (Type(name),))


def assignable(actual: Type, formal: Type, bindings: Bindings) -> bool:
    """Whether a value of type ``actual`` fits ``formal``; binds type variables of ``formal``."""
    if formal.kind == _PARAMETER:
        return _binds(actual, formal.params[0].kind, bindings)
    if "dyn" in {formal.kind, actual.kind}:
        return True
    if actual.kind == "null":
        return formal.kind == "null" or formal.kind in _NULLABLE
    if actual.kind != formal.kind or actual.declaration is not formal.declaration:
        return False
    return len(actual.params) == len(formal.params) and all(
        assignable(one, other, bindings) for one, other in zip(actual.params, formal.params, strict=True)
    )


def _binds(actual: Type, name: str, bindings: Bindings) -> bool:
    """Binds a type variable, or widens its binding if one of the two types fits the other."""
    bound = bindings.get(name)
    if bound is None or bound.kind == "dyn":
        bindings[name] = actual
        return True
    if assignable(actual, bound, bindings):
        return True
    if assignable(bound, actual, bindings):
        bindings[name] = actual
        return True
    return False


def substituted(formal: Type, bindings: Bindings) -> Type:
    """The type with its variables replaced by their bindings; dyn for unbound ones."""
    if formal.kind == _PARAMETER:
        return bindings.get(formal.params[0].kind, DYN)
    if not formal.params:
        return formal
    return Type(formal.kind, tuple(substituted(one, bindings) for one in formal.params), formal.declaration)


def signature(text: str) -> tuple[tuple[Type, ...], Type]:
    """Reads ``"list(A), A -> int"``; capital letters are type variables."""
    params, _, result = text.partition("->")
    names = _split(params)
    return tuple(_read(name) for name in names), _read(result.strip())


def _split(text: str) -> list[str]:
    """The parts between commas outside parentheses."""
    parts, depth, start = [], 0, 0
    for at, char in enumerate(text):
        depth += (char == "(") - (char == ")")
        if char == "," and depth == 0:
            parts.append(text[start:at])
            start = at + 1
    parts.append(text[start:])
    return [part.strip() for part in parts if part.strip()]


def _read(text: str) -> Type:
    if len(text) == 1 and text.isupper():
        return parameter(text)
    kind, _, inside = text.partition("(")
    return Type(kind, tuple(_read(part) for part in _split(inside.removesuffix(")"))) if inside else ())
