"""/etc/hosts, /etc/resolv.conf and /etc/hostname of containers: written at the start, kept true afterwards.

A network that comes or goes while a container runs changes only the lines that speak of it: what the
container itself wrote into its files stays.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from ipaddress import IPv4Address
from pathlib import Path

from netmodel.engine.containers import Containers
from netmodel.engine.core import Core
from netmodel.engine.files import (
    edit_in_place,
    extra_hosts_text,
    hostname_of,
    hosts_text,
    own_names,
    read_text,
    resolv_text,
    write_in_place,
)
from netmodel.engine.links import Linked, linked
from netmodel.model import Container, Endpoint, IPAddress

_LOOPBACK = (IPv4Address("127.0.0.1"),)  # how who lives on the host reaches the host
_NO_NAME_SERVER = "# no network, no name server\n"


class NameFiles:
    """The files of every container that owns a sandbox; who shares one sees its owner's."""

    def __init__(self, core: Core, containers: Containers) -> None:
        self._core = core
        self._containers = containers

    def write(self, container: Container, endpoints: Sequence[Endpoint]) -> None:
        """Make all three as a container that starts shall find them."""
        files = self._containers.files(container.id)
        if container.sandbox == "host":
            gateways = self._core.settings.host_gateways or _LOOPBACK
            hosts = read_text(Path("/etc/hosts")) + extra_hosts_text(container.config.extra_hosts, gateways)
            resolv = read_text(Path("/etc/resolv.conf"))
            hostname = container.config.hostname or read_text(Path("/proc/sys/kernel/hostname")).strip()
        else:
            hosts, resolv = self._hosts(container, endpoints), self._resolv(container, endpoints)
            hostname = hostname_of(container)
        write_in_place(files.hosts, hosts)
        write_in_place(files.resolv_conf, resolv)
        write_in_place(files.hostname, f"{hostname}\n")

    def follow(self, container: Container, before: Sequence[Endpoint], after: Sequence[Endpoint]) -> None:
        """Bring a running container's files from one set of attachments to another."""
        files = self._containers.files(container.id)
        edit_in_place(files.hosts, self._hosts(container, before), self._hosts(container, after))
        edit_in_place(files.resolv_conf, self._resolv(container, before), self._resolv(container, after))

    def repair(self, container: Container, endpoints: Sequence[Endpoint]) -> None:
        """Bring a running container's files to its attachments from those that a crash may have left them with."""
        files = self._containers.files(container.id)
        config = container.config
        moving = {name for name, value in config.extra_hosts.items() if "host-gateway" in value.split(",")}
        moving.add(own_names(hostname_of(container), config.domainname))
        moving.update(_names(one) for endpoint in endpoints for one in linked(self._core, endpoint))
        lines = read_text(files.hosts).splitlines()
        before = "\n".join(line for line in lines if line.partition("\t")[2] in moving)
        edit_in_place(files.hosts, before, self._hosts(container, endpoints))
        before = _NO_NAME_SERVER if endpoints else self._connected_resolv(container, ())
        edit_in_place(files.resolv_conf, before, self._resolv(container, endpoints))

    @contextmanager
    def following(self, containers: Sequence[Container]) -> Iterator[None]:
        """Bring /etc/hosts of those that run to what their legacy links mean after the block."""
        before = {one.id: self._hosts(one, self._core.records.endpoints_of(one.id)) for one in containers}
        yield
        for one in containers:
            now = self._core.records.containers.get(one.id)
            if now is not None and now.state.running and now.sandbox == now.id:
                hosts = self._hosts(now, self._core.records.endpoints_of(now.id))
                edit_in_place(self._containers.files(now.id).hosts, before[now.id], hosts)

    def _hosts(self, container: Container, endpoints: Sequence[Endpoint]) -> str:
        config = container.config
        gateways = self._gateways(endpoints)
        others = [one for endpoint in endpoints for one in linked(self._core, endpoint)]
        names = [(address.ip, _names(one)) for one in others for address in one.endpoint.addresses]
        return hosts_text(hostname_of(container), config.domainname, endpoints, config.extra_hosts, gateways, names)

    def _resolv(self, container: Container, endpoints: Sequence[Endpoint]) -> str:
        return self._connected_resolv(container, endpoints) if endpoints else _NO_NAME_SERVER

    def _connected_resolv(self, container: Container, endpoints: Sequence[Endpoint]) -> str:
        search = dict.fromkeys(name for one in endpoints if one.lease is not None for name in one.lease.search)
        return resolv_text(container.config, self._core.settings.resolver.text(), tuple(search))

    def _gateways(self, endpoints: Sequence[Endpoint]) -> Sequence[IPAddress]:
        """The host as the container reaches it: at most one address of each family."""
        if self._core.settings.host_gateways:
            return self._core.settings.host_gateways
        found: dict[int, IPAddress] = {}
        networks = [(one, self._core.records.networks.get(one.network_id)) for one in endpoints]
        for _, network in sorted(
            ((one.config.gw_priority, network) for one, network in networks if network is not None),
            # The order in which default routes are chosen (routing.py); an internal network leads to the host at most.
            key=lambda pair: (pair[1].config.internal, -pair[0], pair[1].name),
        ):
            on_host = self._core.traits(network.config).on_host  # else the gateway is another machine
            for pool in network.pools:
                if pool.gateway is not None and on_host:
                    found.setdefault(pool.gateway.version, pool.gateway)
        return [found[family] for family in sorted(found)]


def _names(one: Linked) -> str:
    """As Docker: the alias, then what the other one is called."""
    return " ".join(dict.fromkeys((one.alias, hostname_of(one.container), one.container.name)))
