"""Programs of the host that finish a container's root before it becomes the root: OCI's createContainer hooks.

Such a program finds a bundle: a directory with the root as it will be, and a config.json that says where that is.
It runs in the container's namespaces, by the rights of the container's root, in its control groups; all that it sees
of the host is what anybody sees. Its own mount namespace is the container's, so what it mounts in the root stays.

Source: OCI runtime-spec, config.md, "createContainer Hooks"; runtime.md, "State".
"""

from __future__ import annotations

import json
import os
import select
import signal
from contextlib import suppress

from runtime.errors import StartFailed
from runtime.kernel import clone, mount
from runtime.spec import ContainerSpec, Hook

_VERSION = "1.2.0"
# What the bundle covers, for as long as the hooks run. Every system has the last of them.
_PLACES = ("/mnt", "/media", "/srv", "/sys")
_ROOT = "rootfs"
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
# Of one that says nothing about it: a start must come to an end.
_LONGEST_S = 60
_SAID_BYTES = 2048


def make_bundle(spec: ContainerSpec) -> int:
    """Make the directory that hooks find, and return a descriptor of the place for the root in it."""
    place = _place()
    tmpfs = mount.new_filesystem("tmpfs", (("mode", "755"), ("size", "1m")), mount.NOSUID | mount.NODEV | mount.NOEXEC)
    target = os.open(place, os.O_PATH | os.O_CLOEXEC)
    mount.attach(tmpfs, target)
    os.close(target)
    os.mkdir(_ROOT, 0o755, dir_fd=tmpfs)
    config = os.open("config.json", os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o644, dir_fd=tmpfs)
    with open(config, "w") as file:
        json.dump(_config(spec, f"{place}/{_ROOT}"), file)
    root = os.open(_ROOT, os.O_PATH | os.O_CLOEXEC, dir_fd=tmpfs)
    os.close(tmpfs)
    return root


def run(spec: ContainerSpec) -> None:
    """Run them one after the other.

    Raises:
        StartFailed: One failed, or did not end in time; says what it printed.
    """
    state = {
        "ociVersion": _VERSION,
        "id": spec.id,
        "status": "creating",
        "pid": int(os.readlink("/proc/self")),  # as the host numbers it: this still is the host's /proc
        "bundle": _place(),
    }
    for hook in spec.hooks:
        _run(hook, json.dumps(state).encode())


def _place() -> str:
    return next(place for place in _PLACES if os.path.isdir(place))


def _config(spec: ContainerSpec, root: str) -> dict[str, object]:
    """Of a bundle's description what is known and of use."""
    process = spec.process
    return {
        "ociVersion": _VERSION,
        "hostname": spec.hostname,
        "root": {"path": root, "readonly": spec.rootfs.read_only},
        "process": {
            "args": list(process.argv),
            "cwd": process.working_dir,
            "env": [f"{name}={value}" for name, value in process.environment],
            "terminal": process.terminal,
        },
        "mounts": [{"destination": one.target} for one in spec.mounts],
    }


def _run(hook: Hook, state: bytes) -> None:
    told, said = os.memfd_create("state", os.MFD_CLOEXEC), os.memfd_create("said", os.MFD_CLOEXEC)
    try:
        os.write(told, state)
        os.lseek(told, 0, os.SEEK_SET)
        environment = dict(hook.environment) or {"PATH": _PATH}
        streams = [(os.POSIX_SPAWN_DUP2, old, new) for old, new in ((told, 0), (said, 1), (said, 2))]
        try:
            pid = os.posix_spawn(hook.path, hook.argv or (hook.path,), environment, file_actions=streams)
        except OSError as error:
            raise _failed(hook, f"cannot be run: {(error.strerror or '').lower()}") from None
        code = _wait(pid, hook.timeout_s or _LONGEST_S)
        if code is None:
            raise _failed(hook, f"has not ended after {hook.timeout_s or _LONGEST_S} s")
        if code:
            last = os.pread(said, _SAID_BYTES, 0).decode(errors="replace").strip()
            raise _failed(hook, f"failed with code {code}" + (f": {last}" if last else ""))
    finally:
        os.close(told)
        os.close(said)


def _wait(pid: int, timeout_s: float) -> int | None:
    """Its exit code, a signal's number below zero; None if it had to be killed."""
    pidfd = clone.pidfd(pid)
    poll = select.poll()
    poll.register(pidfd, select.POLLIN)
    ended = bool(poll.poll(timeout_s * 1000))
    os.close(pidfd)
    if not ended:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    return status if ended else None


def _failed(hook: Hook, what: str) -> StartFailed:
    return StartFailed(128, f"createContainer hook {hook.path} {what}", "it comes with a device, see its description")
