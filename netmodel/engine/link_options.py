"""Options of networks and endpoints that are the engine's, whatever the driver: announcements, settings of a link."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from difflib import get_close_matches

from netmodel.errors import Invalid

_PREFIX, _OURS = "com.docker.network.", "netmodel."
IFNAME = _PREFIX + "endpoint.ifname"
SYSCTLS = _PREFIX + "endpoint.sysctls"
ADVERTISE_NMSGS = _PREFIX + "advertise_addr_nmsgs"
ADVERTISE_MS = _PREFIX + "advertise_addr_ms"
_OF_NETWORKS = (ADVERTISE_NMSGS, ADVERTISE_MS)
_OF_ENDPOINTS = (IFNAME, SYSCTLS)
_SYSCTL = re.compile(r"net\.(ipv4|ipv6|mpls)\.(\w+)\.IFNAME\.(\w+)")


@dataclass(frozen=True, slots=True)
class Announcements:
    """How often an address is told to the neighbours, and how long apart.

    Args:
        asked_for: Told even where no neighbour could know the address at another MAC.
    """

    times: int = 3
    interval_s: float = 1.0
    asked_for: bool = False


def of_driver(options: Mapping[str, str]) -> dict[str, str]:
    """A network's options without the engine's."""
    return {key: value for key, value in options.items() if key not in _OF_NETWORKS}


def announcements(options: Mapping[str, str]) -> Announcements:
    """Read them from a network's options.

    Raises:
        Invalid: A value is out of range; says which one it has.
    """
    return Announcements(
        times=_number(options, ADVERTISE_NMSGS, 3, 0, 3),
        interval_s=_number(options, ADVERTISE_MS, 1000, 100, 2000) / 1000,
        asked_for=ADVERTISE_NMSGS in options,
    )


def check_endpoint(options: Mapping[str, str], of_its_driver: Collection[str] = ()) -> None:
    """Refuse options of an endpoint that nobody knows or whose value does not fit.

    Args:
        of_its_driver: Those that its driver reads itself.

    Raises:
        Invalid: Says which, and what may have been meant.
    """
    known = [*_OF_ENDPOINTS, *sorted(of_its_driver)]
    for key in options:
        if key.startswith((_PREFIX, _OURS)) and key not in known:
            close = get_close_matches(key, known, n=1)
            raise Invalid(
                f"endpoints {'of this network ' if key.startswith(_OURS) else ''}have no option {key}",
                f"did you mean {close[0]}?" if close else f"there are: {', '.join(known)}",
            )
    sysctls(options, "IFNAME")


def sysctls(options: Mapping[str, str], interface: str) -> list[tuple[str, str]]:
    """Settings of one link as paths below /proc/sys, each with its value.

    In the option, IFNAME stands for the link's name: "net.ipv4.conf.IFNAME.log_martians=1,...".
    """
    found = []
    for setting in options.get(SYSCTLS, "").split(","):
        if not setting.strip():
            continue
        name, equals, value = setting.strip().partition("=")
        parts = _SYSCTL.fullmatch(name)
        if parts is None or not equals:
            raise Invalid(
                f"option {SYSCTLS}: {setting!r} is no setting of one link",
                "write it like net.ipv4.conf.IFNAME.log_martians=1, several with commas between them",
            )
        family, table, key = parts.groups()
        found.append((f"net/{family}/{table}/{interface}/{key}", value))
    return found


def turns_ipv6_off(of_container: Mapping[str, str], of_endpoint: Mapping[str, str]) -> bool:
    """Whether a link has no IPv6 by settings of its container, or of its own."""
    names = ("net.ipv6.conf.all.disable_ipv6", "net.ipv6.conf.default.disable_ipv6")
    own = dict(sysctls(of_endpoint, "IFNAME")).get("net/ipv6/conf/IFNAME/disable_ipv6")
    return "1" in (own, *(of_container.get(name) for name in names))


def _number(options: Mapping[str, str], key: str, default: int, low: int, high: int) -> int:
    text = options.get(key, str(default))
    if not text.isascii() or not text.isdigit() or not low <= int(text) <= high:
        raise Invalid(f"option {key}: {text!r} is not a number from {low} to {high}")
    return int(text)
