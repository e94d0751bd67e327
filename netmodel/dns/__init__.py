"""Name service at 127.0.0.11: the names on a sandbox's own networks, and the rest forwarded."""

from netmodel.dns.server import DnsServer
from netmodel.dns.view import Alias
from netmodel.dns.zone import Zone

__all__ = ["Alias", "DnsServer", "Zone"]
