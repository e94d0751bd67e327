"""Containers that share another's processes or IPC, and with them its user namespace, on whatever network."""

from __future__ import annotations

import os
import signal
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest

from netmodel.engine import Engine
from netmodel.errors import Conflict, NotFound
from netmodel.model import ContainerConfig, NetworkConfig, RestartPolicy
from netmodel.project import PROJECT_LABEL, SERVICE_LABEL, Project, ServiceContainer
from netmodel.topology.config_hash import with_hash
from tests.netmodel.engine.conftest import SLEEP, Run, clean_up, execute, output_of
from tests.netmodel.engine.shared import engine, host
from tests.netmodel.engine.test_modes import namespace
from tests.support.wait import eventually

__all__ = ["engine", "host"]

pytestmark = pytest.mark.kernel


def test_processes_of_one_on_another_network(engine: Engine, run: Run) -> None:
    for network in ("left", "right"):
        engine.create_network(NetworkConfig(name=network))
    web = run("web", "left", command=("sh", "-c", "exec sleep 4713"))

    debug = run("debug", "right", pid_mode="container:web")

    assert "sleep 4713" in output_of(engine, "debug", "ps", "-e", "-o", "args=")
    assert namespace(engine, "debug", "pid") == namespace(engine, "web", "pid")
    assert namespace(engine, "debug", "net") != namespace(engine, "web", "net")
    assert output_of(engine, "debug", "kill", "-0", "1") == ""
    assert (debug.users, debug.idmap_base) == (web.id, web.idmap_base)
    assert execute(engine, "debug", "ping", "-c1", "-W1", "web")[0] != 0  # their networks are apart still
    assert debug.config.pid_mode == f"container:{web.id}"
    engine.stop("web", 0)
    eventually(lambda: engine.container("debug").state.status == "exited")
    with pytest.raises(Conflict, match="container web, whose processes debug shares, does not run"):
        engine.start("debug")


def test_who_is_to_run_always_follows_the_processes_it_shares(engine: Engine, run: Run) -> None:
    """With their first process they have all died; each comes again, and into the new namespace."""
    always = RestartPolicy(name="always")
    run("web", restart=always)
    run("debug", pid_mode="container:web", restart=always)
    first = namespace(engine, "web", "pid")

    engine.restart("web", 0)

    eventually(lambda: engine.container("debug").state.status == "running")
    eventually(lambda: namespace(engine, "debug", "pid") == namespace(engine, "web", "pid") != first)
    os.kill(engine.container("web").state.pid, signal.SIGKILL)
    eventually(lambda: engine.container("debug").restart_count >= 2)
    eventually(lambda: {engine.container(name).state.status for name in ("web", "debug")} == {"running"})


@pytest.mark.parametrize("users", ["", "host", "keep-id:uid=1234,gid=1234"])
def test_memory_is_shared_and_outlives_either_side(
    engine: Engine, run: Run, users: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("netmodel.engine.removal._MOMENT_S", 0.1)
    run("db", ipc_mode="shareable", userns_mode=users, shm_bytes=1 << 20)
    run("tool", ipc_mode="container:db")
    output_of(engine, "db", "sh", "-c", "echo kept > /dev/shm/mark; ipcmk -M 4096")

    for name in ("db", "tool"):
        engine.restart(name, 0)

        assert output_of(engine, "tool", "cat", "/dev/shm/mark") == "kept\n"
        assert output_of(engine, "tool", "sh", "-c", "ipcs -m | grep -c 0x") == "1\n"
        for kind in ("ipc", "user"):
            assert namespace(engine, "tool", kind) == namespace(engine, "db", kind)
    assert namespace(engine, "tool", "pid") != namespace(engine, "db", "pid")
    with pytest.raises(Conflict, match="lends namespaces to tool"):
        engine.remove("db", force=True)
    run("third", ipc_mode="container:tool")  # whose owner is db
    assert output_of(engine, "third", "cat", "/dev/shm/mark") == "kept\n"


@pytest.mark.parametrize("mode", ["network_mode", "ipc_mode", "pid_mode"])
def test_an_owner_waits_a_moment_for_those_who_go_with_it(engine: Engine, run: Run, mode: str) -> None:
    """As `docker rm -f owner sharer` asks for both at the same time."""
    run("owner", ipc_mode="shareable")
    run("sharer", **{mode: "container:owner"})

    with ThreadPoolExecutor() as threads:
        going = threads.submit(engine.remove, "owner", force=True)
        engine.remove("sharer", force=True)
        going.result(10)

    assert engine.containers() == []


def test_a_restart_that_cannot_be_ends_nobody(engine: Engine, run: Run) -> None:
    run("owner")
    sharer = run("sharer", network_mode="container:owner")
    engine.stop("owner", timeout_s=0)

    with pytest.raises(Conflict, match="whose network sharer uses, does not run"):
        engine.restart("sharer", timeout_s=0)

    assert engine.container("sharer") == sharer
    assert execute(engine, "sharer", "true")[0] == 0


def test_nothing_is_left_of_what_was_shared(engine: Engine, run: Run) -> None:
    run("db", ipc_mode="shareable")
    run("tool", ipc_mode="container:db", network_mode="none")
    run("out", ipc_mode="shareable", network_mode="host")

    for name in ("tool", "db", "out"):
        engine.remove(name, force=True)

    assert engine._core.spawner.pins() == []


def test_the_next_engine_goes_on_with_it(engine: Engine, run: Run) -> None:
    run("db", ipc_mode="shareable")
    run("tool", ipc_mode="container:db")
    output_of(engine, "db", "sh", "-c", "echo kept > /dev/shm/mark")
    engine.close()

    again = Engine(engine.root)
    again.open()
    try:
        again.restart("tool", 0)
        assert output_of(again, "tool", "cat", "/dev/shm/mark") == "kept\n"
        again.stop("tool", 0)
        again.remove("db", force=True)
        with pytest.raises(Conflict, match=r"IPC tool shares, is gone"):
            again.start("tool")
    finally:
        clean_up(again)
        engine.open()


def test_what_cannot_be_shared(engine: Engine, run: Run) -> None:
    run("own")
    run("none", ipc_mode="none")
    run("hosts", ipc_mode="host")
    run("open", ipc_mode="shareable")
    run("roots", ipc_mode="shareable", userns_mode="host")
    for config, error, sentence in (
        ({"ipc_mode": "container:nobody"}, NotFound, "nobody"),
        ({"ipc_mode": "container:own"}, Conflict, "own has an IPC namespace for itself alone"),
        ({"ipc_mode": "container:none"}, Conflict, "for itself alone"),
        ({"ipc_mode": "container:hosts"}, Conflict, "has the host's IPC"),
        ({"ipc_mode": "container:open", "pid_mode": "container:own"}, Conflict, "have different user namespaces"),
        ({"ipc_mode": "container:open", "network_mode": "container:own"}, Conflict, "have different user"),
        ({"ipc_mode": "container:open", "userns_mode": "host"}, Conflict, "open has its own user namespace"),
        ({"ipc_mode": "container:roots", "pid_mode": "container:own"}, Conflict, "have different user namespaces"),
        ({"ipc_mode": "container:open", "sysctls": {"kernel.shmmni": "100"}}, Conflict, "another's IPC"),
        ({"ipc_mode": "host", "sysctls": {"kernel.shmmni": "100"}}, Conflict, "another's IPC"),
    ):
        with pytest.raises(error, match=sentence):
            engine.create_container(ContainerConfig(image="host", command=SLEEP, **config))
    assert len(engine.containers()) == 5


def service(name: str, *needed: str, **config: object) -> ServiceContainer:
    labels = {PROJECT_LABEL: "shop", SERVICE_LABEL: name}
    wanted = {"image": "host", "command": SLEEP, "labels": labels, "stop_timeout_s": 0, **config}
    made = with_hash(ContainerConfig(**wanted))  # type: ignore[arg-type]
    return ServiceContainer(name=f"shop-{name}-1", service=name, number=1, config=made, depends_on=needed)


def test_services_share(engine: Engine) -> None:
    """Made and started after those they share with, which are made anew with all that hangs on them."""
    project = Project(
        name="shop",
        containers=(
            service("third", "second", pid_mode="service:second"),
            service("second", "first", ipc_mode="service:first"),
            service("first", ipc_mode="shareable"),
        ),
    )
    engine.up(project)
    try:
        assert namespace(engine, "shop-second-1", "ipc") == namespace(engine, "shop-first-1", "ipc")
        assert namespace(engine, "shop-third-1", "pid") == namespace(engine, "shop-second-1", "pid")
        assert {step.action for step in engine.plan(project)} == {"keep"}
        changed = replace(
            project, containers=(*project.containers[:2], service("first", ipc_mode="shareable", tty=True))
        )
        assert {step.action for step in engine.plan(changed)} == {"recreate"}
        engine.up(changed)
        assert namespace(engine, "shop-third-1", "user") == namespace(engine, "shop-first-1", "user")
    finally:
        engine.down("shop")
