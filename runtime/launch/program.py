"""The last steps before a program: identity, limits, capabilities, exec. The same for every process."""

from __future__ import annotations

import errno
import os
import resource
import signal
import stat
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import NoReturn

from runtime.errors import KernelRefused, StartFailed
from runtime.kernel import prctl, seccomp
from runtime.launch import terminal
from runtime.launch.control import Control
from runtime.launch.user import User, resolve
from runtime.spec import Process, Ulimit

_DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_UNLIMITED = -1
_MAY_FILTER = "CAP_SYS_ADMIN"


@dataclass(frozen=True, slots=True)
class Ready:
    """Args:
    capabilities: What it is to have; until execute() it has them all.
    """

    argv: tuple[str, ...]
    environment: dict[str, str]
    capabilities: tuple[str, ...]
    no_new_privileges: bool


def prepare(process: Process, control: Control, stdio: Sequence[int] | None, *, make_place: bool = True) -> Ready:
    """Become the user, with the rights, limits, directory and descriptors of the program.

    Args:
        stdio: Descriptors for 0, 1 and 2; None with process.terminal: its master goes to the spawner.
        make_place: Make its working directory if there is none.
    """
    os.setsid()
    user = resolve(process.user, process.groups)
    if process.terminal or stdio is None:
        master, slave = terminal.open_pair()
        control.tell({"terminal": True}, [master])
        terminal.make_controlling(slave)
        stdio = (slave, slave, slave)
    _take_stdio(stdio, user)
    if make_place:
        _make_directory(process.working_dir)
    _change_directory(process.working_dir)
    for limit in process.ulimits:
        _set_limit(limit)
    capabilities = _become(user, process)
    os.umask(process.umask)
    environment = dict(process.environment)
    environment.setdefault("HOME", user.home)
    return Ready(process.argv, environment, capabilities, process.no_new_privileges)


def execute(ready: Ready, control: Control, filter_: bytes) -> NoReturn:
    """Let the program take this process's place.

    Args:
        filter_: Decides about its system calls; empty for none.
    """
    # Here, since changing ids has made the kernel forget it; giving up capabilities does not.
    prctl.die_with_parent(signal.SIGKILL)
    control.exit_if_orphaned()
    control.tell({"exec": True})
    # As late as can be: what the filter forbids is forbidden to us as well.
    if filter_ and not ready.no_new_privileges:
        prctl.set_capabilities((*ready.capabilities, _MAY_FILTER))
        seccomp.load(filter_)
    prctl.set_capabilities(ready.capabilities)
    if ready.no_new_privileges:
        prctl.forbid_new_privileges()
        if filter_:
            seccomp.load(filter_)
    _execute(ready.argv, ready.environment)


def set_score(process: Process) -> None:
    """When the kernel kills it, while this still is the host's root, who may lower that."""
    if process.oom_score_adj is not None:
        _write_own("oom_score_adj", str(process.oom_score_adj), "lowering it needs CAP_SYS_RESOURCE on the host")


def set_label(process: Process) -> None:
    """What AppArmor is to confine the program to come by; the host's /proc tells it."""
    if process.apparmor:
        _write_own("attr/apparmor/exec", f"exec {process.apparmor}", "see aa-status for the profiles that are loaded")


def _write_own(name: str, value: str, hint: str) -> None:
    try:
        file = os.open(f"/proc/self/{name}", os.O_WRONLY | os.O_CLOEXEC)
        try:
            os.write(file, value.encode())
        finally:
            os.close(file)
    except OSError as error:
        raise KernelRefused(f"set {name} to {value}", error, hint=hint) from None


def _take_stdio(stdio: Sequence[int], user: User) -> None:
    for number, fd in enumerate(stdio):
        # So that the program may open /dev/stdout, which is a link to the pipe that we made as root.
        if stat.S_IFMT(os.fstat(fd).st_mode) in (stat.S_IFIFO, stat.S_IFCHR) and not _is_null(fd):
            # A pipe of the client's own has an owner that this user namespace does not know.
            with suppress(OSError):
                os.fchown(fd, user.uid, -1)
        os.dup2(fd, number)


def _is_null(fd: int) -> bool:
    return os.fstat(fd).st_rdev == os.makedev(1, 3)


def _make_directory(path: str) -> None:
    if os.path.lexists(path):
        return
    try:
        os.makedirs(path, 0o755)
    except OSError as error:
        raise StartFailed(128, f"cannot make the working directory {path}: {error.strerror}") from None


def _change_directory(path: str) -> None:
    try:
        os.chdir(path)
    except FileNotFoundError:
        raise StartFailed(
            127,
            f"the working directory {path} is not in the container",
            "name one that is there, or make it first",
            kind="not_found",
        ) from None
    except OSError as error:
        raise StartFailed(128, f"cannot make {path} the working directory: {error.strerror}") from None


def _set_limit(limit: Ulimit) -> None:
    number = getattr(resource, f"RLIMIT_{limit.name.upper()}", None)
    if number is None:
        raise StartFailed(128, f"ulimit {limit.name} is unknown", "see getrlimit(2) for the names")
    soft, hard = (resource.RLIM_INFINITY if value == _UNLIMITED else value for value in (limit.soft, limit.hard))
    try:
        resource.setrlimit(number, (soft, hard))
    except ValueError:
        # Python's words for EPERM and for soft > hard.
        allowed = resource.getrlimit(number)[1]
        shown = "unlimited" if allowed == resource.RLIM_INFINITY else allowed
        raise StartFailed(
            128,
            f"ulimit {limit.name}={limit.soft}:{limit.hard} cannot be given: the machine allows at most {shown}",
            "ask for less; more needs CAP_SYS_RESOURCE on the host",
            kind="forbidden",
        ) from None


def _become(user: User, process: Process) -> tuple[str, ...]:
    """Become the user, and return the capabilities that its program is to have."""
    try:
        capabilities = prctl.limit_capabilities(process.capabilities)
        prctl.keep_capabilities()
        os.setgroups(user.groups)
        os.setresgid(user.gid, user.gid, user.gid)
        os.setresuid(user.uid, user.uid, user.uid)
    except OSError as error:
        raise StartFailed(
            128,
            f"cannot become user {user.uid} and groups {', '.join(map(str, user.groups))}: {error.strerror}",
            "ids must lie within the container's id map",
        ) from None
    return tuple(capabilities) if user.uid == 0 else ()


def _execute(argv: tuple[str, ...], environment: dict[str, str]) -> NoReturn:
    """Replace this process by a program, looked up in PATH unless its name has a slash.

    Raises:
        StartFailed: 127 or 126, as a shell has it.
    """
    name = argv[0]
    if "/" in name:
        raise _failure(name, _try(name, argv, environment))
    worst = errno.ENOENT
    for directory in environment.get("PATH", _DEFAULT_PATH).split(":"):
        failed = _try(f"{directory or '.'}/{name}", argv, environment)
        if failed not in (errno.ENOENT, errno.ENOTDIR):
            worst = failed
            if failed != errno.EACCES:
                break
    if worst == errno.ENOENT:
        raise StartFailed(
            127,
            f'exec: "{name}": not found in PATH of the container',
            "give its full path, or set PATH",
            kind="not_found",
        )
    raise _failure(name, worst)


def _try(path: str, argv: tuple[str, ...], environment: dict[str, str]) -> int:
    try:
        os.execve(path, argv, environment)
    except OSError as error:
        return error.errno or 0
    except ValueError as error:  # a NUL in an argument, a "=" in a variable's name
        raise StartFailed(128, f"the command or its environment cannot be passed to a program: {error}") from None


def _failure(path: str, failed: int) -> StartFailed:
    if failed in (errno.ENOENT, errno.ENOTDIR):
        if os.path.exists(path):
            return StartFailed(127, f'exec: "{path}": its interpreter or loader is not in the container')
        return StartFailed(127, f'exec: "{path}": no such file in the container', kind="not_found")
    if failed == errno.EACCES:
        if os.path.isdir(path):
            return StartFailed(126, f'exec: "{path}": is a directory')
        return StartFailed(126, f'exec: "{path}": not executable', f"chmod +x it, or name its interpreter: sh {path}")
    return StartFailed(126, f'exec: "{path}": {os.strerror(failed)}')
