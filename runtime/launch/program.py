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

from runtime.errors import StartFailed
from runtime.kernel import prctl
from runtime.launch import terminal
from runtime.launch.control import Control
from runtime.launch.user import User, resolve
from runtime.spec import Process, Ulimit

_DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_UNLIMITED = -1


@dataclass(frozen=True, slots=True)
class Ready:
    argv: tuple[str, ...]
    environment: dict[str, str]


def prepare(process: Process, control: Control, stdio: Sequence[int] | None) -> Ready:
    """Become the user, with the rights, limits, directory and descriptors of the program.

    Args:
        stdio: Descriptors for 0, 1 and 2; None with process.terminal: its master goes to the spawner.
    """
    os.setsid()
    user = resolve(process.user, process.groups)
    if process.terminal or stdio is None:
        master, slave = terminal.open_pair()
        control.tell({"terminal": True}, [master])
        terminal.make_controlling(slave)
        stdio = (slave, slave, slave)
    _take_stdio(stdio, user)
    _change_directory(process.working_dir)
    for limit in process.ulimits:
        _set_limit(limit)
    _become(user, process)
    os.umask(process.umask)
    environment = dict(process.environment)
    environment.setdefault("HOME", user.home)
    return Ready(process.argv, environment)


def execute(ready: Ready, control: Control) -> NoReturn:
    """Let the program take this process's place."""
    # Here, since changing ids and capabilities has made the kernel forget it.
    prctl.die_with_parent(signal.SIGKILL)
    control.exit_if_orphaned()
    control.tell({"exec": True})
    _execute(ready.argv, ready.environment)


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


def _change_directory(path: str) -> None:
    try:
        if not os.path.lexists(path):
            os.makedirs(path, 0o755)
        os.chdir(path)
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


def _become(user: User, process: Process) -> None:
    """Give up what the process is not to have. The order matters: each step needs what a later one drops."""
    try:
        capabilities = prctl.limit_capabilities(process.capabilities)
        os.setgroups(user.groups)
        os.setresgid(user.gid, user.gid, user.gid)
        os.setresuid(user.uid, user.uid, user.uid)
    except OSError as error:
        raise StartFailed(
            128,
            f"cannot become user {user.uid} and groups {', '.join(map(str, user.groups))}: {error.strerror}",
            "ids must lie within the container's id map",
        ) from None
    # Leaving uid 0 has dropped everything; for root it is cut down to what was asked for.
    prctl.set_capabilities(capabilities if user.uid == 0 else ())
    if process.no_new_privileges:
        prctl.forbid_new_privileges()


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
