"""Project quotas: how much may be written below a directory, which the file system itself counts and enforces.

Of ext4 and xfs. A directory carries the number of its project and gives it to whatever is made in it;
the file system's table of projects says how much each may have.

Source: quotactl_fd(2); Linux fs/quota/quota.c, include/uapi/linux/dqblk_xfs.h, include/uapi/linux/fs.h.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import secrets
import struct

from runtime.errors import KernelRefused
from runtime.kernel import syscall

_BLOCK = 512
_PROJECT = 2  # of the kinds of quotas, PRJQUOTA
_SET_LIMIT, _GET_QUOTA, _GET_STATE = (ord("X") << 8 | number for number in (4, 3, 8))
_ENFORCED = 1 << 5  # FS_QUOTA_PDQ_ENFD
_HARD_LIMIT = 1 << 3  # FS_DQ_BHARD
_FLAG_PROJECT = 2  # FS_PROJ_QUOTA
# struct fs_disk_quota, struct fs_quota_statv, struct fsxattr.
_DISK_QUOTA = struct.Struct("=bbHI QQQQ QQ iiHH 4s QQQ iHh 8s")
_STATE = struct.Struct("=bBH 156s")
_ATTRIBUTES = struct.Struct("=IIIII8s")
_GET_ATTRIBUTES = 2 << 30 | _ATTRIBUTES.size << 16 | ord("X") << 8 | 31
_SET_ATTRIBUTES = 1 << 30 | _ATTRIBUTES.size << 16 | ord("X") << 8 | 32
_INHERIT = 0x200  # FS_XFLAG_PROJINHERIT
# Far from the small numbers that administrators give, and that Docker counts up from.
_FIRST, _LAST = 1 << 30, (1 << 31) - 1


class NoQuotas(Exception):
    """The file system has no project quotas, or does not enforce them; says why and what would help."""

    def __init__(self, why: str, hint: str) -> None:
        super().__init__(why)
        self.hint = hint


def check(path: str | os.PathLike[str]) -> None:
    """See whether project quotas are enforced where a directory lies.

    Raises:
        NoQuotas.
    """
    directory = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        _check(directory)
    finally:
        os.close(directory)


def limit(directory: int, size_bytes: int) -> None:
    """Limit what may be written below an empty directory, by giving it a project of its own.

    Args:
        directory: Its descriptor. What is in it already does not count.

    Raises:
        NoQuotas, KernelRefused.
    """
    _check(directory)
    project = _unused(directory)
    try:
        _set_limit(directory, project, size_bytes)
        flags, extent, _, _, copied, rest = _attributes(directory)
        attributes = _ATTRIBUTES.pack(flags | _INHERIT, extent, 0, project, copied, rest)
        fcntl.ioctl(directory, _SET_ATTRIBUTES, attributes)
    except OSError as error:
        raise KernelRefused("set a project quota", error) from None


def lift(directory: int) -> None:
    """Take back limit(): the directory keeps its project, which may have what it wants; without one nothing happens."""
    try:
        flags, _, _, project, _, _ = _attributes(directory)
        if flags & _INHERIT and _FIRST <= project <= _LAST:
            _set_limit(directory, project, 0)
    except OSError as error:
        if error.errno not in (errno.ENOTTY, errno.EOPNOTSUPP, errno.ENOSYS, errno.ESRCH, errno.EROFS):
            raise KernelRefused("lift a project quota", error) from None


def _check(directory: int) -> None:
    answer = bytearray(_STATE.pack(1, 0, 0, b""))
    try:
        _quotactl(directory, _GET_STATE, 0, answer)
        flags = _STATE.unpack(answer)[2]
    except OSError as error:
        flags = 0
        if error.errno == errno.ENOSYS and not _has_quotactl():
            raise NoQuotas("this kernel has no quotactl_fd(2)", "use a kernel that has it: Linux 5.14") from None
    if not flags & _ENFORCED:
        kind, place = _file_system(directory)
        helps = {
            "ext4": "unmount it, tune2fs -O project,quota -Q prjquota DEVICE, and mount it with -o prjquota",
            "xfs": "mount it with -o prjquota; where that is /, boot with rootflags=prjquota",
        }
        raise NoQuotas(
            f"the {kind} at {place} enforces no project quotas",
            helps.get(kind, "put the engine's root on an xfs or ext4 that is mounted with -o prjquota"),
        )


def _has_quotactl() -> bool:
    """Whether it is the kernel that lacks the call, and not the file system quotas: both say ENOSYS."""
    try:
        syscall.call(syscall.QUOTACTL_FD, -1, syscall.uint(_command(_GET_STATE)), 0, None)
    except OSError as error:
        return error.errno != errno.ENOSYS
    return True


def _unused(directory: int) -> int:
    """A number that no project on this file system has, whoever made it."""
    while True:
        project = secrets.randbelow(_LAST - _FIRST) + _FIRST
        quota = bytearray(_DISK_QUOTA.size)
        try:
            _quotactl(directory, _GET_QUOTA, project, quota)
        except OSError as error:
            if error.errno in (errno.ENOENT, errno.ESRCH):
                return project
            raise KernelRefused("look for a project quota", error) from None
        used = _DISK_QUOTA.unpack(quota)
        if not any(used[4:10]):  # neither limits nor anything that counts
            return project


def _set_limit(directory: int, project: int, size_bytes: int) -> None:
    blocks = -(-size_bytes // _BLOCK)
    quota = bytearray(_DISK_QUOTA.size)
    _DISK_QUOTA.pack_into(
        *(quota, 0, 1, _FLAG_PROJECT, _HARD_LIMIT, project, blocks, 0, 0, 0, 0, 0, 0, 0, 0, 0, b""),
        *(0, 0, 0, 0, 0, 0, b""),
    )
    _quotactl(directory, _SET_LIMIT, project, quota)


def _attributes(directory: int) -> tuple[int, int, int, int, int, bytes]:
    answer = bytearray(_ATTRIBUTES.size)
    fcntl.ioctl(directory, _GET_ATTRIBUTES, answer)
    flags, extent, extents, project, copied, rest = _ATTRIBUTES.unpack(answer)
    return flags, extent, extents, project, copied, rest


def _quotactl(directory: int, command: int, project: int, answer: bytearray) -> None:
    buffer = (ctypes.c_char * len(answer)).from_buffer(answer)
    what, which = syscall.uint(_command(command)), syscall.uint(project)
    syscall.waiting("syscall", syscall.QUOTACTL_FD, directory, what, which, ctypes.byref(buffer))


def _command(number: int) -> int:
    return number << 8 | _PROJECT


def _file_system(directory: int) -> tuple[str, str]:
    """What it is and where it is mounted, of the one that a directory lies on."""
    device = os.fstat(directory).st_dev
    wanted = f"{os.major(device)}:{os.minor(device)}"
    found = ("file system", os.readlink(f"/proc/self/fd/{directory}"))
    with open("/proc/self/mountinfo") as lines:
        for line in lines:
            fields, _, rest = line.partition(" - ")
            if fields.split()[2] == wanted:
                found = (rest.split()[0], fields.split()[4])
                if fields.split()[3] == "/":
                    break
    return found
