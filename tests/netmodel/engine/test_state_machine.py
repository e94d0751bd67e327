"""Whatever is done in whatever order, crashes and all: what the engine reports is what the kernel does.

A model knows which networks and containers there are, what they were given and which requests must be refused.
After each step three things are compared: the model, the engine's report, and the kernel (agreement.py).

For hours of it: NETMODEL_STATE_MACHINE_EXAMPLES=1000 pytest --timeout 0 tests/netmodel/engine/test_state_machine.py
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import sys
import tempfile
from contextlib import suppress
from dataclasses import dataclass, field, fields, is_dataclass, replace
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any, ClassVar

import pytest
from hypothesis import HealthCheck, Phase, assume, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from netmodel.model import (
    Container,
    ContainerConfig,
    Endpoint,
    EndpointConfig,
    Network,
    NetworkConfig,
    PoolConfig,
    PortConfig,
)
from tests.netmodel.engine import agreement, kernel_view
from tests.netmodel.engine.agreement import BRIDGE_OPTION
from tests.netmodel.engine.conftest import SLEEP
from tests.netmodel.engine.engine_process import Died, EngineProcess, Refused, Report, Zygote
from tests.support.box import Box
from tests.support.sweep import sweep
from tests.support.wait import eventually

EXAMPLES = int(os.environ.get("NETMODEL_STATE_MACHINE_EXAMPLES", "0"))
PEACE = 3  # so much is done between two ends of an engine, which cost ten times as much as all else
DULL = ("image", "command", "shm_bytes", "stop_timeout_s", "restart", "health", "log", "enable_ipv4", "ipam_driver")
PREDEFINED = {"bridge", "host", "none"}

NETWORKS = [f"net{number}" for number in range(4)]
CONTAINERS = [f"box{number}" for number in range(5)]
KINDS: dict[str, dict[str, Any]] = {
    "plain": {},
    "dual": {"enable_ipv6": True},
    "six": {"enable_ipv4": False, "enable_ipv6": True},
    "internal": {"internal": True},
    "dual internal": {"internal": True, "enable_ipv6": True},
    "apart": {"options": {f"{BRIDGE_OPTION}enable_icc": "false"}},
    "unmasked": {"options": {f"{BRIDGE_OPTION}enable_ip_masquerade": "false"}},
    "routed": {"options": {f"{BRIDGE_OPTION}gateway_mode_ipv4": "routed"}},
    "half routed": {"enable_ipv6": True, "options": {f"{BRIDGE_OPTION}gateway_mode_ipv6": "routed"}},
    "cable": {"driver": "p2p"},
    "segment": {"driver": "macvlan"},
}
LOOPBACK = IPv4Address("127.0.0.1")
PORTS: list[tuple[PortConfig, ...]] = [
    (),
    (PortConfig(container_port=80, host_port=8001),),
    (PortConfig(container_port=80, host_port=8001, host_address=LOOPBACK),),
    (PortConfig(container_port=53, host_port=8001, protocol="udp"), PortConfig(container_port=80, host_port=8002)),
    (PortConfig(container_port=80), PortConfig(container_port=53, protocol="udp")),
]
FOREIGN_PORT = 8002
FOREIGN = {("tcp", "127.0.0.1", FOREIGN_PORT), ("tcp", "0.0.0.0", FOREIGN_PORT)}  # what somebody else may have
CANDIDATES = {
    (protocol, address, port)
    for protocol in ("tcp", "udp")
    for address in ("127.0.0.1", "0.0.0.0", "::")
    for port in (8001, 8002)
}


@dataclass
class Known:
    """What the model knows of a container.

    Args:
        owner: Whose network it uses, by name; "" is its own.
        silent: It publishes nothing though it could: its ports were taken when it was moved to where it is.
    """

    id: str
    config: ContainerConfig
    owner: str = ""
    status: str = "created"
    endpoints: tuple[Endpoint, ...] = ()
    ports: tuple[PortConfig, ...] = ()
    silent: bool = False

    @property
    def running(self) -> bool:
        return self.status in ("running", "paused")


@dataclass
class Model:
    networks: dict[str, Network] = field(default_factory=dict)
    containers: dict[str, Known] = field(default_factory=dict)


class Engines(RuleBasedStateMachine):
    """One engine after the other on one root."""

    zygote: ClassVar[Zygote]
    directory: ClassVar[Path]

    def __init__(self) -> None:
        super().__init__()
        self.root = Path(tempfile.mkdtemp(dir=self.directory)) / "root"
        self.host = Box("host")
        self.engine = EngineProcess(self.zygote, self.root, self.host)
        self.model = Model()
        self.foreign: socket.socket | None = None
        self.report: Report = self.engine.ask("report")
        self.fuse = self.asked = 0
        self.story: list[str] = []

    @initialize(data=st.data())
    def set_up(self, data: st.DataObject) -> None:
        """Two of each, so that there is something to be done from the first step on."""
        for name in NETWORKS[:2]:
            self.create_network(name, data.draw(st.sampled_from(sorted(KINDS)), "kind"))
        for name in CONTAINERS[:2]:
            self.create_container(data, name, data.draw(st.sampled_from(PORTS), "ports"))
            if name in self.model.containers:
                self.run(name, "start")

    # --- networks -----------------------------------------------------------------------------

    @rule(name=st.sampled_from(NETWORKS), kind=st.sampled_from(sorted(KINDS)))
    def create_network(self, name: str, kind: str) -> None:
        config = NetworkConfig(name=name, **KINDS[kind])
        made = self.ask(name in self.model.networks, "create_network", config)
        if made is not None:
            self.model.networks[name] = made

    @precondition(lambda self: self.model.networks)
    @rule(data=st.data())
    def create_network_on_top_of_another(self, data: st.DataObject) -> None:
        other = self.network(data)
        free = [name for name in NETWORKS if name not in self.model.networks]
        assume(free and other.config.driver == "bridge")
        pools = tuple(PoolConfig(subnet=pool.subnet) for pool in other.pools)
        families = {pool.subnet.version for pool in other.pools}
        config = NetworkConfig(name=free[0], pools=pools, enable_ipv4=4 in families, enable_ipv6=6 in families)
        self.ask(True, "create_network", config)

    @precondition(lambda self: self.model.networks)
    @rule(data=st.data())
    def remove_network(self, data: st.DataObject) -> None:
        network = self.network(data)
        if self.ask(bool(self.members(network)), "remove_network", network.name):
            del self.model.networks[network.name]

    # --- containers ---------------------------------------------------------------------------

    @precondition(lambda self: self.model.networks)
    @rule(data=st.data(), name=st.sampled_from(CONTAINERS), ports=st.sampled_from(PORTS))
    def create_container(self, data: st.DataObject, name: str, ports: tuple[PortConfig, ...]) -> None:
        chosen = st.lists(st.sampled_from(sorted(self.model.networks)), min_size=1, max_size=3, unique=True)
        wishes = [self.wish(data, name, network) for network in data.draw(chosen, "networks")]
        config = ContainerConfig(image="host", command=SLEEP, networks=tuple(wishes), ports=ports)
        refused = name in self.model.containers or not all(self.is_free(wish) for wish in wishes)
        self.created(name, self.ask(refused, "create_container", config, name))

    @precondition(lambda self: self.model.containers)
    @rule(data=st.data(), name=st.sampled_from(CONTAINERS))
    def create_sharer(self, data: st.DataObject, name: str) -> None:
        owner = data.draw(st.sampled_from(sorted(self.model.containers)), "owner")
        config = ContainerConfig(image="host", command=SLEEP, network_mode=f"container:{owner}")
        refused = name in self.model.containers or bool(self.model.containers[owner].owner)
        self.created(name, self.ask(refused, "create_container", config, name), owner)

    def created(self, name: str, container: Container | None, owner: str = "") -> None:
        if container is not None:
            endpoints = tuple(self.engine.ask("endpoints", container_id=container.id))
            self.model.containers[name] = Known(container.id, container.config, owner, endpoints=endpoints)

    @precondition(lambda self: not all(known.running for known in self.model.containers.values()))
    @rule(data=st.data())
    def start(self, data: st.DataObject) -> None:
        self.run(self.container(data)[0], "start")

    @precondition(lambda self: self.model.containers)
    @rule(data=st.data())
    def restart(self, data: st.DataObject) -> None:
        self.run(self.container(data)[0], "restart", timeout_s=0)

    def run(self, name: str, verb: str, **how: Any) -> None:
        known = self.model.containers[name]
        refused = not self.can_run(known) or (known.running and verb == "start")
        if self.ask(refused, verb, name, **how):
            known.ports = known.ports if known.running else self.engine.ask("container", name).ports
            known.status = "running"

    @precondition(lambda self: self.model.containers)
    @rule(data=st.data(), how=st.sampled_from(["stop", "kill", "exit"]))
    def end(self, data: st.DataObject, how: str) -> None:
        name, known = self.container(data)
        if how == "exit":
            assume(known.status == "running")  # of a paused one SIGKILL waits, too (cgroup v1)
            os.kill(self.reported(name).state.pid, signal.SIGKILL)
            eventually(lambda: self.engine.ask("settled", name))
        elif not self.ask(not known.running, how, name, **({"timeout_s": 0} if how == "stop" else {})):
            return
        self.ended(known)

    @precondition(lambda self: self.model.containers)
    @rule(data=st.data())
    def pause(self, data: st.DataObject) -> None:
        name, known = self.container(data)
        verb, now = ("unpause", "running") if known.status == "paused" else ("pause", "paused")
        if self.ask(not known.running, verb, name):
            known.status = now

    @precondition(lambda self: self.model.containers)
    @rule(data=st.data(), force=st.booleans())
    def remove(self, data: st.DataObject, force: bool) -> None:
        name, known = self.container(data)
        lends = any(other.owner == name and other.running for other in self.model.containers.values())
        if self.ask(lends or (known.running and not force), "remove", name, force=force):
            del self.model.containers[name]

    # --- attachments --------------------------------------------------------------------------

    @precondition(lambda self: self.model.containers and self.model.networks)
    @rule(data=st.data())
    def connect(self, data: st.DataObject) -> None:
        name, known = self.container(data)
        network = self.network(data)
        wish = self.wish(data, name, network.name)
        before, after = self.offers(known), [*self.offers(known), (network, wish.gw_priority)]
        refused = bool(known.owner) or any(network == one for one, _ in before) or not self.is_free(wish)
        if known.running and not refused and moved(before, after):
            refused = not self.can_publish(known, after)
        made = self.ask(refused, "connect", network.name, name, wish)
        if made is not None:
            known.endpoints += (made,)
            known.silent = known.silent and not moved(before, after)

    @precondition(lambda self: any(known.endpoints for known in self.model.containers.values()))
    @rule(data=st.data())
    def disconnect(self, data: st.DataObject) -> None:
        name, known = self.container(data)
        network = self.network(data)
        left = tuple(one for one in known.endpoints if one.network_id != network.id)
        before, after = self.offers(known), [offer for offer in self.offers(known) if offer[0] != network]
        if known.running and moved(before, after) and not self.can_publish(known, after):
            # It is taken off the network all the same, and told that its ports have found no other.
            with pytest.raises((Refused, AssertionError)):
                self.engine.ask("disconnect", network.name, name)
            known.endpoints, known.silent = left, True
        elif self.ask(left == known.endpoints, "disconnect", network.name, name):
            known.endpoints, known.silent = left, known.silent and not moved(before, after)

    # --- mishaps ------------------------------------------------------------------------------

    @precondition(lambda self: self.asked >= PEACE)
    @rule(number=st.integers(1, 30))
    def crash_in_the_middle_of_what_comes_next(self, number: int) -> None:
        self.fuse = number

    @precondition(lambda self: self.asked >= PEACE)
    @rule(data=st.data())
    def mishap(self, data: st.DataObject) -> None:
        mishaps = [self.crash, self.crash_and_end, self.crash_twice, self.close, self.kill_spawner]
        data.draw(st.sampled_from(mishaps), "mishap")(data)

    def crash(self, data: st.DataObject) -> None:
        self.engine.kill()
        self.reopen()

    def crash_and_end(self, data: st.DataObject) -> None:
        """A container ends while there is no engine."""
        self.engine.kill()
        running = [name for name, known in self.model.containers.items() if known.status == "running"]
        for name in running[:1]:
            os.kill(self.reported(name).state.pid, signal.SIGKILL)
        self.reopen()
        for name in running[:1]:
            eventually(lambda name=name: self.engine.ask("settled", name))
            self.ended(self.model.containers[name])

    def crash_twice(self, data: st.DataObject) -> None:
        """The next engine dies while it repairs what the first one left."""
        self.engine.kill()
        with suppress(Died):
            self.engine = EngineProcess(self.zygote, self.root, self.host, fuse=data.draw(st.integers(1, 30), "step"))
            self.engine.kill()
        self.reopen()

    def close(self, data: st.DataObject) -> None:
        self.engine.close()
        if not any(known.running for known in self.model.containers.values()):
            self.check_nothing_is_left()
        self.reopen()

    def kill_spawner(self, data: st.DataObject) -> None:
        """Its containers die with it."""
        spawner = self.engine.ask("spawner")
        os.kill(spawner, signal.SIGKILL)
        eventually(lambda: self.engine.ask("spawner") != spawner)
        for name, known in self.model.containers.items():
            if known.running:
                eventually(lambda name=name: self.engine.ask("settled", name))
                self.ended(known)

    @rule()
    def flush_ruleset(self) -> None:
        self.host.run("nft", "flush", "ruleset")
        wanted = agreement.elements(self.engine.ask("report"))
        eventually(lambda: agreement.sorted_elements(self.host, self.root) == wanted)

    @rule()
    def toggle_foreign_socket(self) -> None:
        """Somebody else's program comes, unless the port is taken, or goes."""
        if self.foreign is not None:
            self.foreign.close()
            self.foreign = None
        elif not kernel_view.held_ports(self.host, FOREIGN):
            self.foreign = self.host.open(lambda: socket.create_server(("0.0.0.0", FOREIGN_PORT)))

    # --- what must always hold ------------------------------------------------------------------

    @invariant()
    def report_and_kernel_agree(self) -> None:
        links = kernel_view.host_links(self.host)
        if any(kernel_view.is_retired(name) for name in links):
            self.engine.ask("drain")
        self.report = self.engine.ask("report")
        self.check_model()
        agreement.check(self.report, self.root, self.host)
        taken = (agreement.held(self.report) | (FOREIGN if self.foreign else set())) & CANDIDATES
        agreement.same("ports taken on the host", kernel_view.held_ports(self.host, CANDIDATES), taken)

    def check_model(self) -> None:
        report, model = self.report, self.model
        agreement.same("warnings", report.warnings, ())
        networks = {one.name: one for one in report.networks if one.name not in PREDEFINED}
        agreement.same("networks", networks, model.networks)
        statuses = {one.name: (one.id, one.state.status) for one in report.containers}
        agreement.same("containers", statuses, {name: (one.id, one.status) for name, one in model.containers.items()})
        for name, known in model.containers.items():
            agreement.same(f"endpoints of {name}", tuple(report.endpoints_of(known.id)), known.endpoints)
            self.check_ports(name, known)

    def check_ports(self, name: str, known: Known) -> None:
        """Published are those that were asked for, at the host ports asked for or given before."""
        ports = self.reported(name).ports
        network = agreement.publishing_network(self.offers(known))
        wanted: list[PortConfig] = []
        if known.running and network is not None and not known.silent:
            for number, port in enumerate(known.config.ports):
                before = known.ports[number].host_port if known.ports else 0
                given = ports[number].host_port if number < len(ports) else 0
                leads = agreement.is_served(network, port)
                wanted.append(replace(port, host_port=(port.host_port or before or given or -1) if leads else 0))
        agreement.same(f"ports of {name}", ports, tuple(wanted))
        known.ports = ports

    def teardown(self) -> None:
        if isinstance(sys.exc_info()[1], AssertionError | Refused | Died):
            print("", *self.story, sep="\n", file=sys.stderr, flush=True)  # a second run may not fail
        try:
            self.take_down()
        except BaseException:
            self.engine.kill()
            raise
        finally:
            if self.foreign is not None:
                self.foreign.close()
            self.host.close()
            sweep(self.root)
            shutil.rmtree(self.root.parent, ignore_errors=True)

    def take_down(self) -> None:
        for name in sorted(self.model.containers, key=lambda name: not self.model.containers[name].owner):
            self.engine.ask("remove", name, force=True)
        for name in self.model.networks:
            self.engine.ask("remove_network", name)
        self.engine.close()
        self.check_nothing_is_left()
        assert list((self.root / "containers").iterdir()) == []

    def check_nothing_is_left(self) -> None:
        assert kernel_view.host_links(self.host) == {}
        assert self.host.run("nft", "list", "ruleset").stdout == ""
        assert kernel_view.control_groups(self.root) == set()

    # --- asking -------------------------------------------------------------------------------

    def ask(self, refused: bool, verb: str, *args: Any, **kwargs: Any) -> Any:
        """Have the engine do something; it must refuse if and only if the model says so.

        Returns:
            What it returned, or True for nothing; None when it refused, or died and was opened again.
        """
        fuse, self.fuse = self.fuse, 0
        self.asked += 1
        self.story.append(f"{verb}({', '.join(shown(one) for one in args)}) refused={refused} fuse={fuse}")
        try:
            value = self.engine.ask(verb, *args, fuse=fuse, **kwargs)
        except Refused:
            if not refused:
                raise
            return None
        except Died:
            assert fuse, verb
            self.reopen()
            names = (getattr(one, "name", one) for one in args)
            self.accept({name for name in names if isinstance(name, str)})
            return None
        assert not refused, f"{verb} {args} should have been refused"
        return True if value is None else value

    def reopen(self) -> None:
        self.story.append("a new engine")
        self.asked = 0
        self.engine = EngineProcess(self.zygote, self.root, self.host)
        self.report = eventually(self.report_of_the_settled)

    def report_of_the_settled(self) -> Report | None:
        """None while a container waits for its next life, because an engine died between two."""
        report: Report = self.engine.ask("report")
        return None if any(one.state.status == "restarting" for one in report.containers) else report

    def accept(self, names: set[str]) -> None:
        """What was being done when the engine died may have been done or not; nothing else may have changed."""
        networks = {one.name: one for one in self.report.networks}
        for name in names & set(NETWORKS):
            self.model.networks.pop(name, None)
            if name in networks:
                self.model.networks[name] = networks[name]
        containers = {one.name: one for one in self.report.containers}
        for name in names & set(CONTAINERS):
            before = self.model.containers.pop(name, None)
            if name in containers:
                self.model.containers[name] = self.accepted(containers[name], before)

    def accepted(self, container: Container, before: Known | None) -> Known:
        endpoints = tuple(self.report.endpoints_of(container.id))
        owners = {one.id: one.name for one in self.report.containers}
        owner = "" if container.sandbox == container.id else owners.get(container.sandbox, "?")
        if before is not None:
            assert before.id == container.id
            kept = {one.network_id: one for one in before.endpoints}
            assert all(one == kept.get(one.network_id, one) for one in endpoints), container.name
            owner = before.owner
        return Known(container.id, container.config, owner, container.state.status, endpoints, container.ports)

    # --- the model ----------------------------------------------------------------------------

    def network(self, data: st.DataObject) -> Network:
        return self.model.networks[data.draw(st.sampled_from(sorted(self.model.networks)), "network")]

    def container(self, data: st.DataObject) -> tuple[str, Known]:
        name = data.draw(st.sampled_from(sorted(self.model.containers)), "container")
        return name, self.model.containers[name]

    def reported(self, name: str) -> Container:
        return next(one for one in self.report.containers if one.name == name)

    def members(self, network: Network) -> list[Endpoint]:
        return [
            one for known in self.model.containers.values() for one in known.endpoints if one.network_id == network.id
        ]

    def wish(self, data: st.DataObject, container: str, network: str) -> EndpointConfig:
        """An attachment, some with an address, a MAC address, a name or a priority of their own."""
        pools = [pool for pool in self.model.networks[network].pools if pool.subnet.version == 4]
        number = data.draw(st.sampled_from([0, 0, 2, 3]) if pools else st.just(0), "address")
        own = data.draw(st.booleans(), "MAC address and name of its own")
        return EndpointConfig(
            network=network,
            ipv4_address=pools[0].subnet[number] if number else None,
            gw_priority=data.draw(st.integers(0, 1), "priority"),
            mac_address=f"02:00:00:00:{container[-1:]:0>2}:{network[-1:]:0>2}" if own else None,
            interface_name=f"to{network}" if own else None,
        )

    def is_free(self, wish: EndpointConfig) -> bool:
        network = self.model.networks[wish.network]
        members = self.members(network)
        if network.config.driver == "p2p" and len(members) >= 2:
            return False
        return wish.ipv4_address not in {address.ip for one in members for address in one.addresses}

    def offers(self, known: Known) -> list[tuple[Network, int]]:
        networks = {network.id: network for network in self.model.networks.values()}
        return [(networks[one.network_id], one.config.gw_priority) for one in known.endpoints]

    def can_run(self, known: Known) -> bool:
        if known.owner:
            owner = self.model.containers.get(known.owner)
            return owner is not None and owner.id == self.sandbox_of(known) and owner.running
        return known.running or self.can_publish(known, self.offers(known))

    def sandbox_of(self, known: Known) -> str:
        return next(one.sandbox for one in self.report.containers if one.id == known.id)

    def can_publish(self, known: Known, offers: list[tuple[Network, int]]) -> bool:
        network = agreement.publishing_network(offers)
        if network is None:
            return True
        taken = set(FOREIGN) if self.foreign else set()
        for other in self.model.containers.values():
            published_on = agreement.publishing_network(self.offers(other))
            if other is not known and other.running and published_on is not None:
                taken = taken.union(*(agreement.held_for(published_on, port) for port in other.ports))
        for port in known.config.ports:
            if port.host_address is not None and not agreement.is_served(network, port):
                return False
            if port.host_port and agreement.held_for(network, port) & taken:
                return False
        return True

    def ended(self, known: Known) -> None:
        known.status, known.silent = "exited", False


def shown(value: Any) -> str:
    """A value of ours without what is not said in it."""
    if isinstance(value, tuple):
        return f"({', '.join(shown(one) for one in value)})"
    if not is_dataclass(value):
        return repr(value)
    said = {one.name: getattr(value, one.name) for one in fields(value)}
    words = [f"{name}={shown(there)}" for name, there in said.items() if there not in (None, "", (), {}, 0, False)]
    return f"{type(value).__name__}({', '.join(word for word in words if word.partition('=')[0] not in DULL)})"


def moved(before: list[tuple[Network, int]], after: list[tuple[Network, int]]) -> bool:
    """Whether published ports lead to another network."""
    return agreement.publishing_network(before) != agreement.publishing_network(after)


@pytest.mark.kernel
@pytest.mark.slow
def test_report_and_kernel_agree_whatever_happens(tmp_path: Path) -> None:
    Engines.zygote, Engines.directory = Zygote(), tmp_path
    try:
        run_state_machine_as_test(
            Engines,
            settings=settings(
                max_examples=EXAMPLES or 10,
                stateful_step_count=30 if EXAMPLES else 20,
                deadline=None,
                derandomize=not EXAMPLES,
                phases=[Phase.generate],  # a smaller example is not worth a hundred runs of seconds each
                print_blob=True,
                suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much],
            ),
        )
    finally:
        Engines.zygote.close()
