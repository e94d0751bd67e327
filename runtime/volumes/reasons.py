"""Why the kernel did not mount a volume, in one sentence, and what may help."""

from __future__ import annotations

import errno
import os

from runtime.errors import KernelRefused
from runtime.volumes.errors import VolumeUnusable
from runtime.volumes.options import Options

_SECRETS = ("password", "pass", "password2", "key")
_OF_THE_DEVICE = (errno.ENOENT, errno.ENOTBLK)
_UNREACHED = (
    *(errno.ETIMEDOUT, errno.ECONNREFUSED, errno.EHOSTUNREACH, errno.ENETUNREACH, errno.EHOSTDOWN, errno.ENETDOWN),
    *(errno.ECONNRESET, errno.ECONNABORTED, errno.ENOTCONN),
)


def why_not_mounted(name: str, options: Options, refused: KernelRefused) -> VolumeUnusable:
    """The error to raise; what is secret among the options is not in it."""
    why = str(refused)
    if refused.errno in (*_OF_THE_DEVICE, *_UNREACHED):  # "Can't lookup blockdev", "Couldn't follow remote path"
        why = f"cannot mount {options.type} from {options.device}: {os.strerror(refused.errno).lower()}"
    for key, value in options.values:
        if key in _SECRETS and value:
            why = why.replace(value, "***")
    return VolumeUnusable(name, why, refused.hint or _hint(options, refused.errno), kind=_kind(refused))


def _kind(refused: KernelRefused) -> str:
    return "" if refused.kind == "internal" else refused.kind


def _hint(options: Options, number: int) -> str:
    device = options.device
    if number in _UNREACHED:
        return "the server must be reached from this machine, whatever networks the container has"
    hints = {
        errno.ENOENT: f"is {device} there?",
        errno.ENXIO: f"nothing is behind {device}",
        errno.ENOTBLK: f"a file becomes a device with losetup: losetup --find --show {device}",
        errno.EINVAL: f"is there a file system {options.type} on {device}? the kernel's log (dmesg) says more",
        errno.EUCLEAN: f"the file system is damaged: fsck {device}",
        errno.EBUSY: f"somebody else has {device}",
        errno.EACCES: "if it is write-protected or exported read-only, add o=ro",
        errno.EROFS: "if it is write-protected, add o=ro",
    }
    return hints.get(number, "")
