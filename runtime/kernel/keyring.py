"""The session keyring, which has no namespace: whoever is not given another shares its maker's."""

from __future__ import annotations

import errno
import platform

from runtime.errors import KernelRefused
from runtime.kernel import syscall

_KEYCTL = {"x86_64": 250, "aarch64": 219, "riscv64": 219, "loongarch64": 219, "s390x": 280, "ppc64le": 271}
_NUMBER = _KEYCTL.get(platform.machine())
_JOIN_SESSION_KEYRING = 1


def join_new_session() -> None:
    """Leave the session keyring for an empty one; a kernel without keyrings has none to share."""
    if _NUMBER is None:
        return
    try:
        syscall.call(_NUMBER, _JOIN_SESSION_KEYRING, None)
    except OSError as error:
        if error.errno != errno.ENOSYS:
            raise KernelRefused("give the container a session keyring of its own", error) from None
