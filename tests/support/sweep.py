"""After a failed test: end the engines and spawners it left, and remove their control groups.

Only what was started on a root under the test run's own directory. A run without failures is not swept, so
that what the product itself leaves behind is seen.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import select
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

from tests.support.wait import eventually

HIERARCHIES = Path("/sys/fs/cgroup")


def sweep_after_us(directory: Path) -> None:
    """Sweep once this process has ended: an engine that a failed test left open in it would start things anew."""
    argv = [sys.executable, "-m", "tests.support.sweep", str(os.getpid()), str(directory)]
    environment = dict(os.environ, PYTHONPATH=str(Path(__file__).parents[2]))
    os.posix_spawn(sys.executable, argv, environment, setsid=True)


def sweep(directory: Path) -> None:
    """End what runs on roots under directory."""
    roots = set()
    for pid, root in _processes(directory):
        roots.add(root)
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    for root in roots:
        name = f"netmodel_{hashlib.sha256(str(root.resolve()).encode()).hexdigest()[:8]}"
        for top in (*HIERARCHIES.glob(name), *HIERARCHIES.glob(f"*/{name}")):
            _remove(top)


def _processes(directory: Path) -> Iterator[tuple[int, Path]]:
    """Spawners (their forkers, too) and engines, by their command lines."""
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            words = (entry / "cmdline").read_bytes().decode(errors="replace").split("\0")
        except OSError:
            continue
        if "netmodel.daemon" in words and "--root" in words:
            root = Path(words[words.index("--root") + 1])
        elif any(word.endswith("runtime/spawner/__main__.py") for word in words):
            root = next((Path(word).parent for word in words if word.endswith("/spawner")), Path("/"))
        else:
            continue
        if root.is_relative_to(directory):
            yield int(entry.name), root


def _remove(top: Path) -> None:
    for group in sorted((*top.glob("**/"), top), reverse=True):
        with contextlib.suppress(OSError):
            for pid in (group / "cgroup.procs").read_text().split():
                os.kill(int(pid), signal.SIGKILL)
            if (frozen := group / "freezer.state").exists():
                frozen.write_text("THAWED")  # what is paused dies no sooner
            eventually(lambda group=group: not (group / "cgroup.procs").read_text(), timeout_s=5)
            group.rmdir()


def _main() -> None:
    pid, directory = sys.argv[1:]
    with contextlib.suppress(ProcessLookupError):
        select.select([os.pidfd_open(int(pid))], [], [])
    sweep(Path(directory))


if __name__ == "__main__":
    _main()
