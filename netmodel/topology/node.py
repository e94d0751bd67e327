"""A YAML file as nodes that remember where they stand, with anchors, aliases and merge keys resolved.

Scalars follow YAML 1.2, as Compose's do: `yes` is text, `22:22` is text, and only true and false are
booleans. What the values mean is left to their readers.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any, Literal

import yaml

ScalarKind = Literal["null", "boolean", "number", "text"]
Report = Callable[[int, int, str, str], None]  # line, column, message, hint

MAX_DEPTH = 100
# Aliases of aliases can make a small file mean billions of values ("billion laughs").
MAX_VALUES = 1_000_000

_NULL = frozenset(("", "~", "null", "Null", "NULL"))
_BOOLEAN = frozenset(("true", "True", "TRUE", "false", "False", "FALSE"))
_NUMBER = re.compile(
    r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+"
    r"|[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)"
)
_TAG = "tag:yaml.org,2002:"
_TAGGED: dict[str, ScalarKind] = {
    "str": "text",
    "int": "number",
    "float": "number",
    "bool": "boolean",
    "null": "null",
    "binary": "text",
    "timestamp": "text",
}
_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # libyaml's is ten times as fast


class Scalar:
    """One value without parts; its text is as written, without quotes."""

    __slots__ = ("column", "kind", "line", "text", "weight")

    def __init__(self, line: int, column: int, text: str, kind: ScalarKind) -> None:
        self.line, self.column, self.text, self.kind = line, column, text, kind
        self.weight = 1


class Sequence:
    __slots__ = ("column", "items", "line", "weight")

    def __init__(self, line: int, column: int) -> None:
        self.line, self.column = line, column
        self.items: list[Node] = []
        self.weight = 1


class Mapping:
    """Keys in the file's order, each with its own place and its value; merged keys come last."""

    __slots__ = ("column", "entries", "line", "weight")

    def __init__(self, line: int, column: int) -> None:
        self.line, self.column = line, column
        self.entries: dict[str, tuple[Scalar, Node]] = {}
        self.weight = 1


Node = Scalar | Sequence | Mapping


class Unreadable(Exception):
    """The text is not YAML, or not YAML that can be used at all."""

    def __init__(self, line: int, column: int, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.line, self.column, self.message, self.hint = line, column, message, hint


def parse(text: str, report: Report) -> Node | None:
    """Read one document; None when it is empty.

    Args:
        report: Told of each mistake after which reading goes on: duplicate keys, odd merges.

    Raises:
        Unreadable: The first mistake that leaves no structure to go on with.
    """
    try:
        return _Composer(yaml.parse(text, Loader=_LOADER), report).document()
    except yaml.MarkedYAMLError as error:
        raise _unreadable(error) from error
    except yaml.reader.ReaderError as error:
        before = text[: error.position]
        line, column = before.count("\n") + 1, error.position - (before.rfind("\n") + 1) + 1
        raise Unreadable(line, column, f"not YAML: {error.reason}") from error


def _unreadable(error: yaml.MarkedYAMLError) -> Unreadable:
    mark = error.problem_mark or error.context_mark
    line, column = (mark.line + 1, mark.column + 1) if mark else (1, 1)
    problem = error.problem or "the text cannot be read"
    if "mapping values are not allowed" in problem:
        return Unreadable(
            line, column, 'not YAML: there is a ":" where none can be', "check the indentation, or quote the value"
        )
    if "cannot start any token" in problem:
        return Unreadable(
            line, column, "not YAML: this character cannot begin a value", "indent with spaces, not tabs; else quote it"
        )
    context = f" {error.context}" if error.context and error.context.startswith("while") else ""
    return Unreadable(line, column, f"not YAML: {problem}{context}")


class _Composer:
    """Builds nodes from libyaml's events.

    PyYAML's own composer recurses in C without a bound and lets an alias contain itself.
    """

    def __init__(self, events: Iterator[Any], report: Report) -> None:
        self._events = events
        self._report = report
        self._anchors: dict[str, Node] = {}
        self._open: set[str] = set()

    def document(self) -> Node | None:
        root: Node | None = None
        for event in self._events:
            if isinstance(event, yaml.DocumentStartEvent) and root is not None:
                mark: Any = event.start_mark
                raise Unreadable(mark.line + 1, 1, "a second document begins here", "keep one topology in each file")
            if isinstance(event, yaml.NodeEvent):
                root = self._node(event, 0)
        return None if isinstance(root, Scalar) and root.kind == "null" else root

    def _node(self, event: Any, depth: int) -> Node:
        mark = event.start_mark
        line, column = mark.line + 1, mark.column + 1
        if depth > MAX_DEPTH:
            raise Unreadable(line, column, f"nested deeper than {MAX_DEPTH} levels")
        if isinstance(event, yaml.AliasEvent):
            return self._alias(event.anchor, line, column)
        anchor: str | None = event.anchor
        if anchor is not None:
            self._open.add(anchor)
        if isinstance(event, yaml.ScalarEvent):
            node: Node = Scalar(line, column, event.value, self._kind(event, line, column))
        elif isinstance(event, yaml.SequenceStartEvent):
            node = self._sequence(Sequence(line, column), depth)
        else:
            node = self._mapping(Mapping(line, column), depth)
        if anchor is not None:
            self._open.discard(anchor)
            self._anchors[anchor] = node
        if node.weight > MAX_VALUES:
            raise Unreadable(line, column, f"aliases make this grow to more than {MAX_VALUES} values")
        return node

    def _alias(self, anchor: str | None, line: int, column: int) -> Node:
        if anchor in self._open:
            raise Unreadable(line, column, f"the alias *{anchor} stands inside what it names")
        if anchor is None or anchor not in self._anchors:
            raise Unreadable(
                line,
                column,
                f"the alias *{anchor} has no anchor &{anchor} before it",
                "quote the value if a * is meant",
            )
        return self._anchors[anchor]

    def _kind(self, event: Any, line: int, column: int) -> ScalarKind:
        tag: str | None = event.tag
        if tag and tag != "!":
            if tag.startswith(_TAG) and tag[len(_TAG) :] in _TAGGED:
                return _TAGGED[tag[len(_TAG) :]]
            self._report(line, column, f"the tag {tag} is not known here", "")
            return "text"
        return plain_kind(event.value) if event.implicit[0] else "text"

    def _sequence(self, node: Sequence, depth: int) -> Sequence:
        for event in self._events:
            if isinstance(event, yaml.SequenceEndEvent):
                break
            item = self._node(event, depth + 1)
            node.items.append(item)
            node.weight += item.weight
        return node

    def _mapping(self, node: Mapping, depth: int) -> Mapping:
        merged: list[Mapping] = []
        merges = 0
        for event in self._events:
            if isinstance(event, yaml.MappingEndEvent):
                break
            key = self._node(event, depth + 1)
            is_merge = isinstance(event, yaml.ScalarEvent) and event.value == "<<" and event.implicit[0]
            value = self._node(next(self._events), depth + 1)
            node.weight += value.weight + 1
            if is_merge and merges:
                self._report(key.line, key.column, '"<<" is given twice', "merge several with a list: <<: [*a, *b]")
            elif is_merge:
                merges += 1
                merged = self._merged(value)
            else:
                self._add(node, key, value)
        for other in merged:
            for name, entry in other.entries.items():
                node.entries.setdefault(name, entry)
        return node

    def _merged(self, value: Node) -> list[Mapping]:
        if isinstance(value, Mapping):
            return [value]
        if isinstance(value, Sequence) and all(isinstance(item, Mapping) for item in value.items):
            return [item for item in value.items if isinstance(item, Mapping)]
        self._report(value.line, value.column, '"<<" merges a mapping, or a list of them, and nothing else', "")
        return []

    def _add(self, node: Mapping, key: Node, value: Node) -> None:
        if not isinstance(key, Scalar) or key.kind == "null":
            self._report(key.line, key.column, "a key must be a word", "")
            return
        before = node.entries.get(key.text)
        if before is not None:
            self._report(
                key.line, key.column, f'"{key.text}" is given twice; the first is in line {before[0].line}', ""
            )
            return
        node.entries[key.text] = (key, value)


def plain_kind(text: str) -> ScalarKind:
    """The kind of a scalar without quotes.

    Source: YAML 1.2.2, 10.3.2, the core schema.
    """
    if text in _NULL:
        return "null"
    if text in _BOOLEAN:
        return "boolean"
    return "number" if text[0] in "+-.0123456789" and _NUMBER.fullmatch(text) else "text"
