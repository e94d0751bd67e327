"""What the runtime refuses or cannot do, each in one sentence and with the way out where there is one."""

from __future__ import annotations

import errno as errnos
import os


class RuntimeFault(Exception):
    """Something about processes or storage did not work.

    Args:
        message: One sentence that names the thing and the fact.
        hint: The way out; "" keeps the class's own.
        kind: One of the closed list that netmodel maps to HTTP statuses and exit codes; "" keeps the class's own.
    """

    kind = "internal"
    hint = ""

    def __init__(self, message: str, hint: str = "", *, kind: str = "") -> None:
        super().__init__(message)
        if hint:
            self.hint = hint
        if kind:
            self.kind = kind


class KernelRefused(RuntimeFault):
    """The kernel said no to one request; errno is its number."""

    def __init__(self, what: str, error: OSError, *, detail: str = "", hint: str = "") -> None:
        self.errno = error.errno or 0
        reason = detail or os.strerror(self.errno)
        super().__init__(f"cannot {what}: {reason}", hint)
        if self.errno in (errnos.ENOSYS, errnos.ENODEV):
            self.kind = "missing_feature"
        elif self.errno in (errnos.EPERM, errnos.EACCES):
            self.kind = "forbidden"
        elif self.errno in (errnos.ENOSPC, errnos.EMFILE, errnos.ENFILE, errnos.ENOMEM, errnos.EAGAIN, errnos.EDQUOT):
            self.kind = "unavailable"


class StartFailed(RuntimeFault):
    """A process did not come to run.

    Args:
        code: What a shell would exit with: 127 the program is not there, 126 it cannot be executed, 128
            something before that failed.
    """

    kind = "invalid"

    def __init__(self, code: int, message: str, hint: str = "", *, kind: str = "") -> None:
        super().__init__(message, hint, kind=kind)
        self.code = code


class NoSuchContainer(RuntimeFault):
    kind = "not_found"

    def __init__(self, container: str) -> None:
        super().__init__(f"the spawner has no container {container[:12]}")


class WrongState(RuntimeFault):
    """The container is not in a state in which this can be done."""

    kind = "conflict"


class InvalidSpec(RuntimeFault):
    """What was asked for cannot be, whatever the machine."""

    kind = "invalid"


class SpawnerUnavailable(RuntimeFault):
    """There is no spawner to talk to, or it went away meanwhile."""

    kind = "unavailable"
