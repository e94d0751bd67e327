"""A value in a topology and the ways to read it, each of which records what is wrong and goes on.

A reader that fails returns None (or an empty collection), so that one pass finds every mistake. The
Source at the end knows whether there were any.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import TypeVar

from netmodel.topology.diagnostic import Diagnostic, did_you_mean
from netmodel.topology.interpolate import BadVariable, interpolate, names_in
from netmodel.topology.keys import Keys
from netmodel.topology.node import Mapping as MappingNode
from netmodel.topology.node import Node, Scalar, Unreadable, parse
from netmodel.topology.node import Sequence as SequenceNode

T = TypeVar("T")
_TRUE = frozenset(("true", "yes", "y", "on", "1"))
_FALSE = frozenset(("false", "no", "n", "off", "0"))
_KIND_WORDS = {"null": "empty", "boolean": "true or false", "number": "a number", "text": "text"}


class Source:
    """One topology file being read: its variables, and what was found wrong with it.

    Args:
        file: As the user named it.
        variables: What ${NAME} may name.
    """

    def __init__(self, file: str, variables: Mapping[str, str]) -> None:
        self.file = file
        self.variables = variables
        self.errors: set[Diagnostic] = set()  # one place read twice (through an alias) is one mistake
        self._warnings: dict[tuple[str, str], list[Diagnostic]] = {}
        self._missing: dict[str, Diagnostic] = {}

    def parse(self, text: str) -> Value | None:
        """The whole file as a value; None when there is nothing in it, or no YAML."""
        try:
            node = parse(text, lambda *mistake: self.error(mistake[0], mistake[1], "", mistake[2], mistake[3]))
        except Unreadable as error:
            self.error(error.line, error.column, "", error.message, error.hint)
            return None
        if node is None:
            self.error(0, 0, "", "the file is empty", "a topology has at least services:")
            return None
        return Value(self, node, "", node.line, node.column)

    def error(self, line: int, column: int, key: str, message: str, hint: str = "") -> None:
        self.errors.add(Diagnostic(self.file, line, column, key, message, hint))

    def warn(self, line: int, column: int, key: str, message: str, hint: str = "", group: str = "") -> None:
        """Record a warning; of those with one group and message only the first is told, with their number."""
        diagnostic = Diagnostic(self.file, line, column, key, message, hint)
        same = self._warnings.setdefault((group or key, message), [])
        if diagnostic not in same:
            same.append(diagnostic)

    def missing(self, name: str, line: int, column: int, key: str) -> None:
        """A variable has no value: a warning at its first place."""
        if name not in self._missing:
            message = f"the variable {name} is not set; it becomes an empty text"
            self._missing[name] = Diagnostic(self.file, line, column, key, message)

    @property
    def warnings(self) -> list[Diagnostic]:
        found = list(self._missing.values())
        for same in self._warnings.values():
            first = same[0]
            others = len(same) - 1
            more = f" (here and in {others} more place{'s' if others > 1 else ''})" if others else ""
            found.append(Diagnostic(first.file, first.line, first.column, first.key, first.message + more, first.hint))
        return sorted(found)


class Value:
    """A node with the path of keys that leads to it.

    Args:
        line, column: Of its key, where it has one: the place for mistakes about the thing as a whole.
    """

    __slots__ = ("column", "key", "line", "node", "source")

    def __init__(self, source: Source, node: Node, key: str, line: int, column: int) -> None:
        self.source, self.node, self.key = source, node, key
        self.line, self.column = line, column

    # --- mistakes ---------------------------------------------------------------------------------

    def error(self, message: str, hint: str = "") -> None:
        """Something is wrong with the value itself."""
        self.source.error(self.node.line, self.node.column, self.key, message, self._unset_hint() or hint)

    def error_at_key(self, message: str, hint: str = "") -> None:
        """Something is wrong with the thing that the key names."""
        self.source.error(self.line, self.column, self.key, message, hint)

    def warn(self, message: str, hint: str = "", group: str = "") -> None:
        self.source.warn(self.line, self.column, self.key, message, hint, group)

    def wrong_kind(self, expected: str, hint: str = "") -> None:
        self.error(f"must be {expected}, not {self.kind}", hint)

    @property
    def kind(self) -> str:
        if isinstance(self.node, Scalar):
            return _KIND_WORDS[self.node.kind]
        return "a mapping" if isinstance(self.node, MappingNode) else "a list"

    @property
    def place(self) -> str:
        """Where it stands, for another value's message."""
        return f"line {self.line}"

    def _unset_hint(self) -> str:
        if not isinstance(self.node, Scalar) or "$" not in self.node.text:
            return ""
        unset = [name for name in names_in(self.node.text) if not self.source.variables.get(name)]
        return f"the variable {unset[0]} is not set: set it in the environment or in .env" if unset else ""

    # --- scalars ----------------------------------------------------------------------------------

    @property
    def is_null(self) -> bool:
        return isinstance(self.node, Scalar) and self.node.kind == "null"

    @property
    def is_scalar(self) -> bool:
        return isinstance(self.node, Scalar)

    @property
    def is_list(self) -> bool:
        return isinstance(self.node, SequenceNode)

    @property
    def is_mapping(self) -> bool:
        return isinstance(self.node, MappingNode)

    def _interpolated(self, node: Scalar) -> str | None:
        if "$" not in node.text:
            return node.text
        try:
            return interpolate(
                node.text,
                self.source.variables,
                lambda name: self.source.missing(name, node.line, node.column, self.key),
            )
        except BadVariable as error:
            self.error(str(error), error.hint)
            return None

    def word(self, expected: str = "text or a number") -> str | None:
        """Any scalar as its text, variables in place; booleans in lower case, as Compose writes them."""
        node = self.node
        if not isinstance(node, Scalar) or node.kind == "null":
            self.wrong_kind(expected)
            return None
        if node.kind == "text":
            return self._interpolated(node)
        return node.text.lower() if node.kind == "boolean" else node.text

    def text(self, expected: str = "text") -> str | None:
        """Text alone; numbers and booleans want quotes, as in Compose."""
        node = self.node
        if isinstance(node, Scalar) and node.kind == "text":
            return self._interpolated(node)
        quotable = isinstance(node, Scalar) and node.kind in ("number", "boolean")
        self.wrong_kind(expected, f'write it in quotes: "{node.text}"' if quotable and isinstance(node, Scalar) else "")
        return None

    def flag(self) -> bool | None:
        node = self.node
        if not isinstance(node, Scalar) or node.kind not in ("boolean", "text"):
            self.wrong_kind("true or false")
            return None
        text = self._interpolated(node)
        if text is None:
            return None
        if text.lower() in _TRUE:
            return True
        if text.lower() in _FALSE:
            return False
        self.error(f'must be true or false, not "{text}"')
        return None

    def integer(self, low: int | None = None, high: int | None = None) -> int | None:
        text = self._number_text("a whole number")
        if text is None:
            return None
        try:
            number = int(text, 0) if text[:2] in ("0x", "0o") else int(text)
        except ValueError:
            self.error(f'must be a whole number, not "{text}"')
            return None
        if (low is not None and number < low) or (high is not None and number > high):
            limits = f"at least {low}" if high is None else f"between {low} and {high}"
            self.error(f"must be {limits}, not {number}")
            return None
        return number

    def number(self) -> float | None:
        text = self._number_text("a number")
        if text is None:
            return None
        try:
            number = float(text)
        except ValueError:
            self.error(f'must be a number, not "{text}"')
            return None
        if number != number or number in (float("inf"), float("-inf")):
            self.error("must be a finite number")
            return None
        return number

    def _number_text(self, expected: str) -> str | None:
        node = self.node
        if not isinstance(node, Scalar) or node.kind not in ("number", "text"):
            self.wrong_kind(expected)
            return None
        return self._interpolated(node)

    def parsed(self, parser: Callable[[str], T], expected: str = "text") -> T | None:
        """Text that parser understands; what its ValueError says is the mistake."""
        text = self.word(expected) if self.is_scalar else self.text(expected)
        if text is None:
            return None
        try:
            return parser(text)
        except ValueError as error:
            self.error(str(error), getattr(error, "hint", ""))
            return None

    # --- collections ------------------------------------------------------------------------------

    def items(self, expected: str = "a list") -> list[Value]:
        node = self.node
        if not isinstance(node, SequenceNode):
            if not self.is_null:
                self.wrong_kind(expected)
            return []
        return [
            Value(self.source, item, f"{self.key}[{index}]", item.line, item.column)
            for index, item in enumerate(node.items)
        ]

    def texts(self) -> tuple[str, ...]:
        return tuple(text for item in self.items() if (text := item.text()) is not None)

    def one_or_more(self) -> list[Value]:
        """A single scalar is a list of one."""
        return [self] if self.is_scalar and not self.is_null else self.items("text or a list")

    def pairs(self, expected: str = "a mapping") -> dict[str, Value]:
        """A mapping whose keys are the user's own names."""
        node = self.node
        if not isinstance(node, MappingNode):
            if not self.is_null:
                self.wrong_kind(expected)
            return {}
        prefix = f"{self.key}." if self.key else ""
        return {
            name: Value(self.source, value, f"{prefix}{name}", key.line, key.column)
            for name, (key, value) in node.entries.items()
        }

    def dictionary(self, separators: str = "=") -> dict[str, tuple[str | None, Value]]:
        """A mapping, or a list of NAME=value; a null value or a bare NAME is None."""
        if self.is_mapping:
            return {
                name: (None if value.is_null else value.word("text, a number, or true or false"), value)
                for name, value in self.pairs().items()
            }
        found: dict[str, tuple[str | None, Value]] = {}
        for item in self.items("a list or a mapping"):
            text = item.text()
            if text is None:
                continue
            ends = [at for separator in separators if (at := text.find(separator)) >= 0]
            name, value = (text[: min(ends)], text[min(ends) + 1 :]) if ends else (text, None)
            if not name:
                item.error(f'"{text}" has no name before "{separators[0]}"')
                continue
            found[name] = (value, item)
        return found

    def fields(self, keys: Keys, expected: str = "a mapping") -> Fields:
        """A mapping whose keys the schema knows; the others are errors, or warnings where they come later."""
        found = Fields(self)
        for name, value in self.pairs(expected).items():
            if name in keys.supported or name in keys.ours:
                if not value.is_null:
                    found[name] = value
            elif name in keys.later or name in keys.ours_later:
                value.warn("not supported yet; ignored", group=name)
            elif name in keys.silent:
                continue
            elif name.startswith("x-"):
                close = did_you_mean(name, keys.ours | keys.ours_later, cutoff=0.8)
                if close:
                    value.warn(f'"{name}" means nothing here', close)
            else:
                known = did_you_mean(name, keys.all)
                value.error_at_key(f'unknown key "{name}"', known or "keys of your own begin with x-")
        return found


class Fields(dict[str, Value]):
    """The keys of a section that are there; each getter has a default for those that are not."""

    def __init__(self, section: Value) -> None:
        super().__init__()
        self.section = section

    def text(self, name: str, default: str = "") -> str:
        value = self.get(name)
        text = value.text() if value else None
        return default if text is None else text

    def word(self, name: str, default: str = "") -> str:
        value = self.get(name)
        text = value.word() if value else None
        return default if text is None else text

    def flag(self, name: str, default: bool = False) -> bool:
        value = self.get(name)
        flag = value.flag() if value else None
        return default if flag is None else flag

    def integer(self, name: str, low: int | None = None, high: int | None = None) -> int | None:
        value = self.get(name)
        return value.integer(low, high) if value else None

    def number(self, name: str) -> float | None:
        value = self.get(name)
        return value.number() if value else None

    def parsed(self, name: str, parser: Callable[[str], T]) -> T | None:
        value = self.get(name)
        return value.parsed(parser) if value else None

    def texts(self, name: str) -> tuple[str, ...]:
        value = self.get(name)
        return value.texts() if value else ()

    def one_or_more(self, name: str) -> tuple[str, ...]:
        value = self.get(name)
        if value is None:
            return ()
        return tuple(text for item in value.one_or_more() if (text := item.text()) is not None)

    def each(self, name: str) -> Iterator[Value]:
        value = self.get(name)
        yield from value.items() if value else ()

    def dictionary(self, name: str, separators: str = "=") -> dict[str, tuple[str | None, Value]]:
        value = self.get(name)
        return value.dictionary(separators) if value else {}

    def words(self, name: str) -> dict[str, str]:
        """A mapping or list of NAME=value, no value being an empty one."""
        return {key: text or "" for key, (text, _) in self.dictionary(name).items()}
