"""The kernel's own NFS server, told by hand what exportfs and mountd would tell it.

Source: nfsd(7); Linux fs/nfsd/export.c, svc_export_parse(), expkey_parse(); net/sunrpc/svcauth_unix.c, ip_map_parse().
"""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from runtime.kernel.mount import is_known

_NFSD, _RPC = Path("/proc/fs/nfsd"), Path("/proc/net/rpc")
# Any port, asynchronous, without checks of subtrees, with a number for a name; nobody becomes anonymous.
_FLAGS = 0x2 | 0x10 | 0x400 | 0x2000
_ROOT = 0  # The number of what a client of NFSv4 finds at /.


def can_serve() -> bool:
    return is_known("nfsd") and is_known("nfs4")


@contextmanager
def exported(directory: Path) -> Iterator[None]:
    """Give a directory to NFSv4 clients of this machine, as /."""
    subprocess.run(["mount", "-t", "nfsd", "nfsd", _NFSD], check=True)
    try:
        _write(_NFSD / "versions", "-2 -3 +4 +4.1 +4.2")
        until = int(time.time()) + 3600
        _write(_RPC / "auth.unix.ip/channel", f"nfsd 127.0.0.1 {until} lab")
        _write(_RPC / "nfsd.export/channel", f"lab {directory} {until} {_FLAGS} 65534 65534 {_ROOT}")
        _write(_RPC / "nfsd.fh/channel", rf"lab 1 \x{_ROOT:08x} {until} {directory}")
        for time_ in ("nfsv4leasetime", "nfsv4gracetime"):
            _write(_NFSD / time_, "10")  # so long files cannot be opened; nobody has anything to reclaim
        _write(_NFSD / "portlist", "tcp 2049")
        _write(_NFSD / "threads", "2")
        yield
    finally:
        _write(_NFSD / "threads", "0")
        for cache in ("nfsd.fh", "nfsd.export", "auth.unix.ip"):
            _write(_RPC / cache / "flush", str(int(time.time()) + 1))
        subprocess.run(["umount", _NFSD], check=True)


def _write(file: Path, text: str) -> None:
    file.write_text(text + "\n")
