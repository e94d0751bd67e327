"""Trying out, in a process made to be thrown away, what containers need of the kernel.

Like: python -m runtime.probe DIRECTORY

Prints one JSON object: for each feature "" if it works, else the kernel's reason. Nothing outlives
the process except an empty directory, made below DIRECTORY and removed again.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sys
import tempfile
from collections.abc import Callable, Iterator
from functools import partial

from runtime.errors import KernelRefused
from runtime.kernel import clone, mount

NAMESPACES = {
    "network": clone.CLONE_NEWNET,
    "pid": clone.CLONE_NEWPID,
    "mount": clone.CLONE_NEWNS,
    "uts": clone.CLONE_NEWUTS,
    "ipc": clone.CLONE_NEWIPC,
    "time": clone.CLONE_NEWTIME,
    "user": clone.CLONE_NEWUSER,
    "cgroup": clone.CLONE_NEWCGROUP,
}
# Far above the ids of people and services, as containers' ranges are.
_BASE = 1 << 20


def main(directory: str) -> None:
    results = {f"namespace {name}": attempt(partial(unshare, kind)) for name, kind in NAMESPACES.items()}
    clone.unshare(clone.CLONE_NEWNS)
    mount.make_rprivate("/")
    results["tmpfs"] = attempt(tmpfs)
    try:
        with (
            tempfile.TemporaryDirectory(prefix=".netmodel-doctor-", dir=directory) as place,
            user_namespace() as userns,
        ):
            results |= storage(place, userns)
    except OSError as error:
        results["storage"] = reason(error)
    json.dump(results, sys.stdout)


def attempt(work: Callable[[], object]) -> str:
    try:
        work()
    except (OSError, KernelRefused) as error:
        return reason(error)
    return ""


def reason(error: OSError | KernelRefused) -> str:
    return str(error) if isinstance(error, KernelRefused) else os.strerror(error.errno or 0)


def unshare(kind: int) -> None:
    """Make a namespace in a child, so that this process stays where it is."""
    pid = os.fork()
    if pid == 0:
        code = 0
        try:
            clone.unshare(kind)
        except OSError as error:
            code = error.errno or 255
        os._exit(code)
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    if code:
        raise OSError(code, os.strerror(code))


@contextlib.contextmanager
def user_namespace() -> Iterator[int | None]:
    """A descriptor of one with a private range of ids, or None where there can be none."""
    ready, go = os.pipe()
    pid = os.fork()
    if pid == 0:
        with contextlib.suppress(OSError):
            clone.unshare(clone.CLONE_NEWUSER)
            os.write(go, b"+")
        os.close(go)
        signal.pause()
    os.close(go)
    descriptor = None
    try:
        if os.read(ready, 1):
            for kind in ("uid_map", "gid_map"):
                with open(f"/proc/{pid}/{kind}", "w") as table:
                    table.write(f"0 {_BASE} 65536")
            descriptor = os.open(f"/proc/{pid}/ns/user", os.O_RDONLY | os.O_CLOEXEC)
        yield descriptor
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        os.close(ready)
        if descriptor is not None:
            os.close(descriptor)


def storage(place: str, userns: int | None) -> dict[str, str]:
    """Overlay and mapped ids, on the file system of a directory and on the machine's root."""
    for name in ("lower", "upper", "work", "seen"):
        os.mkdir(os.path.join(place, name))
    results = {
        "overlay": attempt(lambda: overlay(place, f"{place}/lower")),
        "overlay over the root": attempt(lambda: overlay(place, "/")),
    }
    if userns is None:
        return results | {"mapped ids": "there are no user namespaces"}
    results["mapped ids"] = attempt(lambda: mapped(place, userns))
    results["mapped ids of the root"] = attempt(lambda: mapped("/", userns))
    results["mapped ids of tmpfs"] = attempt(lambda: mapped_tmpfs(userns))
    results["overlay over mapped ids"] = attempt(lambda: overlay_over_mapped(place, userns))
    return results


def overlay(place: str, lower: str) -> None:
    upper, work = f"{place}/upper", f"{place}/work"
    options = [("lowerdir", lower), ("upperdir", upper), ("workdir", work)]
    os.close(mount.new_filesystem("overlay", options))


def mapped(path: str, userns: int) -> None:
    copy = mount.clone_tree(path)
    try:
        mount.change(copy, userns=userns)
    finally:
        os.close(copy)


def overlay_over_mapped(place: str, userns: int) -> None:
    """All of a container's layers at once: attached in this process's own mount namespace."""
    copy = mount.clone_tree(place)
    seen = os.open(f"{place}/seen", os.O_PATH | os.O_CLOEXEC)
    try:
        mount.change(copy, userns=userns)
        mount.attach(copy, seen)
        overlay(f"{place}/seen", f"{place}/seen/lower")
    finally:
        os.close(seen)
        os.close(copy)
        with contextlib.suppress(OSError):  # where nothing was attached
            mount.detach_below(f"{place}/seen")


def tmpfs() -> None:
    os.close(mount.new_filesystem("tmpfs"))


def mapped_tmpfs(userns: int) -> None:
    memory = mount.new_filesystem("tmpfs")
    try:
        mount.change(memory, userns=userns)
    finally:
        os.close(memory)


if __name__ == "__main__":
    main(sys.argv[1])
