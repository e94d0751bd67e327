"""Whether the host forwards packets: without it, nothing leaves a bridge and no published port works."""

from __future__ import annotations

from typing import Any

from drivers.api import Network
from drivers.kernel.sysctl import read_sysctl, write_sysctl

_SETTINGS = {4: "net/ipv4/ip_forward", 6: "net/ipv6/conf/all/forwarding"}


class Forwarding:
    """Turned on with the first network that needs it, if that is allowed, and left so.

    Args:
        may_change: Let the host forward packets where it does not yet.
    """

    def __init__(self, *, may_change: bool) -> None:
        self._may_change = may_change
        self._changed: list[str] = []

    @property
    def changed(self) -> tuple[str, ...]:
        """The host-wide settings that this engine turned on because a network needed them."""
        return tuple(self._changed)

    def ensure(self, network: Network[Any]) -> None:
        for family in sorted({pool.subnet.version for pool in network.pools}):
            setting = _SETTINGS[family]
            if self._may_change and not network.internal and read_sysctl(setting) == "0":
                write_sysctl(setting, "1")
                self._changed.append(setting.replace("/", "."))

    def advice(self, network: Network[Any]) -> list[str]:
        """What does not work without it."""
        if network.internal:
            return []
        settings = [_SETTINGS[pool.subnet.version] for pool in network.pools]
        off = [setting.replace("/", ".") for setting in settings if read_sysctl(setting) == "0"]
        return [f"network {network.name} leads nowhere and publishes nothing: {one} of this host is off" for one in off]
