"""A new engine on an old root: what ran runs on, what was lost is told, what is nobody's goes."""

from __future__ import annotations

import os
import signal
import threading
from dataclasses import replace
from pathlib import Path

import pytest

from netmodel.engine import Engine
from netmodel.errors import Conflict, Invalid, NetmodelError
from netmodel.model import ContainerConfig, EndpointConfig, MountConfig, NetworkConfig, PortConfig, VolumesFrom
from tests.netmodel.engine import kernel_view
from tests.netmodel.engine.conftest import SLEEP, clean_up, execute, output_of, runner
from tests.support.box import Box
from tests.support.wait import eventually

pytestmark = pytest.mark.kernel


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "root"


def opened(root: Path) -> Engine:
    engine = Engine(root)
    engine.open()
    assert engine._warnings == []
    return engine


def test_containers_run_on_and_are_adopted(host: Box, root: Path) -> None:
    first = opened(root)
    first.create_network(NetworkConfig(name="lan"))
    run = runner(first)
    serve = ("python3", "-m", "http.server", "80", "--directory", "/etc/apt")
    before = run("web", "lan", command=serve, ports=(PortConfig(container_port=80, host_port=8097),))
    run("user", "lan")
    [endpoint] = first.endpoints(container_id=before.id)
    first.close()

    second = opened(root)

    assert second.container("web") == before
    assert second.endpoints(container_id=before.id) == [endpoint]
    fetch = ("curl", "-s", "-o", "/dev/null", "--retry", "20", "--retry-delay", "0", "--retry-all-errors", "-m", "5")
    host.run(*fetch, "http://127.0.0.1:8097/")
    assert execute(second, "user", "ping", "-c1", "-W1", "web")[0] == 0  # by its name
    # What they hold is held: the next one gets other addresses.
    third = runner(second)("third", "lan")
    [other] = second.endpoints(container_id=third.id)
    assert other.addresses[0].ip != endpoint.addresses[0].ip
    second.kill("web")
    assert second.container("web").state.exit_code == 137
    clean_up(second)


def test_a_container_that_was_being_made_takes_its_anonymous_volumes_along(host: Box, root: Path) -> None:
    """Not those that it was to take over from another, which is gone without them."""
    first = opened(root)
    anonymous = MountConfig(type="volume", target="/x")
    giver = first.create_container(ContainerConfig(image="host", command=("true",), mounts=(anonymous,)))
    config = ContainerConfig(
        image="host",
        command=("true",),
        mounts=(replace(anonymous, target="/y"),),
        volumes_from=(VolumesFrom(container=giver.id),),
    )
    made = first.create_container(config)
    first.remove(giver.id)
    first._core.records.put(replace(made, creating=True))  # as it is until all of it is made
    first.close()

    second = opened(root)

    assert second.containers(all=True) == []
    assert [one.name for one in second.volumes()] == [giver.config.mounts[0].source]
    second.remove_volume(giver.config.mounts[0].source)
    clean_up(second)


def test_an_exit_without_an_engine_is_known_to_the_next(host: Box, root: Path) -> None:
    first = opened(root)
    web = runner(first)("web", command=("sh", "-c", "echo started; read line; exit 5"), open_stdin=True)
    quick = runner(first)("quick")
    first.close()
    os.kill(quick.state.pid, signal.SIGKILL)
    os.kill(web.state.pid, signal.SIGTERM)

    second = opened(root)

    eventually(lambda: second.container("quick").state.status == "exited")
    assert second.container("quick").state.exit_code == 137
    clean_up(second)


def test_a_dead_spawner_takes_its_containers_along_and_is_told(host: Box, root: Path) -> None:
    first = opened(root)
    first.create_network(NetworkConfig(name="lan"))
    runner(first)("web", "lan")
    spawner = first.spawner_pid

    os.kill(spawner, signal.SIGKILL)

    eventually(lambda: first.container("web").state.status == "exited")
    state = first.container("web").state
    assert state.exit_code == 255
    assert "spawner" in state.error
    eventually(lambda: first.spawner_pid != spawner)
    eventually(lambda: first._parts.lifecycle._sandboxes.get(first.container("web").id) is None)
    first.start("web")
    assert "eth0" in output_of(first, "web", "ip", "-o", "-4", "addr")
    clean_up(first)


@pytest.mark.parametrize("seen", [True, False], ids=["by its engine", "by the next"])
def test_what_is_paused_dies_with_the_spawner_too(host: Box, root: Path, seen: bool) -> None:
    first = opened(root)
    runner(first)("web")
    first.pause("web")
    spawner, pid = first.spawner_pid, first.container("web").state.pid
    if not seen:
        first.close()
    os.kill(spawner, signal.SIGKILL)

    engine = first if seen else opened(root)

    eventually(lambda: engine.container("web").state.status == "exited")
    eventually(lambda: not Path(f"/proc/{pid}").exists())
    assert kernel_view.control_groups(root) == set()
    clean_up(engine)


def test_what_starts_while_a_spawner_is_replaced_keeps_its_network(host: Box, root: Path) -> None:
    engine = opened(root)
    engine.create_network(NetworkConfig(name="lan"))
    run = runner(engine)
    run("early", "lan")
    late = run("late", "lan")
    with engine._core.locks.containers([late.id]):  # so that its end is settled only when we let go
        os.kill(engine.spawner_pid, signal.SIGKILL)
        eventually(lambda: engine.container("early").state.status == "exited")
        engine.start("early")
    eventually(lambda: "spawner-lost" not in {thread.name for thread in threading.enumerate()})

    assert engine.sandbox_path(engine.container("early").id) is not None
    engine.start("late")
    assert execute(engine, "early", "ping", "-c1", "-W1", "late")[0] == 0
    clean_up(engine)


def test_what_was_restarted_while_a_spawner_is_replaced_runs(host: Box, root: Path) -> None:
    engine = opened(root)
    web = runner(engine)("web")
    run = engine._parts.lifecycle.runs.of(web)
    with engine._core.locks.containers([web.id]):
        os.kill(engine.spawner_pid, signal.SIGKILL)
        eventually(run.exited.done)  # its loss is known, and waits for us
        engine.restart("web", timeout_s=0)
    eventually(lambda: "spawner-lost" not in {thread.name for thread in threading.enumerate()})

    assert engine.container("web").state.status == "running"
    assert execute(engine, "web", "true")[0] == 0
    clean_up(engine)


def test_what_is_run_while_a_spawner_is_replaced_waits_for_the_next(host: Box, root: Path) -> None:
    engine = opened(root)
    engine.create_network(NetworkConfig(name="lan"))
    run, spawner = runner(engine), engine._core.spawner
    os.kill(spawner.pid, signal.SIGKILL)
    eventually(lambda: spawner._gone)

    run("web", "lan")

    eventually(lambda: "spawner-lost" not in {thread.name for thread in threading.enumerate()})
    assert engine.container("web").state.status == "running"
    assert "eth0" in output_of(engine, "web", "ip", "-o", "-4", "addr")
    clean_up(engine)


def test_a_start_is_repeated_when_its_spawner_dies_in_the_middle(host: Box, root: Path) -> None:
    engine = opened(root)
    engine.create_network(NetworkConfig(name="lan"))
    web = engine.create_container(
        ContainerConfig(image="host", command=SLEEP, networks=(EndpointConfig(network="lan"),)), "web"
    )
    spawner = engine._core.spawner
    os.kill(spawner.pid, signal.SIGSTOP)
    starting = threading.Thread(target=engine.start, args=(web.id,))
    starting.start()
    eventually(lambda: spawner._replies)  # asked, and not answered

    os.kill(spawner.pid, signal.SIGKILL)

    starting.join()
    assert engine.container("web").state.status == "running"
    assert engine.container("web").state.error == ""
    assert "eth0" in output_of(engine, "web", "ip", "-o", "-4", "addr")
    clean_up(engine)


def test_who_shares_the_network_of_what_died_with_its_spawner_is_not_started_without(host: Box, root: Path) -> None:
    engine = opened(root)
    web = runner(engine)("web")
    user = engine.create_container(
        ContainerConfig(image="host", command=SLEEP, network_mode=f"container:{web.id}"), "user"
    )
    with engine._core.locks.containers([web.id]):  # its end is not settled yet
        os.kill(engine.spawner_pid, signal.SIGKILL)
        with pytest.raises(NetmodelError, match="spawner"):
            engine.start(user.id)

    eventually(lambda: engine.container("web").state.status == "exited")
    assert engine.container("user").state.status == "created"
    clean_up(engine)


def test_everything_died_while_no_engine_ran(host: Box, root: Path) -> None:
    """As after a reboot: bridges and rules are made again, containers have ended."""
    first = opened(root)
    network = first.create_network(NetworkConfig(name="lan"))
    runner(first)("web", "lan")
    spawner = first.spawner_pid
    first.close()
    os.kill(spawner, signal.SIGKILL)
    host.run("ip", "link", "delete", f"br-{network.id[:12]}")
    host.run("nft", "flush", "ruleset")

    second = opened(root)

    assert second.container("web").state.exit_code == 255
    second.start("web")
    runner(second)("user", "lan")
    assert execute(second, "user", "ping", "-c1", "-W1", "web")[0] == 0
    clean_up(second)


def test_one_engine_a_root(host: Box, root: Path) -> None:
    first = opened(root)

    with pytest.raises(Conflict, match=f"already running.*pid {os.getpid()}"):
        Engine(root).open()
    clean_up(first)
    clean_up(opened(root))


def test_a_root_that_cannot_be_is_refused(host: Box, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")

    with pytest.raises(Invalid, match="it is no directory"):
        Engine(tmp_path / "file").open()


def test_nothing_is_left_when_nothing_runs(host: Box, root: Path) -> None:
    """Bridges, rules, groups and processes serve nobody then; the next engine makes them again."""
    first = opened(root)
    first.create_network(NetworkConfig(name="lan"))
    wanted = ContainerConfig(image="host", command=SLEEP, networks=(EndpointConfig(network="lan"),))
    first.create_container(wanted, "web")
    first.start("web")
    first.stop("web")
    spawner, prefix = first.spawner_pid, first._core.cgroups.prefix
    first.close()

    assert [line.split(":")[1].strip() for line in host.run("ip", "-o", "link").stdout.splitlines()] == ["lo"]
    assert host.run("nft", "list", "ruleset").stdout == ""
    assert not list(Path("/sys/fs/cgroup").glob(f"*/{prefix}"))
    eventually(lambda: not Path(f"/proc/{spawner}").exists() or "Z" in Path(f"/proc/{spawner}/stat").read_text())

    second = opened(root)
    second.start("web")
    assert "eth0" in output_of(second, "web", "ip", "-o", "-4", "addr")
    clean_up(second)
