"""What we answer ourselves, encoded once and then only put together again.

dnspython reads the query and writes the answer's frame. Another query of the same bytes, but for its
id, gets the same answer with its records in another order, which is a few slices and a join.
"""

from __future__ import annotations

import ipaddress
import random
from collections.abc import Sequence

import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.opcode
import dns.rcode
import dns.rdataclass
import dns.rdatatype
import dns.reversename

from netmodel.dns.service import Service, read_service
from netmodel.dns.view import View
from netmodel.dns.zone import Zone
from netmodel.model import IPAddress

HEADER_BYTES = 12
PLAIN_UDP_BYTES = 512  # RFC 1035 section 4.2.1
LARGEST_UDP_BYTES = 4096
LARGEST_TCP_BYTES = 65535
_TRUNCATED = 0x02  # in the first byte of the flags
_OWNER = b"\xc0\x0c"  # a pointer to the question's name, which follows the header
_TTL = bytes(4)  # 0: names move with their containers
_TYPES = {4: dns.rdatatype.A, 6: dns.rdatatype.AAAA}


class Answer:
    """A whole answer but for its id.

    Args:
        response: Without records in its answer section.
        records: Each one encoded.
        udp_bytes: What the asker takes in one datagram.
    """

    def __init__(self, response: dns.message.Message, records: Sequence[bytes], udp_bytes: int) -> None:
        wire = response.to_wire(max_size=LARGEST_TCP_BYTES)
        question_bytes = sum(len(rrset.name.to_wire() or b"") + 4 for rrset in response.question)
        end = HEADER_BYTES + question_bytes
        self._flags, self._questions, self._others = wire[2:4], wire[4:6], wire[8:12]
        self._question, self._tail = wire[HEADER_BYTES:end], wire[end:]
        self._records = list(records)
        self._udp_bytes = udp_bytes
        self._fixed_bytes = len(wire)
        self._always = None if len(records) > 1 else self._encode(self._flags, self._records)

    def reply(self, query_id: bytes, stream: bool) -> bytes:
        """Encode it for a query, its records shuffled; cut, and marked so, to what the asker takes."""
        if self._always is not None:
            return query_id + self._always
        records = random.sample(self._records, len(self._records))
        room = (LARGEST_TCP_BYTES if stream else self._udp_bytes) - self._fixed_bytes
        if sum(map(len, records)) <= room:
            return query_id + self._encode(self._flags, records)
        # As many as fit, not none: some resolvers never come back over TCP (musl before 1.2.4).
        fitting = [r for i, r in enumerate(records) if sum(map(len, records[: i + 1])) <= room]
        flags = bytes([self._flags[0] | _TRUNCATED, self._flags[1]])
        return query_id + self._encode(flags, fitting)

    def _encode(self, flags: bytes, records: Sequence[bytes]) -> bytes:
        count = len(records).to_bytes(2, "big")
        return b"".join((flags, self._questions, count, self._others, self._question, *records, self._tail))


class Unanswerable(Exception):
    """A packet that is no query we understand; `reply` says so to its sender, b"" says nothing."""

    def __init__(self, packet: bytes, rcode: dns.rcode.Rcode | None) -> None:
        super().__init__("not a query" if rcode is None else dns.rcode.to_text(rcode))
        # An answer of the same opcode, with recursion desired as it was, and nothing else.
        self.reply = b"" if rcode is None else packet[:2] + bytes([0x80 | packet[2] & 0x79, rcode]) + bytes(8)


def read_query(packet: bytes) -> dns.message.Message:
    """Read a query for one thing.

    Raises:
        Unanswerable: It is something else.
    """
    if len(packet) < HEADER_BYTES or packet[2] & 0x80:
        raise Unanswerable(packet, None)  # answering an answer would make two servers talk for ever
    try:
        query = dns.message.from_wire(packet, ignore_trailing=True)
    except (dns.exception.DNSException, ValueError, IndexError) as error:
        raise Unanswerable(packet, dns.rcode.FORMERR) from error
    if query.opcode() != dns.opcode.QUERY:
        raise Unanswerable(packet, dns.rcode.NOTIMP)
    if len(query.question) != 1:
        raise Unanswerable(packet, dns.rcode.FORMERR)
    return query


def local_answer(zone: Zone, view: View, query: dns.message.Message) -> Answer | None:
    """Answer what concerns the names and addresses that are in view; None if it does not."""
    if query.edns > 0:
        return bare_answer(query, dns.rcode.BADVERS)
    question = query.question[0]
    if question.rdclass != dns.rdataclass.IN:
        return None
    if question.rdtype == dns.rdatatype.PTR:
        return _reverse(zone, view.networks, query)
    if (service := read_service(question.name)) is not None:
        return _services(zone, view, query, service)
    found = zone.addresses(*view.meant(question.name.to_text(omit_final_dot=True)))
    if found is None:
        return None
    # Of a name that is ours we know all there is: for what it does not have, the other address
    # family included, the answer is an empty one, which asking elsewhere would turn into "no such name".
    records = [
        _record(_TYPES[address.version], address.packed)
        for address in found
        if question.rdtype in (_TYPES[address.version], dns.rdatatype.ANY)
    ]
    return Answer(_response(query), records, _udp_bytes(query))


def bare_answer(query: dns.message.Message, rcode: dns.rcode.Rcode) -> Answer:
    """An answer with no records."""
    response = _response(query)
    response.set_rcode(rcode)
    if rcode == dns.rcode.SERVFAIL:
        response.flags &= ~dns.flags.AA  # we say nothing about the name
    return Answer(response, [], _udp_bytes(query))


def _reverse(zone: Zone, networks: Sequence[str], query: dns.message.Message) -> Answer | None:
    address = _address_in(query.question[0].name)
    name = None if address is None else zone.name_of(networks, address)
    if name is None:
        return None
    target = _encoded(name)
    if target is None:
        return None
    return Answer(_response(query), [_record(dns.rdatatype.PTR, target)], _udp_bytes(query))


def _services(zone: Zone, view: View, query: dns.message.Message, service: Service) -> Answer | None:
    """Name the ports behind a service: each replica's, all of the same rank, so that the first is a random one."""
    offered = zone.ports(*view.meant(service.owner))
    if offered is None:
        return None
    found = [(name, port.container_port) for name, port in offered if service.means(port)]
    if not found:
        return bare_answer(query, dns.rcode.NXDOMAIN)
    if query.question[0].rdtype not in (dns.rdatatype.SRV, dns.rdatatype.ANY):
        return Answer(_response(query), [], _udp_bytes(query))
    records = [
        _record(dns.rdatatype.SRV, bytes(4) + port.to_bytes(2, "big") + target)
        for name, port in dict.fromkeys(found)
        if (target := _encoded(name)) is not None
    ]
    return Answer(_response(query), records, _udp_bytes(query))


def _encoded(name: str) -> bytes | None:
    """A name as records carry it; None for one that is no domain name: a container's may be too long for a label."""
    try:
        return dns.name.from_text(name).to_wire()
    except dns.exception.DNSException:
        return None


def _address_in(name: dns.name.Name) -> IPAddress | None:
    """Read 2.0.17.172.in-addr.arpa; None for a name that is no whole address."""
    try:
        return ipaddress.ip_address(dns.reversename.to_address(name))
    except (dns.exception.DNSException, ValueError):
        return None


def _response(query: dns.message.Message) -> dns.message.Message:
    response = dns.message.make_response(query, recursion_available=True, our_payload=LARGEST_UDP_BYTES)
    response.flags |= dns.flags.AA
    return response


def _record(rdtype: dns.rdatatype.RdataType, rdata: bytes) -> bytes:
    fixed = rdtype.to_bytes(2, "big") + dns.rdataclass.IN.to_bytes(2, "big") + _TTL
    return _OWNER + fixed + len(rdata).to_bytes(2, "big") + rdata


def _udp_bytes(query: dns.message.Message) -> int:
    return max(PLAIN_UDP_BYTES, min(query.payload, LARGEST_UDP_BYTES))
