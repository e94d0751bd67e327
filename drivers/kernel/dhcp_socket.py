"""Sockets that speak DHCP out of a link, opened in the namespace that the link is in."""

from __future__ import annotations

import ctypes
import fcntl
import socket
import struct
from contextlib import ExitStack
from ipaddress import IPv4Address
from pathlib import Path

from drivers.kernel.checksum import checksum
from drivers.kernel.namespace import open_in

SERVER, CLIENT = 67, 68
EVERYBODY = IPv4Address("255.255.255.255")
_NOBODY = IPv4Address(0)
_ETH_P_IP = 0x0800
_SO_ATTACH_FILTER = 26
_SIOCGIFMTU = 0x8921
_IFREQ = struct.Struct("16si20x")
_ETHERNET = struct.Struct("!6s6sH")
_IP = struct.Struct("!BBHHHBBH4s4s")
_UDP = struct.Struct("!HHHH")
_LARGEST = 65_535


class LinkSocket:
    """Speaks for a link that has no address yet, in whole frames.

    Args:
        netns: None is the calling thread's own.

    Raises:
        OSError: There is no such link.
    """

    def __init__(self, netns: Path | None, link: str) -> None:
        self._link = link
        self._socket = open_in(netns, lambda: _packet_socket(link))

    @property
    def mac(self) -> str:
        return self._hardware().hex(":")

    @property
    def mtu(self) -> int:
        answer = fcntl.ioctl(self._socket, _SIOCGIFMTU, _IFREQ.pack(self._link.encode(), 0))
        return int(_IFREQ.unpack(answer)[1])

    def fileno(self) -> int:
        return self._socket.fileno()

    def send(self, payload: bytes) -> None:
        """Tell every server on the segment."""
        self._socket.send(frame(payload, self._hardware(), b"\xff" * 6, _NOBODY, EVERYBODY))

    def receive(self) -> tuple[bytes, str] | None:
        """What has arrived for a DHCP client, and the MAC address it came from; None when there is no more."""
        try:
            data = self._socket.recv(_LARGEST)
        except BlockingIOError:
            return None
        header = _ETHERNET.size + (data[_ETHERNET.size] & 0x0F) * 4
        return data[header + _UDP.size :], data[6:12].hex(":")

    def close(self) -> None:
        self._socket.close()

    def _hardware(self) -> bytes:
        address: bytes = self._socket.getsockname()[4]
        return address


class AddressSocket(LinkSocket):
    """Speaks to one server from an address that the link has, by the way that the kernel knows; hears all that it did.

    For a server that refuses says so to everybody (RFC 2131, section 4.3.2).

    Raises:
        OSError: The address is gone, or a program in the namespace has the port.
    """

    def __init__(self, netns: Path | None, link: str, address: IPv4Address, server: IPv4Address) -> None:
        super().__init__(netns, link)
        self._server = (str(server), SERVER)
        try:
            # Nobody reads from it; without it the kernel would tell the server that there is no such port.
            self._sender = open_in(netns, lambda: _udp_socket(address))
        except BaseException:
            super().close()
            raise

    def send(self, payload: bytes) -> None:
        self._sender.sendto(payload, self._server)

    def close(self) -> None:
        self._sender.close()
        super().close()


def send_for(link: str, mac: str, to_mac: str, source: IPv4Address, server: IPv4Address, payload: bytes) -> None:
    """Send one message out of a link of the calling thread's namespace in the name of another station.

    Raises:
        OSError: The link is missing or down.
    """
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0) as sender:
        sender.bind((link, 0))
        sender.send(frame(payload, _octets(mac), _octets(to_mac), source, server))


def frame(payload: bytes, mac: bytes, to_mac: bytes, source: IPv4Address, destination: IPv4Address) -> bytes:
    """An Ethernet frame with what a DHCP client says in it."""
    length = _UDP.size + len(payload)
    pseudo = source.packed + destination.packed + struct.pack("!BBH", 0, socket.IPPROTO_UDP, length)
    udp = _UDP.pack(CLIENT, SERVER, length, 0)
    # A sum of 0 would say that there is none (RFC 768).
    udp = _UDP.pack(CLIENT, SERVER, length, checksum(pseudo + udp + payload) or 0xFFFF)
    head = (0x45, 0, _IP.size + length, 0, 0, 64, socket.IPPROTO_UDP)
    ip = _IP.pack(
        *head, checksum(_IP.pack(*head, 0, source.packed, destination.packed)), source.packed, destination.packed
    )
    return _ETHERNET.pack(to_mac, mac, _ETH_P_IP) + ip + udp + payload


def _octets(mac: str) -> bytes:
    return bytes.fromhex(mac.replace(":", ""))


def _packet_socket(link: str) -> socket.socket:
    from pyroute2.dhcp.dhcp4socket import listen_udp_port

    instructions = [
        struct.pack("HBBI", code, yes, no, value & 0xFFFFFFFF) for code, yes, no, value in listen_udp_port(CLIENT)
    ]
    program = ctypes.create_string_buffer(b"".join(instructions))
    with ExitStack() as undo:
        # It hears nothing (protocol 0) before it hears only what is meant for it.
        opened = undo.enter_context(socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0))
        opened.setsockopt(
            socket.SOL_SOCKET,
            _SO_ATTACH_FILTER,
            struct.pack("HL", len(instructions), ctypes.addressof(program)),
        )
        opened.bind((link, _ETH_P_IP))
        opened.setblocking(False)
        undo.pop_all()
    return opened


def _udp_socket(address: IPv4Address) -> socket.socket:
    with ExitStack() as undo:
        opened = undo.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
        opened.bind((str(address), CLIENT))
        opened.setblocking(False)
        undo.pop_all()
    return opened
