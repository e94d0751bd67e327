"""Kernel parameters of a container's own namespaces."""

from __future__ import annotations

import errno
import os
from collections.abc import Sequence

from runtime.errors import InvalidSpec, KernelRefused
from runtime.kernel.path import open_in


def write_sysctls(directory: int, wanted: Sequence[tuple[str, str]]) -> list[tuple[str, str]]:
    """Write them, in order, and return those that do not exist there (yet).

    Args:
        directory: The container's /proc/sys, opened before it became read-only.

    Raises:
        KernelRefused: One is not the container's to set, or its value does not fit.
    """
    missing = []
    for name, value in wanted:
        try:
            file = open_in(directory, _as_path(name), os.O_WRONLY)
            try:
                os.write(file, value.encode())
            finally:
                os.close(file)
        except OSError as error:
            if error.errno == errno.ENOENT:
                missing.append((name, value))
                continue
            raise _refusal(name, value, error) from None
    return missing


def _as_path(name: str) -> str:
    """Like sysctl(8): whichever of "." and "/" comes first separates, so that a link may be called eth0.7."""
    dot, slash = name.find("."), name.find("/")
    if slash < 0 or 0 <= dot < slash:
        return name.translate({ord("."): "/", ord("/"): "."})
    return name


def _refusal(name: str, value: str, error: OSError) -> Exception:
    if error.errno == errno.EINVAL:
        return InvalidSpec(f"sysctl {name} does not accept the value {value!r}")
    hint = (
        "it belongs to the whole machine, not to this container" if error.errno in (errno.EPERM, errno.EACCES) else ""
    )
    return KernelRefused(f"set sysctl {name} to {value!r}", error, hint=hint)
