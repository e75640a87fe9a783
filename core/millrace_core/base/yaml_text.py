"""YAML texts as kubectl reads them: JSON values, each with its line and column. The one reading of YAML in the house.

A text is cut at lines that begin with ``---``, so that a fault of one document leaves the others alone. Anchors,
aliases and merges (``<<``) are expanded, up to the limits of Go's ``yaml.v2``. In one thing this is stricter than
kubectl: a key that is there twice is a fault, where kubectl silently takes the later.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import yaml

from millrace_core.base import shown, yaml_scalars

# The C parser, of which that of Go is a port; Python's own refuses tabs that both take.
_PARSER: Final[Any] = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_SEPARATOR: Final = re.compile(r"^---(.*)$", re.MULTILINE)
_STEP: Final = re.compile(r"([^.\[\]]+)|\[([^\]]*+)(?:\]|\Z)")
_DEEPEST: Final = 100
# As Go's yaml.v2 has it: how much of a document may come from aliases, up to 400,000 values and from 4,000,000 on.
_ALIASES, _VALUES = 100, 1_000
_FEW, _MANY = 400_000, 4_000_000
_MOST, _LEAST = 0.99, 0.10
# How many characters may come from aliases: a few of a long text make few values, and no bound of these sees them.
_ALIASED_CHARACTERS: Final = 1 << 22


class YamlError(ValueError):
    """A text that is no YAML, or has no form in JSON; lines and columns count from 1."""

    def __init__(self, message: str, line: int, column: int) -> None:
        self.message = shown.line(message)
        super().__init__(f"line {line}, column {column}: {self.message}")
        self.line = line
        self.column = column


@dataclass(slots=True)
class Node:
    """A value and where it is. ``children`` are by key or index, each with the place of its key or of itself.

    ``size`` is how many values it is, ``length`` of how many characters they are.
    """

    value: Any
    line: int
    column: int
    size: int = 1
    length: int = 0
    children: dict[str | int, tuple[tuple[int, int], Node]] = field(default_factory=dict)

    def place(self, path: str) -> tuple[int, int]:
        """Line and column of a dotted path such as ``spec.features[2].type``; of its nearest parent where it is absent.

        What stands in brackets is an index, a key, or the ``name`` of an item: ``spec.features[amount]``.
        """
        found, node = (self.line, self.column), self
        for name, inside in _STEP.findall(path):
            step = node._step(name or inside)
            if step is None:
                break
            found, node = step
        return found

    def _step(self, name: str) -> tuple[tuple[int, int], Node] | None:
        if isinstance(self.value, dict):
            return self.children.get(name)
        if name.isdecimal():
            return self.children.get(int(name))
        items = self.children.values()
        return next((each for each in items if isinstance(v := each[1].value, dict) and v.get("name") == name), None)


def documents(text: str) -> Iterator[Node | YamlError]:
    """Every document of a text that is not empty, or why it cannot be read."""
    for chunk, line in _chunks(text):
        if isinstance(chunk, YamlError):
            yield chunk
            continue
        try:
            node = _Reading(chunk, line).document()
        except YamlError as error:
            yield error
        else:
            if node is not None and node.value is not None:
                yield node


def values(text: str) -> list[Any]:
    """The JSON values of all documents that are not empty.

    Raises:
        YamlError: one cannot be read.
    """
    found = []
    for each in documents(text):
        if isinstance(each, YamlError):
            raise each
        found.append(each.value)
    return found


def _chunks(text: str) -> Iterator[tuple[str | YamlError, int]]:
    """The documents as texts, each with the number of lines before it."""
    begin = 0
    for found in _SEPARATOR.finditer(text):
        rest = found[1].strip()
        yield text[begin : found.start()], text.count("\n", 0, begin)
        begin = found.end()
        if rest and not rest.startswith("#"):
            line = text.count("\n", 0, begin) + 1
            yield YamlError(f"a line that begins with --- holds nothing else; {rest[:40]!r} came", line, 4), line
    yield text[begin:], text.count("\n", 0, begin)


def _unshare(node: Node) -> Any:
    """Gives every alias a value of its own, so that a change of one is none of the others."""
    if isinstance(node.value, dict):
        node.value = {key: _unshare(node.children[key][1]) for key in node.value}
    elif isinstance(node.value, list):
        node.value = [_unshare(child) for _, child in node.children.values()]
    return node.value


class _Reading:
    """One document being read."""

    def __init__(self, text: str, line: int) -> None:
        self._text = text
        self._first = line + 1
        self._anchors: dict[str, Node | None] = {}
        self._aliased = self._decoded = self._aliased_length = 0

    def document(self) -> Node | None:
        try:
            parser = _PARSER(self._text)
            try:
                return self._document(parser)
            finally:
                parser.dispose()
        except yaml.YAMLError as error:
            raise self._unreadable(error) from error

    def _document(self, parser: Any) -> Node | None:
        parser.get_event()
        if not parser.check_event(yaml.DocumentStartEvent):
            return None
        parser.get_event()
        node = self._node(parser, 0)
        parser.get_event()
        parser.peek_event()  # what comes behind the end of a document is a fault
        if self._aliased:
            _unshare(node)
        return node

    def _node(self, parser: Any, depth: int) -> Node:
        event = parser.get_event()
        if depth > _DEEPEST:
            raise self._fault(f"this is nested deeper than {_DEEPEST} levels", event)
        if isinstance(event, yaml.AliasEvent):
            return self._alias(event)
        if event.anchor is not None:
            self._anchors[event.anchor] = None
        if isinstance(event, yaml.ScalarEvent):
            node = self._scalar(event)
        elif isinstance(event, yaml.SequenceStartEvent):
            node = self._sequence(parser, event, depth)
        else:
            node = self._mapping(parser, event, depth)
        if event.anchor is not None:
            self._anchors[event.anchor] = node
        self._decoded += 1
        return node

    def _alias(self, event: Any) -> Node:
        if event.anchor not in self._anchors:
            raise self._fault(f"there is no anchor &{event.anchor} before this", event)
        node = self._anchors[event.anchor]
        if node is None:
            raise self._fault(f"the anchor &{event.anchor} contains itself", event)
        self._aliased += node.size
        self._decoded += node.size
        spread = min(max(self._decoded - _FEW, 0) / (_MANY - _FEW), 1)
        allowed = _MOST - (_MOST - _LEAST) * spread
        if self._aliased > _ALIASES and self._decoded > _VALUES and self._aliased > allowed * self._decoded:
            raise self._fault(f"aliases make {self._decoded:,} values of this document; write them out", event)
        self._aliased_length += node.length
        if self._aliased_length > _ALIASED_CHARACTERS:
            raise self._fault(f"aliases make more than {_ALIASED_CHARACTERS:,} characters of this document", event)
        return Node(node.value, *self._place(event), node.size, node.length, node.children)

    def _scalar(self, event: Any) -> Node:
        try:
            if event.tag is not None:
                value = yaml_scalars.tagged(event.value, event.tag)
            else:
                value = yaml_scalars.plain(event.value) if event.implicit[0] else event.value
        except ValueError as error:
            raise self._fault(str(error), event) from error
        return Node(value, *self._place(event), length=len(event.value))

    def _sequence(self, parser: Any, event: Any, depth: int) -> Node:
        node = Node([], *self._place(event))
        while not parser.check_event(yaml.SequenceEndEvent):
            item = self._node(parser, depth + 1)
            node.children[len(node.value)] = (item.line, item.column), item
            node.value.append(item.value)
            node.size += item.size
            node.length += item.length
        parser.get_event()
        return node

    def _mapping(self, parser: Any, event: Any, depth: int) -> Node:
        node = Node({}, *self._place(event))
        own: set[str] = set()
        while not parser.check_event(yaml.MappingEndEvent):
            at = parser.peek_event()
            merges = isinstance(at, yaml.ScalarEvent) and at.value == "<<" and at.implicit[0]
            name = self._node(parser, depth + 1)
            value = self._node(parser, depth + 1)
            node.size += value.size
            node.length += name.length + value.length
            if merges:
                self._merge(node, value)
                continue
            try:
                key = yaml_scalars.key(name.value)
            except ValueError as error:
                raise self._fault(str(error), at) from error
            if key in own:
                raise self._fault(f"the key {key!r} is there twice", at)
            own.add(key)
            node.value[key] = value.value
            node.children[key] = (name.line, name.column), value
        parser.get_event()
        return node

    def _merge(self, node: Node, merged: Node) -> None:
        # Of a list the earlier mappings count.
        parts: Sequence[Node] = [merged]
        if isinstance(merged.value, list):
            parts = [child for _, child in reversed(merged.children.values())]
        for part in parts:
            if not isinstance(part.value, dict):
                raise YamlError("<< takes a mapping or a list of mappings", merged.line, merged.column)
            node.value.update(part.value)
            node.children.update(part.children)

    def _place(self, event: Any) -> tuple[int, int]:
        mark = event.start_mark
        return mark.line + self._first, mark.column + 1

    def _fault(self, message: str, event: Any) -> YamlError:
        return YamlError(message, *self._place(event))

    def _unreadable(self, error: yaml.YAMLError) -> YamlError:
        mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
        problem = getattr(error, "problem", None) or getattr(error, "reason", None) or str(error)
        if mark is not None:
            return YamlError(problem, mark.line + self._first, mark.column + 1)
        position = getattr(error, "position", 0)
        before = self._text.encode()[:position].decode(errors="replace")
        line = before.count("\n")
        return YamlError(problem, line + self._first, len(before) - before.rfind("\n"))
