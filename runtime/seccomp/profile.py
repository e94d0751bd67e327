"""A policy on system calls as a value, and how it is read from Docker's JSON form."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from runtime.seccomp.errors import BadProfile

# What --security-opt seccomp= may be instead of a profile.
DEFAULT, UNCONFINED = "builtin", "unconfined"

ACTIONS = (
    "SCMP_ACT_KILL", "SCMP_ACT_KILL_THREAD", "SCMP_ACT_KILL_PROCESS", "SCMP_ACT_TRAP", "SCMP_ACT_ERRNO",
    "SCMP_ACT_TRACE", "SCMP_ACT_ALLOW", "SCMP_ACT_LOG",
)  # fmt: skip
OPERATORS = (
    "SCMP_CMP_NE", "SCMP_CMP_LT", "SCMP_CMP_LE", "SCMP_CMP_EQ", "SCMP_CMP_GE", "SCMP_CMP_GT", "SCMP_CMP_MASKED_EQ",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Argument:
    """A condition on one argument, counted from 0. MASKED_EQ: (argument & value) == second."""

    index: int
    value: int
    operator: str
    second: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """What happens at some system calls, if all conditions on their arguments hold.

    Args:
        errno: For SCMP_ACT_ERRNO and SCMP_ACT_TRACE; None is EPERM.
        with_capabilities: The rule counts only for a container that has all of them in its bounding set;
            without_capabilities: for one that has none of them. Processors likewise, any of them.
        with_kernel: It counts from this kernel version on. Only in others' profiles: the form has it.
    """

    names: tuple[str, ...]
    action: str
    errno: int | None = None
    arguments: tuple[Argument, ...] = ()
    with_capabilities: tuple[str, ...] = ()
    without_capabilities: tuple[str, ...] = ()
    with_processors: tuple[str, ...] = ()
    without_processors: tuple[str, ...] = ()
    with_kernel: tuple[int, int] | None = None
    without_kernel: tuple[int, int] | None = None

    def counts(self, capabilities: Collection[str], processor: str, kernel: tuple[int, int]) -> bool:
        """Tell whether it is for a container of these capabilities on this machine."""
        if any(name in capabilities for name in self.without_capabilities) or processor in self.without_processors:
            return False
        if self.without_kernel is not None and kernel >= self.without_kernel:
            return False
        if not all(name in capabilities for name in self.with_capabilities):
            return False
        if self.with_processors and processor not in self.with_processors:
            return False
        return self.with_kernel is None or kernel >= self.with_kernel


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """Args:
    architectures: Further ones that programs may be of, by the machine's own.
    """

    default_action: str
    default_errno: int | None = None
    architectures: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    rules: tuple[Rule, ...] = ()

    def capabilities(self) -> frozenset[str]:
        """Those on which it depends."""
        return frozenset(name for rule in self.rules for name in (*rule.with_capabilities, *rule.without_capabilities))


def profile_of(text: str) -> Profile | None:
    """What --security-opt seccomp= says: "" or "builtin", "unconfined" (None), or a profile's JSON.

    Raises:
        BadProfile: It is none of these.
    """
    from runtime.seccomp.policy import default_policy

    if text in ("", DEFAULT):
        return default_policy()
    return None if text == UNCONFINED else parse(text)


def parse(text: str) -> Profile | None:
    """Read a profile in Docker's JSON form. Unknown keys mean nothing, as there; an empty one is no filter.

    Raises:
        BadProfile: Says where and what.
    """
    try:
        data = json.loads(text)
    except ValueError as error:
        raise BadProfile("", f"it is not JSON: {error}") from None
    whole = _Section("", data)
    calls = list(whole.sections("syscalls"))
    action = whole.word("defaultAction", ACTIONS)
    if not action and not calls:
        return None
    if not action:
        raise BadProfile("defaultAction", "it is missing")
    if data.get("architectures") and data.get("archMap"):
        raise BadProfile("archMap", "give either it or architectures")
    return Profile(
        default_action=action,
        default_errno=whole.number("defaultErrnoRet"),
        architectures=_architectures(whole),
        rules=tuple(_rule(call) for call in calls),
    )


def native_kernel() -> tuple[int, int]:
    """The running kernel's version, as far as profiles speak of it."""
    return _version(os.uname().release) or (0, 0)


def _version(text: str) -> tuple[int, int] | None:
    found = re.match(r"(\d+)\.(\d+)", text)
    return None if found is None else (int(found[1]), int(found[2]))


def _architectures(whole: _Section) -> dict[str, tuple[str, ...]]:
    found = {entry.text("architecture"): tuple(entry.texts("subArchitectures")) for entry in whole.sections("archMap")}
    listed = tuple(whole.texts("architectures"))
    # A list names the machine's own among others.
    return found or {name: tuple(other for other in listed if other != name) for name in listed}


def _rule(call: _Section) -> Rule:
    names = call.texts("names")
    single = call.text("name")
    if names and single:
        raise BadProfile(f"{call.where}.name", "give either it or names")
    names = names or ([single] if single else [])
    if not names:
        raise BadProfile(f"{call.where}.names", "it is missing")
    action = call.word("action", ACTIONS)
    if not action:
        raise BadProfile(f"{call.where}.action", "it is missing")
    includes, excludes = call.section("includes"), call.section("excludes")
    return Rule(
        names=tuple(names),
        action=action,
        errno=call.number("errnoRet"),
        arguments=tuple(_argument(item) for item in call.sections("args")),
        with_capabilities=tuple(includes.texts("caps")),
        without_capabilities=tuple(excludes.texts("caps")),
        with_processors=tuple(includes.texts("arches")),
        without_processors=tuple(excludes.texts("arches")),
        with_kernel=includes.version("minKernel"),
        without_kernel=excludes.version("minKernel"),
    )


def _argument(item: _Section) -> Argument:
    index = item.number("index") or 0
    if not 0 <= index <= 5:
        raise BadProfile(f"{item.where}.index", f"a system call has arguments 0 to 5, not {index}")
    operator = item.word("op", OPERATORS)
    if not operator:
        raise BadProfile(f"{item.where}.op", "it is missing")
    return Argument(index, item.number("value") or 0, operator, item.number("valueTwo") or 0)


class _Section:
    """An object of the JSON with its place, so that a mistake can be named."""

    def __init__(self, where: str, data: Any) -> None:
        if not isinstance(data, dict):
            raise BadProfile(where, "it must be an object")
        self.where = where
        self._data = data

    def _at(self, key: str) -> str:
        return f"{self.where}.{key}" if self.where else key

    def _get(self, key: str, kind: type, what: str) -> Any:
        value = self._data.get(key)
        if value is not None and (not isinstance(value, kind) or isinstance(value, bool)):
            raise BadProfile(self._at(key), f"it must be {what}, not {json.dumps(value)[:40]}")
        return value

    def text(self, key: str) -> str:
        return self._get(key, str, "a text") or ""

    def number(self, key: str) -> int | None:
        value: int | None = self._get(key, int, "a number")
        if value is not None and not 0 <= value < 1 << 64:
            raise BadProfile(self._at(key), f"{value} does not fit into 64 bits")
        return value

    def texts(self, key: str) -> list[str]:
        items: list[Any] = self._get(key, list, "a list") or []
        for item in items:
            if not isinstance(item, str):
                raise BadProfile(self._at(key), f"its items must be texts, not {json.dumps(item)[:40]}")
        return items

    def word(self, key: str, known: Collection[str]) -> str:
        text = self.text(key)
        if text and text not in known:
            raise BadProfile(self._at(key), f"{text} is not known; there are {', '.join(known)}")
        return text

    def version(self, key: str) -> tuple[int, int] | None:
        text = self.text(key)
        if not text:
            return None
        found = _version(text)
        if found is None:
            raise BadProfile(self._at(key), f"{text!r} is not a kernel version such as 4.8")
        return found

    def section(self, key: str) -> _Section:
        return _Section(self._at(key), self._data.get(key) or {})

    def sections(self, key: str) -> Iterator[_Section]:
        for number, item in enumerate(self._get(key, list, "a list") or []):
            yield _Section(f"{self._at(key)}[{number}]", item)
