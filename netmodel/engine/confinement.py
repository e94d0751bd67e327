"""What a container's processes may ask of the kernel: the filter of their system calls, the AppArmor label."""

from __future__ import annotations

import os
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

from netmodel.engine import apparmor
from netmodel.engine.apparmor import DefaultProfiles
from netmodel.errors import Invalid, MissingFeature
from netmodel.model import Container, ContainerConfig
from runtime.cgroups import Cgroups
from runtime.defaults import DEFAULT_PIDS
from runtime.seccomp import UNCONFINED, Filters, Profile, profile_of
from runtime.spec import Process

_REMEMBERED = 64


class Confinement:
    """Args:
    filters: The directory for the filters of this root.
    default_profiles: AppArmor's, of containers that name none.

    Attributes:
        default_pids: How many tasks a container may have that says nothing about it.
    """

    def __init__(self, filters: Path, cgroups: Cgroups, default_profiles: DefaultProfiles) -> None:
        self._filters = Filters(filters)
        self.default_profiles = default_profiles
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
            apparmor=self._label(config, own_users=container.idmap_base is not None),
        )

    def _label(self, config: ContainerConfig, *, own_users: bool) -> str:
        if not apparmor.enabled():
            return ""  # nobody is confined, and there is no file to ask for that
        if config.apparmor:
            return config.apparmor
        return "" if config.privileged else self.default_profiles.label(own_users)

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
    if not apparmor.enabled():
        raise MissingFeature(
            f"AppArmor profile {config.apparmor!r} cannot be applied: this machine does not run AppArmor",
            "leave the option out",
        )
    if config.apparmor not in apparmor.profiles():
        raise Invalid(f"no such AppArmor profile is loaded: {config.apparmor}", "aa-status lists those that are")
