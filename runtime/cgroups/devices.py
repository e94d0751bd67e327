"""Which device nodes a container may use: rules as v1's devices controller reads them, and as v2's BPF program."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator, Sequence

from runtime.errors import RuntimeFault
from runtime.kernel.bpf import BLOCK, CHARACTER, MKNOD, READ, WRITE, DeviceRule

# "c MAJOR:MINOR rwm": any node may be made, only these may be opened. As Docker's default.
# Source: Linux Documentation/admin-guide/devices.txt.
DEFAULT_RULES = (
    "c *:* m",
    "b *:* m",
    "c 1:3 rwm",  # null
    "c 1:5 rwm",  # zero
    "c 1:7 rwm",  # full
    "c 1:8 rwm",  # random
    "c 1:9 rwm",  # urandom
    "c 5:0 rwm",  # tty
    "c 5:1 rwm",  # console
    "c 5:2 rwm",  # ptmx
    "c 136:* rwm",  # pts
)


_RULE = re.compile(r"[abc] (\*|\d+):(\*|\d+) [rwm]{1,3}")


class BadDeviceRule(RuntimeFault):
    """A device rule is not of the controller's form."""

    kind = "invalid"
    hint = "such a rule is like c 42:* rmw"

    def __init__(self, rule: str) -> None:
        super().__init__(f"device rule {rule!r} is not of the form a|b|c MAJOR:MINOR rwm")


class NotADevice(RuntimeFault):
    """A path was given as a device and is none."""

    kind = "invalid"

    def __init__(self, path: str) -> None:
        super().__init__(f"{path} is not a device node of this machine")


def rules(devices: Sequence[str]) -> Iterator[str]:
    """The default rules, and further ones: a rule, or a device node of the host by its path and what is allowed."""
    yield from DEFAULT_RULES
    for wanted in devices:
        if wanted.startswith("/"):
            path, _, access = wanted.partition(" ")
            yield rule_of(path, access or "rwm")
        else:
            yield from checked(wanted)


def checked(rule: str) -> tuple[str, ...]:
    """A rule of the devices controller's form, "c 42:* rmw"; "a" means both kinds.

    Raises:
        BadDeviceRule: It is none.
    """
    if not _RULE.fullmatch(rule):
        raise BadDeviceRule(rule)
    # Written as it is, the kernel would take an "a" for every device there is, whatever follows.
    return (f"b{rule[1:]}", f"c{rule[1:]}") if rule[0] == "a" else (rule,)


def rule_of(path: str, access: str = "rwm") -> str:
    try:
        node = os.stat(path)
    except FileNotFoundError:
        raise NotADevice(path) from None
    if stat.S_ISCHR(node.st_mode):
        kind = "c"
    elif stat.S_ISBLK(node.st_mode):
        kind = "b"
    else:
        raise NotADevice(path)
    return f"{kind} {os.major(node.st_rdev)}:{os.minor(node.st_rdev)} {access}"


def parsed(rule: str) -> DeviceRule:
    """A rule of v1's notation for v2."""
    kind, numbers, letters = rule.split()
    major, minor = (None if number == "*" else int(number) for number in numbers.split(":"))
    access = sum({"m": MKNOD, "r": READ, "w": WRITE}[letter] for letter in letters)
    return DeviceRule(BLOCK if kind == "b" else CHARACTER, major, minor, access)
