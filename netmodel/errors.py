"""What went wrong, in one sentence with a way out, and what it means to HTTP and to the shell.

Each package has exceptions of its own with a `kind` from the closed list below; only here do kinds
become status codes and exit codes, and only here do foreign exceptions become NetmodelError.
"""

from __future__ import annotations

import errno
import functools
from collections.abc import Callable
from typing import Literal, ParamSpec, TypeVar, get_args

Kind = Literal[
    "not_found",
    "conflict",
    "invalid",
    "unavailable",
    "forbidden",
    "internal",
    "not_modified",
    "missing_feature",
]

_HTTP_STATUS: dict[str, int] = {
    "not_found": 404,
    "conflict": 409,
    "invalid": 400,
    "unavailable": 503,
    "forbidden": 403,
    "internal": 500,
    "not_modified": 304,
    "missing_feature": 501,
}

P = ParamSpec("P")
R = TypeVar("R")


class NetmodelError(Exception):
    """Something the user asked for did not work.

    Args:
        message: One sentence that names the thing and the fact.
        hint: The way out, or "".
        kind: Overrides the class's own.
    """

    kind: Kind = "internal"

    def __init__(self, message: str, hint: str = "", kind: Kind | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        if kind is not None:
            self.kind = kind


class NotFound(NetmodelError):
    """No such thing."""

    kind = "not_found"


class Conflict(NetmodelError):
    """It contradicts what is there: a name taken, a network in use, a container that runs."""

    kind = "conflict"


class Invalid(NetmodelError):
    """The request itself is wrong."""

    kind = "invalid"


class Unavailable(NetmodelError):
    """The request is right, but this cannot be had now: a port, an address, room on the disk."""

    kind = "unavailable"


class Forbidden(NetmodelError):
    """It may not be done: not root, a predefined network."""

    kind = "forbidden"


class NotModified(NetmodelError):
    """It is so already: started, stopped."""

    kind = "not_modified"


class MissingFeature(NetmodelError):
    """This machine's kernel cannot do it."""

    kind = "missing_feature"


class StartRefused(NetmodelError):
    """A container's program could not be run.

    Args:
        code: The shell's: 126 not executable, 127 not there, 128 the container could not be built.
    """

    kind = "invalid"

    def __init__(self, message: str, code: int, hint: str = "") -> None:
        super().__init__(message, hint)
        self.code = code


WRITABLE_AGAIN = "dmesg tells why it is; repair it, and make it writable: mount -o remount,rw"


def http_status(kind: str) -> int:
    """The HTTP status of a kind; 500 for one that is unknown."""
    return _HTTP_STATUS.get(kind, 500)


def exit_code(kind: str) -> int:
    """2 when the request was wrong, 1 when it failed."""
    return 2 if kind == "invalid" else 1


def translate(error: BaseException) -> NetmodelError:
    """Say any exception of the lower packages as a NetmodelError.

    Exceptions with a `kind` speak for themselves; of the others only those the user can do
    something about get a kind, the rest is our bug: "internal".
    """
    if isinstance(error, NetmodelError):
        return error
    if isinstance(error, BaseExceptionGroup):
        return _translate_group(error)
    kind = getattr(error, "kind", None)
    hint = str(getattr(error, "hint", "") or "")
    code = getattr(error, "code", None)
    if code in (126, 127, 128):
        return StartRefused(str(error), code, hint)
    if kind in get_args(Kind):
        return NetmodelError(str(error), hint, kind)
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        where = f": cannot write {error.filename}" if error.filename else ""
        return Unavailable(f"the disk is full{where}", "make room on the file system of the engine's root")
    if isinstance(error, OSError) and error.errno == errno.EROFS:
        where = f": cannot write {error.filename}" if error.filename else ""
        return Unavailable(f"the file system is read-only{where}", WRITABLE_AGAIN)
    if isinstance(error, OSError) and error.errno == errno.EMFILE:
        return Unavailable("the engine is out of file descriptors", "raise its limit of open files (ulimit -n)")
    return NetmodelError(f"{type(error).__name__}: {error}", hint)


def _translate_group(group: BaseExceptionGroup[BaseException]) -> NetmodelError:
    parts = [translate(part) for part in group.exceptions]
    if len(parts) == 1:
        return parts[0]
    kinds = {part.kind for part in parts}
    kind: Kind = parts[0].kind if len(kinds) == 1 else "internal"
    hint = next((part.hint for part in parts if part.hint), "")
    return NetmodelError(f"{group.message}: " + "; ".join(str(part) for part in parts), hint, kind)


def translated(method: Callable[P, R]) -> Callable[P, R]:
    """Let a function raise NetmodelError and nothing else; the cause stays attached."""

    @functools.wraps(method)
    def wrapper(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return method(*args, **kwargs)
        except NetmodelError:
            raise
        except Exception as error:
            raise translate(error) from error

    return wrapper
