"""What the kernel refused, in its own words where it gave any."""

from __future__ import annotations

import errno
import os

_KINDS = {
    errno.EPERM: "forbidden",
    errno.EACCES: "forbidden",
    errno.EOPNOTSUPP: "missing_feature",
    errno.EAFNOSUPPORT: "missing_feature",
    errno.EPROTONOSUPPORT: "missing_feature",
    errno.EEXIST: "conflict",
    errno.EBUSY: "conflict",
    errno.EADDRINUSE: "conflict",
    errno.ENODEV: "not_found",
    errno.ENOENT: "not_found",
    errno.ESRCH: "not_found",
}


class KernelError(OSError):
    """The kernel said no.

    Args:
        number: The errno; 0 where only a sentence is known.
        asked: What was asked, as in "add 10.0.0.1/24 to link 5".
        sentence: The kernel's own reason (ext_ack, nft's message), or "".
    """

    hint = ""

    def __init__(self, number: int, asked: str, sentence: str = "") -> None:
        super().__init__(number, f"{asked}: {sentence or os.strerror(number)}")
        self.asked = asked
        self.sentence = sentence

    @property
    def kind(self) -> str:
        """One of netmodel's kinds of errors."""
        return _KINDS.get(self.errno or 0, "internal")

    def __str__(self) -> str:
        return str(self.strerror)

    def __reduce__(self) -> tuple[type[KernelError], tuple[int, str, str]]:
        return type(self), (self.errno or 0, self.asked, self.sentence)
