"""What the process that copies files does, from its start to its end.

All that it needs is imported before it enters the container: afterwards an import would load what the
container wrote. For the same reason it asks for no user's name: the C library would load the container's
own modules for that (CVE-2019-14271).
"""

from __future__ import annotations

import bz2  # noqa: F401 - what tarfile would import once it meets such a stream
import errno
import gzip  # noqa: F401
import json
import lzma  # noqa: F401
import os
import shutil
import signal
import stat
import sys
import tarfile
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any, NoReturn

from runtime.codec import decode_mount, decode_rootfs
from runtime.errors import RuntimeFault
from runtime.kernel import clone, mount, prctl
from runtime.kernel.path import make_in, of_the_kernel
from runtime.launch.container import become_root
from runtime.launch.filesystems import part_of
from runtime.spawner.overlay import MountMaker, Scratch, open_source
from runtime.spec import BindMount, LayersMount, TmpfsMount

Order = dict[str, Any]


def run(tell: int, order: Order) -> NoReturn:
    tarfile.pwd = tarfile.grp = None  # type: ignore[attr-defined]
    prctl.set_dumpable(False)
    prctl.die_with_parent(signal.SIGKILL)
    try:
        _enter(order)
        _VERBS[order["verb"]](order, lambda answer: _say(tell, answer))
    except RuntimeFault as fault:
        _say(tell, {"error": str(fault), "kind": fault.kind, "hint": fault.hint})
    except BrokenPipeError:
        pass  # who wanted it has left
    except (OSError, tarfile.TarError) as error:
        _say(tell, {"error": _words(error, order["path"]), "kind": _kind(error), "hint": ""})
    os._exit(0)


def _say(tell: int, answer: Order) -> None:
    os.write(tell, json.dumps(answer).encode() + b"\n")


def _words(error: Exception, path: str) -> str:
    if isinstance(error, OSError):
        named = error.filename if isinstance(error.filename, str) else path
        return f"{named}: {os.strerror(error.errno) if error.errno else error}"
    return f"the tar stream is broken: {error}"


def _kind(error: Exception) -> str:
    kinds = {
        errno.ENOENT: "not_found",
        errno.EROFS: "forbidden",
        errno.EACCES: "forbidden",
        errno.EPERM: "forbidden",
        errno.ENOSPC: "unavailable",
    }
    return kinds.get(error.errno or 0, "invalid") if isinstance(error, OSError) else "invalid"


# --- entering -----------------------------------------------------------------------------------


def _enter(order: Order) -> None:
    """Have the container's root as our own."""
    if "pidfd" in order:
        users = clone.CLONE_NEWUSER if order["own_users"] else 0
        clone.enter(order["pidfd"], users | clone.CLONE_NEWNS)
        if users:
            become_root()
        return
    clone.unshare(clone.CLONE_NEWNS)
    mount.make_rprivate("/")
    root = MountMaker(None, None, Scratch()).root(decode_rootfs(order["rootfs"]))
    place = os.open("/", os.O_PATH | os.O_CLOEXEC)
    mount.attach(root, place)
    for wanted in map(decode_mount, order["mounts"]):
        if not isinstance(wanted, TmpfsMount):
            _bind(root, wanted)
    os.fchdir(root)
    os.chroot(".")


def _bind(root: int, wanted: BindMount | LayersMount) -> None:
    try:
        copy = _layers(wanted) if isinstance(wanted, LayersMount) else open_source(wanted)
    except RuntimeFault:
        return  # gone from the host; it will be missed when the container starts
    if isinstance(wanted, BindMount) and wanted.read_only:
        mount.change(copy, set_=mount.RDONLY, recursive=wanted.deep_read_only)
    target = make_in(root, wanted.target, stat.S_ISDIR(os.fstat(copy).st_mode))
    mount.attach(copy, target)
    os.close(target)
    os.close(copy)


def _layers(wanted: LayersMount) -> int:
    whole = MountMaker(None, None, Scratch()).layers(wanted)
    return part_of(whole, wanted.subpath) if wanted.subpath else whole


# --- verbs --------------------------------------------------------------------------------------


def _stat(order: Order, say: Any) -> None:
    path = _resolved(order["path"])
    found = os.lstat(path)
    _directory_if_said(order["path"], found)
    link = os.readlink(path) if stat.S_ISLNK(found.st_mode) else ""
    say(
        {
            "name": os.path.basename(_clean(order["path"])) or "/",
            "size": found.st_size,
            "mode": found.st_mode,
            "modified_at": datetime.fromtimestamp(found.st_mtime, UTC).isoformat(),
            "link": os.path.normpath(os.path.join(os.path.dirname(path), link)) if link else "",
        }
    )


def _read(order: Order, say: Any) -> None:
    path = _resolved(order["path"])
    _directory_if_said(order["path"], os.lstat(path))
    say({})
    # As Docker: "dir/." is what is in it, named ".".
    name = "." if order["path"].endswith("/.") else os.path.basename(_clean(order["path"])) or "/"
    with tarfile.open(fileobj=sys.stdout.buffer, mode="w|", format=tarfile.PAX_FORMAT) as tar:
        tar.add(path, name, recursive=False)
        _add_content(tar, path, name)
    sys.stdout.buffer.flush()
    sys.stdout.close()
    say({})


def _add_content(tar: tarfile.TarFile, directory: str, name: str) -> None:
    """What is below; of the kernel's own file systems (/proc, /sys) their places alone, unless one is asked for."""
    if os.path.islink(directory) or not os.path.isdir(directory):
        return
    for entry in sorted(os.listdir(directory)):
        path, inside = os.path.join(directory, entry), f"{name}/{entry}" if name != "/" else entry
        with suppress(FileNotFoundError, ProcessLookupError):  # a running container has just removed it
            tar.add(path, inside, recursive=False)
            if os.lstat(path).st_dev == os.lstat(directory).st_dev or not of_the_kernel(path):
                _add_content(tar, path, inside)


def _write(order: Order, say: Any) -> None:
    directory = _resolved(order["path"], follow=True)
    if not stat.S_ISDIR(os.stat(directory).st_mode):
        raise RuntimeFault(f"{order['path']} is not a directory", "name the directory to put it into", kind="invalid")
    os.chdir(directory)
    with tarfile.open(fileobj=sys.stdin.buffer, mode="r|*") as tar:
        tar.errorlevel = 2
        for member in tar:
            # Our root is the container's, so neither ".." nor a link leads anywhere else.
            member.name = member.name.lstrip("/") or "."
            if not order["keep_owners"]:
                member.uid = member.gid = 0
            _make_room(member, order["replace_kinds"])
            tar.extract(member, ".", set_attrs=True, numeric_owner=True, filter="fully_trusted")
    say({})


def _make_room(member: tarfile.TarInfo, replace_kinds: bool) -> None:
    try:
        mode = os.lstat(member.name).st_mode
    except OSError:
        return
    if stat.S_ISDIR(mode) == member.isdir():
        if not member.isdir():
            os.unlink(member.name)  # not through a link: to its place
        return
    if not replace_kinds:
        is_a, other = ("a directory", "a file") if stat.S_ISDIR(mode) else ("a file", "a directory")
        raise RuntimeFault(f"{member.name} is {is_a} in the container, and {other} in what is copied", kind="invalid")
    if stat.S_ISDIR(mode):
        shutil.rmtree(member.name)
    else:
        os.unlink(member.name)


def _clean(path: str) -> str:
    return os.path.normpath("/" + path.lstrip("/"))


def _resolved(path: str, follow: bool = False) -> str:
    """The path with all links followed but one at its end; that too with follow or a slash behind it."""
    clean = _clean(path)
    if follow or clean == "/" or path.endswith(("/", "/.")):
        return os.path.realpath(clean, strict=True)
    return os.path.join(os.path.realpath(os.path.dirname(clean), strict=True), os.path.basename(clean))


def _directory_if_said(path: str, found: os.stat_result) -> None:
    """A slash at the end of a path says that it is a directory."""
    if path.endswith(("/", "/.")) and not stat.S_ISDIR(found.st_mode):
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), path)


_VERBS = {"stat": _stat, "read": _read, "write": _write}
