"""Options of endpoints on bridges that Docker has not: CNI's bandwidth, under keys of our own."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from drivers.errors import InvalidOption

_PREFIX = "netmodel.endpoint."
INGRESS_RATE, INGRESS_BURST = _PREFIX + "ingress_rate", _PREFIX + "ingress_burst"
EGRESS_RATE, EGRESS_BURST = _PREFIX + "egress_rate", _PREFIX + "egress_burst"
KNOWN = frozenset((INGRESS_RATE, INGRESS_BURST, EGRESS_RATE, EGRESS_BURST))

_RATE = re.compile(r"(\d+(?:\.\d+)?)([kmgt]?)(?:bit)?")
_SIZE = re.compile(r"(\d+)([kmg]?)b?")
_POWER = {"": 0, "k": 1, "m": 2, "g": 3, "t": 4}
_LEAST_RATE, _MOST_RATE = 8_000, 1_000_000_000_000  # bit/s
_LEAST_BURST, _MOST_BURST = 1_024, 1 << 30  # bytes


@dataclass(frozen=True, slots=True)
class Limit:
    """Args:
    rate: Bits a second.
    burst: Bytes that may pass at once after a pause; 0 leaves it to us.
    """

    rate: int
    burst: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class EndpointOptions:
    """What the options of one endpoint ask for.

    Args:
        ingress: Of what the container receives.
        egress: Of what it sends.
    """

    ingress: Limit | None = None
    egress: Limit | None = None


def parse(options: Mapping[str, str]) -> EndpointOptions:
    """Read our own options of an endpoint; what other keys mean is others' business.

    Raises:
        InvalidOption: A value does not fit.
    """
    return EndpointOptions(
        ingress=_limit(options, INGRESS_RATE, INGRESS_BURST), egress=_limit(options, EGRESS_RATE, EGRESS_BURST)
    )


def _limit(options: Mapping[str, str], rate_key: str, burst_key: str) -> Limit | None:
    if rate_key not in options:
        if burst_key in options:
            raise InvalidOption(f"option {burst_key} is of no use without {rate_key}", hint=f"add {rate_key}")
        return None
    found = _RATE.fullmatch(options[rate_key].lower())
    rate = int(float(found[1]) * 1000 ** _POWER[found[2]]) if found else 0
    if not _LEAST_RATE <= rate <= _MOST_RATE:
        raise InvalidOption(
            f"option {rate_key}: {options[rate_key]!r} is not a rate from 8kbit to 1tbit a second",
            hint="write it like 500kbit, 10mbit or 1.5gbit; a number alone is bits",
        )
    return Limit(rate, _burst(options, burst_key))


def _burst(options: Mapping[str, str], key: str) -> int:
    if key not in options:
        return 0
    found = _SIZE.fullmatch(options[key].lower())
    burst = int(found[1]) * 1024 ** _POWER[found[2]] if found else 0
    if not _LEAST_BURST <= burst <= _MOST_BURST:
        raise InvalidOption(
            f"option {key}: {options[key]!r} is not a size from 1k to 1g", hint="write it like 32k or 1m; in bytes"
        )
    return burst
