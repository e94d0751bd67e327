"""Servers of network file systems by address: the kernel resolves no names, mount(8)'s helpers do."""

from __future__ import annotations

import socket
from dataclasses import replace
from ipaddress import ip_address

from runtime.volumes.options import Options

_NFS, _SMB = ("nfs", "nfs4"), ("cifs", "smb3")
_KEYS = ("addr", "ip")
_VERSIONS = ("vers", "nfsvers", "v2", "v3", "v4", "v4.0", "v4.1", "v4.2")


class NoAddress(Exception):
    """A name that nobody resolves."""


def with_server(options: Options) -> Options:
    """Put the server's address where its name is, or where nothing is said, from the device; and NFS's version.

    Raises:
        NoAddress.

    Source: moby volume/local/local_unix.go, mount(); Linux fs/nfs/fs_context.c, fs/smb/client/fs_context.c.
    """
    if options.type not in (*_NFS, *_SMB):
        return options
    given = next((value for key, value in options.values if key in _KEYS and value), "")
    host = given or _host(options)
    if not host:
        return options  # the kernel will ask for it
    others = tuple(pair for pair in options.values if pair[0] not in _KEYS)
    return replace(options, values=(("addr", _address(host)), *_version(options), *others))


def _version(options: Options) -> tuple[tuple[str, str], ...]:
    """What mount(2) means where nothing is said; fsopen(2) means nothing then."""
    said = {key for key, _ in options.values}
    return (
        (("vers", "4" if options.type == "nfs4" else "3"),) if options.type in _NFS and not said & {*_VERSIONS} else ()
    )


def _host(options: Options) -> str:
    if options.type in _SMB:
        return options.device.replace("\\", "/").lstrip("/").partition("/")[0]
    if options.device.startswith("["):
        return options.device[1:].partition("]")[0]
    return options.device.partition(":/")[0]


def _address(host: str) -> str:
    try:
        return str(ip_address(host))
    except ValueError:
        pass
    try:
        return str(socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)[0][4][0])
    except OSError as error:
        raise NoAddress(f"no address of {host} is known: {(error.strerror or str(error)).lower()}") from error
