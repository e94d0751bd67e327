"""Settings that Docker's daemon can have either way, and that are one way with us."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from netmodel.engine.settings_values import flag
from netmodel.errors import Invalid


@dataclass(frozen=True, slots=True)
class AsItIs:
    """Args:
    so: The one value that is accepted, for it says what is so.
    why: The answer to any other.
    way_out: What to do instead.
    """

    so: bool | str
    why: str
    way_out: str


_FIREWALL = AsItIs(
    True,
    "without rules of ours there would be no isolation, no way out and no published port",
    "leave it out: all rules are in one nft table of our own, and iptables is never touched; to have less of them, "
    'set "ip-masq" or "allow-direct-routing", or gateway_mode_ipv4 "nat-unprotected" in "default-network-opts"',
)
AS_IT_IS = {
    "iptables": _FIREWALL,
    "ip6tables": _FIREWALL,
    "ip-forward-no-drop": AsItIs(
        True,
        "what the host forwards for others is never dropped by us, even where it was us who turned forwarding on",
        "leave it out; keep others apart by rules of your own, in the chain user of our table, or leave forwarding "
        'alone with "ip-forward": false',
    ),
    "firewall-backend": AsItIs(
        "nftables", "all rules are in one nft table of our own, and iptables is never touched", "leave it out"
    ),
    "live-restore": AsItIs(
        True, "containers run on whenever the engine ends", "leave it out; netmodel stop ends containers"
    ),
}


def check_as_it_is(where: str, key: str, value: Any) -> None:
    """Refuse what would be another engine.

    Args:
        where: Stands before the key in the message.
    """
    one = AS_IT_IS[key]
    if (flag(f"{where}{key}", value) if isinstance(one.so, bool) else value) != one.so:
        raise Invalid(f"{where}{key}: {json.dumps(value)}: {one.why}", one.way_out)
