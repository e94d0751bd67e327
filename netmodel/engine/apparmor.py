"""AppArmor: what the kernel confines processes by, and the profiles that containers have who name none.

The profiles are this root's own. One is for containers with a user namespace, where the kernel itself sees to it
that only what is theirs can be mounted or set; the other, for the host's root, forbids mounting and its like.
apparmor_parser compiles them; the kernel keeps them until the last container has ended.
"""

from __future__ import annotations

import logging
import shutil
import subprocess
import threading
from contextlib import suppress
from pathlib import Path

UNCONFINED = "unconfined"
DOCKERS = "docker-default"
PARSER = "apparmor_parser"
_ENABLED = Path("/sys/module/apparmor/parameters/enabled")
_FILES = Path("/sys/kernel/security/apparmor")
_PARSER_S = 60

# Whatever is not allowed in a profile is forbidden, and what is denied stays so whoever allows it. The paths of
# /proc/sys that are left over are of namespaces: net, fs/mqueue, and shm*, msg* and sem* of kernel.
# Source: apparmor.d(5); what Docker denies is in github.com/moby/profiles, apparmor/template.go.
_PROFILE = """\
profile {name} flags=(attach_disconnected,mediate_deleted) {{
  capability,
  file,
  network,
  unix,
{mounting}
  signal (receive) peer={outside},
  signal (send,receive) peer={name},
  ptrace (read,readby,trace,tracedby) peer={name},

  deny /proc/* w,
  deny /proc/{{kcore,kmem,mem,sysrq-trigger}} rwklx,
  deny /proc/[^0-9s]*/** wklx,
  deny /proc/{{scsi,sysvipc}}/** wklx,
  deny /proc/sys/[^fkn]** wklx,
  deny /proc/sys/fs/[^m]** wklx,
  deny /proc/sys/fs/m[^q]** wklx,
  deny /proc/sys/kernel/[^ms]** wklx,
  deny /proc/sys/kernel/m[^s]** wklx,
  deny /proc/sys/kernel/s[^eh]** wklx,
  deny /proc/sys/kernel/s[eh][^m]** wklx,

  deny /sys/[^f]*/** wklx,
  deny /sys/f[^s]*/** wklx,
  deny /sys/fs/[^c]*/** wklx,
  deny /sys/fs/c[^g]*/** wklx,
  deny /sys/devices/virtual/powercap/** rwklx,
  deny /sys/firmware/** rwklx,
  deny /sys/kernel/{{debug,security,tracing}}/** rwklx,
}}
"""
_OWN_MOUNTS = "  mount,\n  umount,\n  pivot_root,"
_NO_MOUNTS = "  umount,\n  deny mount,"

log = logging.getLogger(__name__)


class DefaultProfiles:
    """Args:
    name: Of the one for containers with a user namespace.

    Attributes:
        problem: Why there are none though the machine runs AppArmor, or "".
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._lock = threading.Lock()
        self._loaded: set[str] = set()  # by this engine: an earlier version's may say something else
        self.problem = ""

    def label(self, own_users: bool) -> str:
        """That of a container who names none; "" leaves it unconfined.

        Args:
            own_users: It has a user namespace.
        """
        if not enabled():
            return ""
        name = self._name if own_users else f"{self._name}_host"
        with self._lock:
            there = profiles()
            if (name not in self._loaded or name not in there) and self._load(name, own_users):
                self._loaded.add(name)
                return name
        if name in there:
            return name
        return DOCKERS if DOCKERS in there else ""

    def unload(self) -> None:
        """Take them out of the kernel; whoever was confined by them would be no longer."""
        for name in profiles() & {self._name, f"{self._name}_host"}:
            with suppress(OSError):
                (_FILES / ".remove").write_text(name)

    def _load(self, name: str, own_users: bool) -> bool:
        why = load(text_of(name, own_users))
        if why and why != self.problem:
            log.warning("containers have no AppArmor profile of ours: %s", why)
        self.problem = why
        return not why


def text_of(name: str, own_users: bool) -> str:
    """A profile as apparmor_parser reads it."""
    outside = label_of("self")
    return _PROFILE.format(
        name=name,
        outside=UNCONFINED if outside in ("", UNCONFINED) else f"{{{UNCONFINED},{outside}}}",
        mounting=_OWN_MOUNTS if own_users else _NO_MOUNTS,
    )


def load(text: str) -> str:
    """Have a profile in the kernel in place of one of its name; returns why that cannot be, or ""."""
    program = parser()
    if program is None:
        return f"{PARSER} is not on this machine: install apparmor"
    try:
        done = subprocess.run(
            [program, "--replace", "--skip-cache", "--quiet"],
            input=text,
            capture_output=True,
            text=True,
            check=False,
            timeout=_PARSER_S,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"{PARSER}: {error}"
    said = " ".join(done.stderr.split())
    return f"{PARSER}: {said or f'exit code {done.returncode}'}" if done.returncode else ""


def parser() -> str | None:
    """The program that compiles profiles, wherever our own PATH leads."""
    return shutil.which(PARSER, path="/usr/sbin:/sbin:/usr/bin:/bin")


def enabled() -> bool:
    """Whether the kernel enforces AppArmor profiles."""
    try:
        return _ENABLED.read_text().startswith("Y")
    except OSError:
        return False


def profiles() -> frozenset[str]:
    """The names of those that are loaded: "docker-default (enforce)" in the kernel's list."""
    try:
        return frozenset(line.rpartition(" (")[0] for line in (_FILES / "profiles").read_text().splitlines())
    except OSError:
        return frozenset()


def label_of(pid: int | str) -> str:
    """The label that the kernel confines a process by, "unconfined" for none; "" where it does not run AppArmor."""
    try:
        # "docker-default (enforce)"
        return Path(f"/proc/{pid}/attr/apparmor/current").read_text().strip("\0\n").partition(" (")[0]
    except OSError:
        return ""
