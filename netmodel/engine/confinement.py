"""What a container's processes may ask of the kernel: the filter of their system calls, the AppArmor label."""

from __future__ import annotations

import os
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

from netmodel.errors import Invalid, MissingFeature
from netmodel.model import Container, ContainerConfig
from runtime.cgroups import Cgroups
from runtime.defaults import DEFAULT_PIDS
from runtime.seccomp import UNCONFINED, Filters, Profile, profile_of
from runtime.spec import Process

_LABEL = "docker-default"
_REMEMBERED = 64
_APPARMOR_ENABLED = Path("/sys/module/apparmor/parameters/enabled")
_APPARMOR_PROFILES = Path("/sys/kernel/security/apparmor/profiles")


class Confinement:
    """Args:
    filters: The directory for the filters of this root.

    Attributes:
        default_pids: How many tasks a container may have that says nothing about it.
    """

    def __init__(self, filters: Path, cgroups: Cgroups) -> None:
        self._filters = Filters(filters)
        self.default_pids = DEFAULT_PIDS if cgroups.supports("pids") else None
        self._devices_ruled = cgroups.supports("devices")
        self._known: dict[tuple[str, tuple[str, ...]], str] = {}  # so that a start need not look at the whole policy

    def of(self, process: Process, container: Container) -> Process:
        """The process, confined as its container is; a further one like the first.

        Raises:
            RuntimeFault: The profile is wrong, or filters cannot be made here.
        """
        config = container.config
        capabilities = process.capabilities
        if container.idmap_base is None and not config.privileged and not self._devices_ruled:
            # Nothing would keep the host's root from opening the node of a disk that it makes. In a user
            # namespace of its own, the kernel lets nobody make one.
            capabilities = tuple(name for name in capabilities if name != "CAP_MKNOD")
        return replace(
            process,
            capabilities=capabilities,
            # Of the container's capabilities, also where this process has more or fewer.
            seccomp=self._filter(config, capabilities),
            apparmor=_label(config),
        )

    def _filter(self, config: ContainerConfig, capabilities: tuple[str, ...]) -> str:
        if config.privileged and not config.seccomp:
            return ""
        key = config.seccomp, capabilities
        path = self._known.get(key)
        if path is None or (path and not os.path.exists(path)):
            profile = _profile(config.seccomp)
            path = "" if profile is None else self._filters.path(profile, capabilities)
            if len(self._known) >= _REMEMBERED:
                self._known.clear()
            self._known[key] = path
        return path


@lru_cache(16)
def _profile(text: str) -> Profile | None:
    return profile_of(text)


def check_confinement(config: ContainerConfig) -> None:
    """Refuse a profile that cannot be, before anything is made.

    Raises:
        BadProfile, Invalid, MissingFeature: Says which and why.
    """
    _profile(config.seccomp)
    if config.apparmor in ("", UNCONFINED):
        return
    if not apparmor_enabled():
        raise MissingFeature(
            f"AppArmor profile {config.apparmor!r} cannot be applied: this machine does not run AppArmor",
            "leave the option out",
        )
    if config.apparmor not in apparmor_profiles():
        raise Invalid(f"no such AppArmor profile is loaded: {config.apparmor}", "aa-status lists those that are")


def apparmor_enabled() -> bool:
    """Whether the kernel enforces AppArmor profiles."""
    try:
        return _APPARMOR_ENABLED.read_text().startswith("Y")
    except OSError:
        return False


def apparmor_profiles() -> frozenset[str]:
    """The names of those that are loaded: "docker-default (enforce)" in the kernel's list."""
    try:
        return frozenset(line.rpartition(" (")[0] for line in _APPARMOR_PROFILES.read_text().splitlines())
    except OSError:
        return frozenset()


def apparmor_label(pid: int) -> str:
    """The label that the kernel confines a process by, "unconfined" for none; "" where it does not run AppArmor."""
    try:
        # "docker-default (enforce)"
        return Path(f"/proc/{pid}/attr/apparmor/current").read_text().strip("\0\n").partition(" (")[0]
    except OSError:
        return ""


def _label(config: ContainerConfig) -> str:
    if not apparmor_enabled():
        return ""  # nobody is confined, and there is no file to ask for that
    if config.apparmor:
        return config.apparmor
    if config.privileged:
        return ""
    # Docker's own, which is loaded where Docker is installed; netmodel brings no profile of its own.
    return _LABEL if _LABEL in apparmor_profiles() else ""
