"""The engine's small parts, without a kernel."""

from __future__ import annotations

import threading
from datetime import UTC, datetime
from ipaddress import IPv4Address, IPv4Interface, IPv4Network
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers.api import Attachment
from netmodel import codec
from netmodel.engine.endpoints import interface_names
from netmodel.engine.events import EventBus
from netmodel.engine.files import hosts_text, resolv_text
from netmodel.engine.idranges import SIZE, IdRanges
from netmodel.engine.launch import capabilities_of, resources_of, signal_number
from netmodel.engine.locks import Locks, SharedLock
from netmodel.engine.names import check_name, made_up_name
from netmodel.engine.ordered import run_in_order
from netmodel.engine.routing import Joined, gateway_endpoint
from netmodel.engine.undo import Undo, every_step
from netmodel.errors import Invalid, NetmodelError, translate
from netmodel.model import ContainerConfig, Endpoint, EndpointConfig, Network, NetworkConfig
from netmodel.project import Project
from tests.support.wait import eventually

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def network(name: str, **config: object) -> Network:
    return Network(id=name.ljust(64, "0"), config=NetworkConfig(name=name, **config), created_at=NOW)  # type: ignore[arg-type]


def endpoint(name: str, address: str, **config: object) -> Endpoint:
    return Endpoint(
        id=f"e-{name}",
        network_id=name,
        container_id="c",
        config=EndpointConfig(network=name, **config),  # type: ignore[arg-type]
        mac="02:42:00:00:00:01",
        interface="eth0",
        addresses=(IPv4Interface(address),),
    )


def joined(name: str, gateway: str | None, gw_priority: int = 0, *, internal: bool = False) -> Joined:
    gateways = (IPv4Address(gateway),) if gateway else ()
    return Joined(
        endpoint=endpoint(name, "10.0.0.2/24", gw_priority=gw_priority),
        network=network(name, internal=internal),
        attachment=Attachment(link="x", gateways=gateways),
    )


@pytest.mark.parametrize(
    ("links", "chosen"),
    [
        ([], None),
        ([joined("b", "10.0.0.1"), joined("a", "10.0.0.1")], "a"),
        ([joined("b", "10.0.0.1", 5), joined("a", "10.0.0.1")], "b"),
        ([joined("a", None, 9), joined("b", "10.0.0.1")], "b"),
        ([joined("a", "10.0.0.1", 9, internal=True), joined("b", "10.0.0.1", -1)], "b"),
    ],
)
def test_the_default_gateway(links: list[Joined], chosen: str | None) -> None:
    found = gateway_endpoint(links, 4)

    assert (found.network.name if found else None) == chosen
    assert gateway_endpoint(links, 6) is None


def test_interface_names() -> None:
    configs = [
        EndpointConfig(network="a"),
        EndpointConfig(network="b", interface_name="eth0"),
        EndpointConfig(network="c"),
    ]
    networks = [network("a"), network("b"), network("c", options={"com.docker.network.container_iface_prefix": "lan"})]

    assert interface_names(configs, networks) == ["eth1", "eth0", "lan0"]
    assert interface_names(configs[:1], networks[:1], ["eth0", "eth1"]) == ["eth2"]
    for bad in ("lo", "sixteen-letters-", "a/b", "a b"):
        with pytest.raises(Invalid):
            interface_names([EndpointConfig(network="a", interface_name=bad)], networks[:1])


def test_capabilities() -> None:
    plain = capabilities_of(ContainerConfig(image="x"))

    assert len(plain) == 14
    added = capabilities_of(ContainerConfig(image="x", cap_add=("net_admin",), cap_drop=("CAP_CHOWN",)))
    assert "CAP_NET_ADMIN" in added
    assert "CAP_CHOWN" not in added
    assert capabilities_of(ContainerConfig(image="x", cap_drop=("ALL",), cap_add=("KILL",))) == ("CAP_KILL",)
    assert "CAP_SYS_ADMIN" in capabilities_of(ContainerConfig(image="x", cap_add=("ALL",)))


def test_signals_and_limits() -> None:
    assert signal_number("SIGTERM") == signal_number("term") == signal_number("15") == 15
    assert signal_number("SIGRTMIN+3") == 37
    with pytest.raises(Invalid):
        signal_number("SIGNOPE")
    limits = resources_of(ContainerConfig(image="x", cpus=0.5), None, lambda _: True)
    assert (limits.cpu_quota_us, limits.cpu_period_us) == (50_000, 100_000)


def test_files() -> None:
    config = ContainerConfig(image="x", dns_options=("ndots:2",))
    text = resolv_text(config, "search lab.example\nnameserver 192.0.2.1\n")

    assert text == "nameserver 127.0.0.11\nsearch lab.example\noptions ndots:2\n"
    hosts = hosts_text(
        "web",
        "lab",
        [endpoint("a", "10.0.0.2/24")],
        {"up": "host-gateway", "x": "192.0.2.9"},
        [IPv4Address("10.0.0.1")],
    )
    assert hosts.splitlines()[-3:] == ["10.0.0.1\tup", "192.0.2.9\tx", "10.0.0.2\tweb.lab web"]


def test_names() -> None:
    assert check_name("container", "/web_1.x-y") == "web_1.x-y"
    for bad in ("", "-web", "a b", "a/b"):
        with pytest.raises(Invalid):
            check_name("container", bad)
    taken: set[str] = set()
    for _ in range(500):
        taken.add(check_name("container", made_up_name(taken)))
    assert len(taken) == 500


@given(st.lists(st.sampled_from(["take", "release"]), max_size=60))
def test_id_ranges_never_overlap(steps: list[str]) -> None:
    with TemporaryDirectory() as place:
        ranges = IdRanges("00000000", Path(place), Path(place, "ids"))
        _take_and_release(ranges, steps)


def _take_and_release(ranges: IdRanges, steps: list[str]) -> None:
    held: list[int] = []
    for step in steps:
        if step == "take":
            base = ranges.take()
            assert base not in held
            assert base % SIZE == 0
            assert 0 < base < 1 << 31
            held.append(base)
        elif held:
            ranges.release(held.pop(0))


def test_engines_of_one_machine_share_no_range(tmp_path: Path) -> None:
    """Both begin at the same place; a root that is gone holds nothing."""
    roots = [tmp_path / "first", tmp_path / "second"]
    for root in roots:
        root.mkdir()
    first, second = (IdRanges("00000000", root, tmp_path / "ids") for root in roots)

    mine = {first.take() for _ in range(5)}
    assert mine.isdisjoint(second.take() for _ in range(5))
    third = IdRanges("00000000", roots[1], tmp_path / "ids")
    assert not third.claim(min(mine))
    first.release(min(mine))
    assert third.claim(min(mine))

    third.sweep()
    assert {path.name for path in (tmp_path / "ids").iterdir() if path.readlink() == roots[1]} == {
        str(min(mine) // SIZE)
    }

    (tmp_path / "third").mkdir()
    roots[0].rmdir()
    assert IdRanges("00000000", tmp_path / "third", tmp_path / "ids").take() in mine


def test_shared_locks_let_many_in_or_one() -> None:
    lock = SharedLock()
    inside: list[str] = []
    gate = threading.Event()

    def alone() -> None:
        with lock.alone():
            inside.append("alone")

    with lock.shared(), lock.shared():
        thread = threading.Thread(target=alone)
        thread.start()
        assert not gate.wait(0.02)
        assert inside == []
    thread.join(5)
    assert inside == ["alone"]


def test_locks_taken_in_any_order_do_not_block_each_other_for_ever() -> None:
    locks = Locks()
    done: list[int] = []

    def work(number: int, *ids: str) -> None:
        for _ in range(200):
            with locks.containers(ids), locks.sharing(ids):
                pass
        done.append(number)

    threads = [threading.Thread(target=work, args=(0, "a", "b")), threading.Thread(target=work, args=(1, "b", "a"))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert sorted(done) == [0, 1]


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), max_size=20), st.integers(1, 4))
def test_work_is_done_after_what_it_needs(edges: list[tuple[int, int]], threads: int) -> None:
    items = [str(number) for number in range(10)]
    needs: dict[str, list[str]] = {}
    for one, other in edges:
        if one < other:  # no circles
            needs.setdefault(str(other), []).append(str(one))
    done: list[str] = []

    run_in_order(items, needs, done.append, threads)

    assert sorted(done) == items
    for item, before in needs.items():
        assert all(done.index(need) < done.index(item) for need in before)


def test_a_failure_stops_what_has_not_begun() -> None:
    done: list[str] = []

    def work(item: str) -> None:
        if item == "b":
            raise Invalid("b is wrong")
        done.append(item)

    with pytest.raises(Invalid, match="b is wrong"):
        run_in_order(["a", "b", "c"], {"c": ["b"]}, work, 1)
    assert done == ["a"]
    with pytest.raises(Invalid, match="b is wrong"):
        run_in_order(["a", "b", "c"], {"c": ["b"]}, work, 2, go_on=True)
    assert sorted(done) == ["a", "a", "c"]


def test_events_reach_every_subscriber_in_order_and_closing_ends_the_wait() -> None:
    bus = EventBus()
    woken: list[int] = []
    first, second = bus.subscribe(), bus.subscribe(lambda: woken.append(1))

    for action in ("create", "start"):
        bus.publish("container", action, "id", {})
    seen: list[str] = []
    reader = threading.Thread(target=lambda: seen.extend(event.action for event in first))
    reader.start()
    eventually(lambda: seen == ["create", "start"])
    bus.close()
    reader.join(5)

    assert not reader.is_alive()
    assert [second.get_nowait().action for _ in range(2)] == ["create", "start"]
    assert woken == [1, 1]


def test_events_outlive_their_engine(tmp_path: Path) -> None:
    file = tmp_path / "events.jsonl"
    first = EventBus()
    first.keep_in(file)
    for number in range(2500):
        first.publish("container", "start", str(number), {"name": "web"})
    before = first.history()
    first.close()
    assert file.stat().st_size < 2500 * len(file.read_bytes().splitlines()[0])
    with file.open("ab") as torn:
        torn.write(b'{"type": "cont')

    second = EventBus()
    second.keep_in(file)
    second.publish("container", "die", "last", {})

    assert second.history() == [*before[1:], second.history()[-1]]
    third = EventBus()
    third.keep_in(file)
    assert third.history() == second.history()
    second.close()
    third.close()


def test_errors_speak_one_language() -> None:
    class Refusal(Exception):
        kind = "conflict"
        hint = "do otherwise"

    translated = translate(Refusal("taken"))
    assert (str(translated), translated.hint, translated.kind) == ("taken", "do otherwise", "conflict")
    several = translate(ExceptionGroup("cannot remove all", [Refusal("one"), Refusal("two")]))
    assert (str(several), several.kind) == ("cannot remove all: one; two", "conflict")
    assert translate(OSError(28, "No space left on device", "/var")).kind == "unavailable"
    assert translate(KeyError("x")).kind == "internal"
    assert isinstance(translate(Invalid("x")), NetmodelError)


def test_json_that_does_not_fit_says_where() -> None:
    for text, where in (
        ("[", "not JSON"),
        ('{"nme": "x"}', "no field 'nme'"),
        ('{"name": 5}', "name: expected str"),
        (
            '{"name": "x", "networks": [{"key": "a", "config": {"name": "n", "pools": [{"subnet": "10.0.0/8"}]}}]}',
            "subnet",
        ),
    ):
        with pytest.raises(codec.BadJson, match=where):
            codec.loads(Project, text)
    fine = '{"name": "x", "networks": [{"key": "a", "config": {"name": "n", "pools": [{"subnet": "10.0.0.0/8"}]}}]}'
    assert codec.loads(Project, fine).networks[0].config.pools[0].subnet == IPv4Network("10.0.0.0/8")


def test_undo_takes_every_step_back_and_hides_no_failure() -> None:
    done: list[str] = []

    def refuse() -> None:
        raise KeyError("stuck")

    def fail() -> None:
        with Undo() as undo:
            undo.callback(done.append, "a")
            undo.callback(refuse)
            undo.callback(done.append, "c")
            raise Invalid("first")

    with pytest.raises(Invalid, match="first") as raised:
        fail()

    assert done == ["c", "a"]
    assert raised.value.__notes__ == ["taking it back failed, too: 'stuck'"]
    with Undo() as undo:
        undo.callback(done.append, "never")
        undo.pop_all()
    assert "never" not in done


def test_taking_down_tries_every_step_and_tells_all_failures() -> None:
    done: list[str] = []

    def take_down() -> None:
        with every_step("cannot remove all") as step:
            with step:
                raise KeyError("one")
            with step:
                done.append("two")
            with step:
                raise OSError("three")

    with pytest.raises(ExceptionGroup) as raised:
        take_down()

    assert done == ["two"]
    assert [type(error) for error in raised.value.exceptions] == [KeyError, OSError]
