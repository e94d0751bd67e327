"""Real DHCP servers on the link "wan" of a box that stands for the segment."""

from __future__ import annotations

import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from tests.support.box import Box
from tests.support.wait import eventually

S = TypeVar("S", "Dnsmasq", "Udhcpd")


class Dnsmasq:
    """dnsmasq, whose lease file is text that it writes at once; its shortest lease is two minutes.

    Args:
        first, last: Of the addresses that it lends.
    """

    def __init__(self, box: Box, directory: Path, first: str, last: str, *options: str, link: str = "wan") -> None:
        self._box = box
        self._leases = directory / f"dnsmasq-{link}-{box.fd}.leases"
        self._log = directory / f"dnsmasq-{link}-{box.fd}.log"
        self._argv = [
            *("dnsmasq", "--keep-in-foreground", "--conf-file=/dev/null", "--no-hosts", "--no-resolv", "--port=0"),
            *(f"--interface={link}", "--bind-interfaces", "--no-ping", "--user=root", "--pid-file="),
            *(f"--dhcp-leasefile={self._leases}", f"--log-facility={self._log}", "--log-dhcp", "--leasefile-ro")[:-1],
            *(f"--dhcp-range={first},{last},255.255.255.0,2m", "--dhcp-authoritative", *options),
        ]
        self._process: subprocess.Popen[str] | None = None

    def start(self) -> None:
        before = len(self.log())
        self._process = self._box.popen(*self._argv)
        eventually(lambda: "started" in self.log()[before:] or self._process.poll() is not None, what="dnsmasq")
        assert self._process.poll() is None, self._process.communicate()[1]

    def stop(self) -> None:
        if self._process is not None:
            self._process.terminate()
            self._process.communicate(timeout=10)
            self._process = None

    def forget(self) -> None:
        """Lose all that was lent."""
        self._leases.unlink(missing_ok=True)

    def log(self) -> str:
        return self._log.read_text() if self._log.exists() else ""

    def leases(self) -> dict[str, list[str]]:
        """By address: when it ends, MAC, host name, client id."""
        lines = self._leases.read_text().splitlines() if self._leases.exists() else []
        return {fields[2]: [fields[0], fields[1], *fields[3:]] for line in lines if len(fields := line.split()) == 5}


class Udhcpd:
    """busybox's server, whose leases may be as short as one likes.

    Args:
        lease_s: How long it lends; it says no T1 and no T2.
    """

    def __init__(self, box: Box, directory: Path, first: str, last: str, lease_s: int, *options: str) -> None:
        self._box = box
        self._leases = directory / f"udhcpd-{box.fd}.leases"
        self._config = directory / f"udhcpd-{box.fd}.conf"
        lines = [
            *(f"start {first}", f"end {last}", "interface wan", f"lease_file {self._leases}", "min_lease 1"),
            *(f"pidfile {directory}/udhcpd-{box.fd}.pid", "auto_time 0", "option subnet 255.255.255.0"),
            *(f"option lease {lease_s}", *options),
        ]
        self._config.write_text("".join(f"{line}\n" for line in lines))
        self._process: subprocess.Popen[str] | None = None

    def start(self) -> None:
        self._leases.touch()
        self._process = self._box.popen("busybox", "udhcpd", "-f", "-a", "1", str(self._config))
        ready = "udp.*:67 "
        eventually(lambda: self._box.run("ss", "-Hlun", "sport", "=", "67").stdout, what=f"udhcpd {ready}")

    def stop(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.communicate(timeout=10)
            self._process = None

    def forget(self) -> None:
        """Lose all that was lent."""
        self._leases.unlink(missing_ok=True)


class Seekers:
    """Hears on the segment who asks for an address."""

    def __init__(self, box: Box) -> None:
        self._socket = box.open(lambda: socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, 0))
        self._socket.bind(("wan", 0x0800))
        self._socket.settimeout(10)
        self.macs: set[bytes] = set()

    def wait_for(self, number: int) -> None:
        """Return when so many have asked."""
        while len(self.macs) < number:
            packet = self._socket.recv(2048)
            if packet[9] == socket.IPPROTO_UDP and packet[22:24] == b"\0\x43":  # to a server, behind 20 bytes of IP
                self.macs.add(packet[28 + 28 : 28 + 34])

    def close(self) -> None:
        self._socket.close()


@contextmanager
def serving(server: S) -> Iterator[S]:
    try:
        server.start()
        yield server
    finally:
        server.stop()
