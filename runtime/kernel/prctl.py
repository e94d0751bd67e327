"""What a process may set about itself: its death signal, dumpability, capabilities, file-system ids."""

from __future__ import annotations

import ctypes
import errno
import os
from collections.abc import Iterable

from runtime.kernel import syscall

_SET_PDEATHSIG = 1
_SET_DUMPABLE = 4
_SET_KEEPCAPS = 8
_SET_NAME = 15
_CAPBSET_READ = 23
_CAPBSET_DROP = 24
_GET_SECUREBITS = 27
_SET_SECUREBITS = 28
_SET_CHILD_SUBREAPER = 36
_SET_NO_NEW_PRIVS = 38
_CAP_AMBIENT = 47
_AMBIENT_CLEAR_ALL = 4
_NO_SETUID_FIXUP = 1 << 2
_CAPABILITY_VERSION_3 = 0x20080522

# In the order of their numbers: linux/capability.h.
CAPABILITIES = (
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_DAC_READ_SEARCH",
    "CAP_FOWNER",
    "CAP_FSETID",
    "CAP_KILL",
    "CAP_SETGID",
    "CAP_SETUID",
    "CAP_SETPCAP",
    "CAP_LINUX_IMMUTABLE",
    "CAP_NET_BIND_SERVICE",
    "CAP_NET_BROADCAST",
    "CAP_NET_ADMIN",
    "CAP_NET_RAW",
    "CAP_IPC_LOCK",
    "CAP_IPC_OWNER",
    "CAP_SYS_MODULE",
    "CAP_SYS_RAWIO",
    "CAP_SYS_CHROOT",
    "CAP_SYS_PTRACE",
    "CAP_SYS_PACCT",
    "CAP_SYS_ADMIN",
    "CAP_SYS_BOOT",
    "CAP_SYS_NICE",
    "CAP_SYS_RESOURCE",
    "CAP_SYS_TIME",
    "CAP_SYS_TTY_CONFIG",
    "CAP_MKNOD",
    "CAP_LEASE",
    "CAP_AUDIT_WRITE",
    "CAP_AUDIT_CONTROL",
    "CAP_SETFCAP",
    "CAP_MAC_OVERRIDE",
    "CAP_MAC_ADMIN",
    "CAP_SYSLOG",
    "CAP_WAKE_ALARM",
    "CAP_BLOCK_SUSPEND",
    "CAP_AUDIT_READ",
    "CAP_PERFMON",
    "CAP_BPF",
    "CAP_CHECKPOINT_RESTORE",
)
_ZERO = ctypes.c_ulong(0)
_NUMBERS = {name: number for number, name in enumerate(CAPABILITIES)}


class _CapHeader(ctypes.Structure):
    _fields_ = (("version", ctypes.c_uint32), ("pid", ctypes.c_int))


class _CapData(ctypes.Structure):
    _fields_ = tuple(
        (f"{name}{half}", ctypes.c_uint32) for half in (0, 1) for name in ("effective", "permitted", "inheritable")
    )


def _prctl(option: int, first: int = 0, second: int = 0) -> int:
    return syscall.libc("prctl", option, ctypes.c_ulong(first), ctypes.c_ulong(second), _ZERO, _ZERO)


def die_with_parent(signum: int) -> None:
    """Be sent a signal when the parent dies; forgotten when ids or capabilities change."""
    _prctl(_SET_PDEATHSIG, signum)


def set_dumpable(dumpable: bool) -> None:
    _prctl(_SET_DUMPABLE, int(dumpable))


def set_name(name: str) -> None:
    """Show up under this name, at most 15 bytes, in ps -e and top."""
    buffer = ctypes.create_string_buffer(name.encode()[:15])
    syscall.libc("prctl", _SET_NAME, buffer, 0, 0, 0)


def set_domain_name(name: str) -> None:
    encoded = name.encode()
    syscall.libc("setdomainname", encoded, syscall.size(len(encoded)))


def become_subreaper() -> None:
    _prctl(_SET_CHILD_SUBREAPER, 1)


def keep_capabilities() -> None:
    """Let what this process is permitted outlive its leaving uid 0; until it becomes a program."""
    _prctl(_SET_KEEPCAPS, 1)


def forbid_new_privileges() -> None:
    _prctl(_SET_NO_NEW_PRIVS, 1)


def has_capability(name: str) -> bool:
    """Tell whether the bounding set still has it; one that this kernel does not know it has not."""
    try:
        return _prctl(_CAPBSET_READ, _NUMBERS[name]) == 1
    except OSError:
        return False


def limit_capabilities(names: Iterable[str]) -> frozenset[str]:
    """Shrink the bounding set to names, and return those of them that this process has. Needs CAP_SETPCAP."""
    header, data = _CapHeader(version=_CAPABILITY_VERSION_3, pid=0), _CapData()
    syscall.libc("capget", syscall.pointer(header), syscall.pointer(data))
    permitted = data.permitted0 | data.permitted1 << 32
    wanted = frozenset(names)
    # Also those that a newer kernel may have and we do not know; EINVAL tells where it knows no more.
    for number in range(64):
        if number < len(CAPABILITIES) and CAPABILITIES[number] in wanted:
            continue
        try:
            _prctl(_CAPBSET_DROP, number)
        except OSError as error:
            if error.errno == errno.EINVAL:
                break
            raise
    return frozenset(name for name in wanted if permitted >> _NUMBERS[name] & 1)


def set_capabilities(names: Iterable[str]) -> None:
    """Hold exactly these, permitted and effective; nothing is inheritable or ambient.

    Nothing inheritable, so that a program without file capabilities that runs as another user gains
    none. Source: moby GHSA-2mm7-x5h6-5pvq.
    """
    mask = 0
    for name in names:
        mask |= 1 << _NUMBERS[name]
    low, high = mask & 0xFFFFFFFF, mask >> 32
    _prctl(_CAP_AMBIENT, _AMBIENT_CLEAR_ALL)
    header = _CapHeader(version=_CAPABILITY_VERSION_3, pid=0)
    data = _CapData(effective0=low, permitted0=low, effective1=high, permitted1=high)
    syscall.libc("capset", syscall.pointer(header), syscall.pointer(data))


class FileIds:
    """Inside the block this process touches files as another user, with all its capabilities."""

    def __init__(self, uid: int, gid: int) -> None:
        self._uid, self._gid = uid, gid

    def __enter__(self) -> None:
        self._bits = _prctl(_GET_SECUREBITS)
        _prctl(_SET_SECUREBITS, self._bits | _NO_SETUID_FIXUP)
        _set_file_ids(self._uid, self._gid)

    def __exit__(self, *_: object) -> None:
        _set_file_ids(0, 0)
        _prctl(_SET_SECUREBITS, self._bits)


def _set_file_ids(uid: int, gid: int) -> None:
    # They answer with the id before, never with an error.
    syscall.libc("setfsgid", gid)
    syscall.libc("setfsuid", uid)


def reset_reserved_signals() -> None:
    """Give signals 32 and 33 their defaults again, which CLONE_CLEAR_SIGHAND leaves to those who ignore them.

    glibc keeps the two to itself: it refuses sigaction(2) for them, and its posix_spawn(3) leaves them ignored.
    """
    # Source: glibc sysdeps/unix/sysv/linux/spawni.c, __spawni_child(); Linux's tables of system calls.
    number = {"x86_64": 13, "aarch64": 134, "riscv64": 134}.get(os.uname().machine)
    if number is None:
        return
    default = ctypes.create_string_buffer(32)  # struct sigaction of the kernel's: SIG_DFL, no flags, no mask
    for reserved in (32, 33):
        syscall.call(number, reserved, default, None, syscall.size(8))
