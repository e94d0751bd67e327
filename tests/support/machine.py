"""What the machine itself holds: links, rule sets, mounts, control groups, processes and marks that could be ours.

The suite compares it before and after. Tests run in namespaces of their own, so whatever differs here leaked.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import nftables

OURS = ("runtime.spawner", "runtime/spawner", "netmodel-fork", "netmodel", "nft_worker", "tests.support.zygote")

ID_MARKS = Path("/run/netmodel-ids")


def snapshot() -> dict[str, frozenset[str]]:
    """Describe the machine, a set of lines a kind."""
    return {
        "link": frozenset(link.name for link in Path("/sys/class/net").iterdir()),
        "nft table": frozenset(_tables()),
        "mount": frozenset(_mounts()),
        "cgroup": frozenset(_cgroups()),
        "process": frozenset(_processes()),
        "mark of user ids": frozenset(mark.name for mark in ID_MARKS.glob("*")),
    }


def leaks(before: dict[str, frozenset[str]], after: dict[str, frozenset[str]]) -> list[str]:
    """Say what is there now and was not before."""
    return [f"{kind} {line}" for kind in after for line in sorted(after[kind] - before[kind])]


def _tables() -> Iterator[str]:
    nft = nftables.Nftables()
    code, output, error = nft.cmd("list tables")
    if code != 0:
        raise RuntimeError(error)
    yield from output.splitlines()


def _mounts() -> Iterator[str]:
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        yield line.split()[4]


def _cgroups() -> Iterator[str]:
    root = Path("/sys/fs/cgroup")
    for pattern in ("netmodel*", "*/netmodel*"):
        yield from map(str, root.glob(pattern))


def _processes() -> Iterator[str]:
    # Only what lives on after its parent is a leak; what the test run itself started is still its child.
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            command = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
        except OSError:
            continue
        if "pytest" not in command and any(word in command for word in OURS) and "python" in command:
            yield f"{entry.name} {command}"
