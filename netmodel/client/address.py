"""Where an engine lives: its state root and its socket."""

from __future__ import annotations

import os
import socket

DEFAULT_ROOT = "/var/lib/netmodel"
DEFAULT_HOST = "/run/netmodel/engine.sock"
MAX_PATH = 107  # bytes of sockaddr_un.sun_path, less the final NUL (man 7 unix)


def socket_path(host: str) -> str:
    """Turn what the user calls a host ("unix:///run/x.sock" or a path) into an absolute path.

    Raises:
        ValueError: It names another kind of address.
    """
    scheme, found, rest = host.partition("://")
    if found and scheme != "unix":
        raise ValueError(f"host {host!r}: only unix sockets are served, as a path or unix:///PATH")
    path = rest if found else host
    if not path:
        raise ValueError("host is empty: give the path of a unix socket")
    return os.path.abspath(path)


def connect(path: str) -> socket.socket:
    """Connect to a unix socket whose path may be of any length.

    Raises:
        OSError: ENOENT or ECONNREFUSED when nobody listens.
    """
    connected = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    try:
        if len(os.fsencode(path)) <= MAX_PATH:
            connected.connect(path)
            return connected
        # The kernel copies at most 108 bytes, but follows a directory's descriptor to any depth.
        directory = os.open(os.path.dirname(path), os.O_PATH | os.O_CLOEXEC)
        try:
            connected.connect(f"/proc/self/fd/{directory}/{os.path.basename(path)}")
        finally:
            os.close(directory)
    except BaseException:
        connected.close()
        raise
    return connected
