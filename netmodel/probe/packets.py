"""The parts of scapy that probes are made of; the only door to it.

scapy.all takes 0.7 s to import, these layers 0.25 s: so the command line imports this package only when
it is about to send something.
"""

from __future__ import annotations

import logging

# It warns about the routes and addresses of whatever namespace it happens to be imported in; ours are elsewhere.
logging.getLogger("scapy").setLevel(logging.ERROR)

from scapy.layers.inet import ICMP, IP, TCP, UDP  # noqa: E402
from scapy.layers.inet6 import ICMPv6EchoRequest, IPv6  # noqa: E402
from scapy.packet import Raw  # noqa: E402

__all__ = ["ICMP", "IP", "TCP", "UDP", "ICMPv6EchoRequest", "IPv6", "Raw"]
