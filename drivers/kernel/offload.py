"""What a link leaves to its card, or would if it had one."""

from __future__ import annotations

import ctypes
import fcntl
import socket
import struct
from pathlib import Path

from drivers.kernel.errors import KernelError
from drivers.kernel.namespace import open_in

# Source: Linux include/uapi/linux/sockios.h and ethtool.h.
_SIOCETHTOOL = 0x8946
_ETHTOOL_GTXCSUM, _ETHTOOL_STXCSUM = 0x16, 0x17
_VALUE = struct.Struct("=II")  # command, data
_IFREQ = struct.Struct("16sP16x")


def tx_checksum(link: str, netns: Path | None = None) -> bool:
    """Whether packets leave this link with their checksums still to be computed."""
    return bool(_ethtool(link, _ETHTOOL_GTXCSUM, 0, netns))


def compute_checksums(link: str, netns: Path | None = None) -> None:
    """Let packets leave this link with their checksums in place.

    Like: ethtool -K LINK tx off
    """
    _ethtool(link, _ETHTOOL_STXCSUM, 0, netns)


def _ethtool(link: str, command: int, data: int, netns: Path | None) -> int:
    value = ctypes.create_string_buffer(_VALUE.pack(command, data), _VALUE.size)
    request = _IFREQ.pack(link.encode(), ctypes.addressof(value))
    try:
        with open_in(netns, lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)) as opened:
            fcntl.ioctl(opened, _SIOCETHTOOL, request)
    except KernelError:
        raise
    except OSError as error:
        raise KernelError(error.errno or 0, f"compute checksums on link {link}") from error
    return int(_VALUE.unpack(value.raw)[1])
