"""A container's life, from nothing to nothing."""

from __future__ import annotations

import os
import queue
import tarfile
from functools import partial
from pathlib import Path

import pytest

from netmodel.engine import Engine, Event, ExecConfig
from netmodel.engine.events import Subscription
from netmodel.errors import Conflict, Invalid, MissingFeature, NotFound, NotModified, StartRefused
from netmodel.model import ContainerConfig, EndpointConfig, MountConfig, NetworkConfig
from runtime.images import ImageNotFound  # noqa: F401 - what is translated
from tests.netmodel.engine.conftest import SLEEP, Run, execute, output_of
from tests.netmodel.engine.shared import engine, host
from tests.support.box import Box
from tests.support.wait import eventually

__all__ = ["engine", "host"]

pytestmark = pytest.mark.kernel


def test_a_container_runs_in_namespaces_of_its_own(engine: Engine, run: Run) -> None:
    web = run("web", hostname="www")

    assert web.state.status == "running"
    assert output_of(engine, "web", "hostname").strip() == "www"
    assert output_of(engine, "web", "cat", "/proc/1/comm").strip() == "sleep"
    assert output_of(engine, "web", "id", "-u").strip() == "0"
    assert output_of(engine, "web", "cat", "/proc/self/uid_map").split() == ["0", str(web.idmap_base), "65536"]


def test_what_it_prints_is_in_its_log(engine: Engine) -> None:
    config = ContainerConfig(image="host", command=("sh", "-c", "echo out; echo err >&2; exit 3"))
    container = engine.create_container(config)

    ended = engine.wait(container.id, "next-exit")
    engine.start(container.id)

    assert ended.result(10) == 3
    assert {(entry.stream, entry.log) for entry in engine.logs(container.id)} == {
        ("stdout", "out\n"),
        ("stderr", "err\n"),
    }
    state = engine.container(container.id).state
    assert (state.status, state.exit_code, state.pid) == ("exited", 3, 0)


def test_following_a_log_ends_with_the_container(engine: Engine, run: Run) -> None:
    run("talker", command=("sh", "-c", "echo one; read x; echo two"), open_stdin=False)

    assert [entry.log for entry in engine.logs("talker", follow=True)] == ["one\n", "two\n"]


def test_stop_sends_the_signal_and_waits(engine: Engine, run: Run) -> None:
    run("polite", command=("sh", "-c", "trap 'exit 7' TERM; echo ready; while :; do sleep 0.01; done"))
    eventually(lambda: list(engine.logs("polite")))

    engine.stop("polite")

    assert engine.container("polite").state.exit_code == 7
    with pytest.raises(NotModified):
        engine.stop("polite")


def test_stop_kills_what_does_not_listen(engine: Engine, run: Run) -> None:
    run("deaf", command=("sh", "-c", "trap 'echo no' TERM; echo ready; while :; do sleep 0.01; done"))
    eventually(lambda: list(engine.logs("deaf")))

    engine.stop("deaf", timeout_s=0.05)

    assert engine.container("deaf").state.exit_code == 137


def test_a_first_process_without_a_handler_is_not_waited_for(engine: Engine, run: Run) -> None:
    """The kernel would drop the signal, so the grace period could only be wasted."""
    run("idle", stop_timeout_s=60)

    engine.stop("idle")

    assert engine.container("idle").state.exit_code == 137


def test_restart_keeps_links_and_addresses(engine: Engine, run: Run) -> None:
    engine.create_network(NetworkConfig(name="lan"))
    run("web", "lan")
    before = output_of(engine, "web", "ip", "-o", "link", "show", "eth0")

    engine.restart("web")

    assert output_of(engine, "web", "ip", "-o", "link", "show", "eth0") == before


def test_start_after_stop_finds_the_same_address_and_mac(engine: Engine, run: Run) -> None:
    engine.create_network(NetworkConfig(name="lan"))
    run("web", "lan")
    [before] = engine.endpoints(container_id=engine.container("web").id)

    engine.stop("web")
    engine.start("web")

    shown = output_of(engine, "web", "ip", "-o", "addr", "show", "eth0")
    assert str(before.addresses[0]) in shown
    assert before.mac in output_of(engine, "web", "ip", "link", "show", "eth0")


def test_its_file_system_survives_a_stop(engine: Engine, run: Run) -> None:
    run("web")
    output_of(engine, "web", "sh", "-c", "echo kept > /opt/note")

    engine.stop("web")
    engine.start("web")

    assert output_of(engine, "web", "cat", "/opt/note") == "kept\n"


@pytest.mark.parametrize(
    ("command", "code"), [(("/no/such/program",), 127), (("/etc/hostname",), 126), (("no-such-program",), 127)]
)
def test_a_program_that_cannot_be_run_leaves_nothing_running(
    engine: Engine, command: tuple[str, ...], code: int
) -> None:
    container = engine.create_container(ContainerConfig(image="host", command=command), "broken")

    with pytest.raises(StartRefused) as refused:
        engine.start("broken")

    assert refused.value.code == code
    state = engine.container(container.id).state
    assert (state.status, state.exit_code) == ("created", code)
    assert state.error
    assert engine._core.spawner.status() == []
    assert engine._core.cgroups.names() == []


def test_references_are_names_ids_or_their_beginnings(engine: Engine) -> None:
    web = engine.create_container(ContainerConfig(image="host", command=SLEEP), "web")

    assert engine.container("web") == engine.container("/web") == engine.container(web.id[:7]) == web
    with pytest.raises(NotFound) as unknown:
        engine.container("wbe")
    assert unknown.value.hint == "did you mean web?"


def test_a_name_is_given_once(engine: Engine) -> None:
    engine.create_container(ContainerConfig(image="host", command=SLEEP), "web")

    with pytest.raises(Conflict, match="'web' is taken"):
        engine.create_container(ContainerConfig(image="host", command=SLEEP), "web")
    assert len(engine.containers()) == 1
    assert len(engine.endpoints()) == 1


def test_renaming_moves_its_name_on_the_network(engine: Engine, run: Run) -> None:
    engine.create_network(NetworkConfig(name="lan"))
    run("old", "lan")
    run("asker", "lan")

    engine.rename("old", "new")

    assert execute(engine, "asker", "getent", "hosts", "new")[0] == 0
    assert execute(engine, "asker", "getent", "hosts", "old")[0] == 2


def test_removing_a_running_container_needs_force(engine: Engine, run: Run) -> None:
    web = run("web")

    with pytest.raises(Conflict, match="web is running"):
        engine.remove("web")
    removed = engine.wait("web", "removed")
    engine.remove("web", force=True)

    assert removed.result(5) == 137
    with pytest.raises(NotFound):
        engine.container(web.id)
    assert engine._core.spawner.pins() == []
    assert not list((engine.root / "containers").iterdir())


def test_auto_remove_takes_it_away_with_its_anonymous_volumes(engine: Engine) -> None:
    config = ContainerConfig(
        image="host", command=("true",), auto_remove=True, mounts=(MountConfig(type="volume", target="/data"),)
    )
    container = engine.create_container(config)
    assert len(engine.volumes()) == 1

    removed = engine.wait(container.id, "removed")
    engine.start(container.id)

    assert removed.result(10) == 0
    assert engine.containers() == []
    eventually(lambda: engine.volumes() == [])


def test_who_is_attached_reads_on_when_the_container_is_gone(engine: Engine) -> None:
    """What ends in a millisecond takes its log along before a client could read it."""
    config = ContainerConfig(image="host", command=("echo", "hi"), auto_remove=True)
    container = engine.create_container(config)
    descriptor, _ = engine.attach(container.id, ["stdout"], framed=False)
    removed = engine.wait(container.id, "removed")

    engine.start(container.id)

    assert removed.result(10) == 0
    assert engine.containers() == []
    assert os.read(descriptor, 100) == b"hi\n"
    assert os.read(descriptor, 100) == b""
    os.close(descriptor)


def test_named_volumes_outlive_containers(engine: Engine, run: Run) -> None:
    mounts = (MountConfig(type="volume", source="data", target="/data"),)
    run("writer", mounts=mounts)
    output_of(engine, "writer", "sh", "-c", "echo kept > /data/note")
    with pytest.raises(Conflict, match="in use by writer"):
        engine.remove_volume("data")
    engine.remove("writer", force=True, volumes=True)

    run("reader", mounts=mounts)

    assert output_of(engine, "reader", "cat", "/data/note") == "kept\n"


def test_pause_stops_the_clock_and_kill_still_works(engine: Engine, run: Run) -> None:
    run("web")

    engine.pause("web")
    assert engine.container("web").state.status == "paused"
    with pytest.raises(Conflict, match="paused"):
        engine.exec_create("web", ExecConfig(command=("true",)))
    engine.unpause("web")
    assert output_of(engine, "web", "echo", "awake") == "awake\n"
    engine.pause("web")
    engine.kill("web")

    assert engine.container("web").state.status == "exited"


def test_what_is_paused_is_removed_all_the_same(engine: Engine, run: Run) -> None:
    run("web")
    engine.pause("web")

    engine.remove("web", force=True)

    assert not engine.containers(all=True)


def test_an_exec_has_its_own_exit_code(engine: Engine, run: Run) -> None:
    run("web", environment={"COLOUR": "red"})

    assert execute(engine, "web", "sh", "-c", "echo $COLOUR$SIZE; exit 4", environment={"SIZE": "L"}) == (4, "redL\n")
    with pytest.raises(StartRefused) as refused:
        execute(engine, "web", "no-such-program")
    assert refused.value.code == 127


def test_events_tell_what_happened(engine: Engine, run: Run) -> None:
    listening = engine.events.subscribe()

    run("web", labels={"tier": "front"})
    engine.kill("web")
    engine.remove("web")

    everything = [listening.get(5) for _ in range(7)]
    told = [event for event in everything if event.type == "container"]
    assert [event.action for event in told] == ["create", "start", "kill", "die", "destroy"]
    assert told[3].attributes["exitCode"] == "137"
    assert told[0].attributes["name"] == "web"
    assert told[0].attributes["tier"] == "front"


def test_events_of_what_is_done_to_one_that_runs(engine: Engine, run: Run, tmp_path: Path) -> None:
    run("web", tty=True)
    listening = engine.events.subscribe()

    engine.rename("web", "site")
    engine.pause("site")
    engine.unpause("site")
    engine.update("site", {"pids_limit": 100})
    engine.top("site")
    engine.resize("site", 40, 100)
    assert execute(engine, "site", "sh", "-c", "exit 3")[0] == 3
    b"".join(engine.copy_out("site", "/etc/hostname"))
    with tarfile.open(tmp_path / "empty.tar", "w"):
        pass
    with (tmp_path / "empty.tar").open("rb") as archive:
        engine.copy_in("site", "/tmp", archive.fileno())
    engine.restart("site", 0)

    told = [listening.get(5) for _ in range(15)]
    assert [event.action for event in told if event.type == "container"] == [
        "rename",
        "pause",
        "unpause",
        "update",
        "top",
        "resize",
        "exec_create: sh -c exit 3",
        "exec_start: sh -c exit 3",
        "exec_die",
        "archive-path",
        "extract-to-dir",
        "kill",
        "die",
        "start",
        "restart",
    ]
    by_action = {event.action.partition(":")[0]: event.attributes for event in told}
    assert by_action["rename"]["oldName"] == "/web"
    assert (by_action["resize"]["height"], by_action["resize"]["width"]) == ("40", "100")
    assert by_action["exec_die"]["exitCode"] == "3"
    assert by_action["exec_die"]["execID"] == by_action["exec_start"]["execID"]
    assert by_action["die"]["execDuration"].isdigit()


def test_prune_takes_what_does_not_run_and_says_what_that_freed(engine: Engine, run: Run) -> None:
    run("up")
    run("down", command=("sh", "-c", "head -c 1000000 /dev/zero > /big"), labels={"keep": "no"})
    engine.wait("down").result(20)
    engine.create_container(ContainerConfig(image="host", labels={"keep": "yes"}), "new")
    written, whole = engine.container_sizes("down")
    assert written == whole >= 1000000
    listening = engine.events.subscribe()

    with pytest.raises(Invalid, match="invalid filter 'name'"):
        engine.prune_containers({"name": ["down"]})
    removed, freed = engine.prune_containers({"label!": ["keep=yes"]})

    assert (len(removed), freed) == (1, written)
    assert {container.name for container in engine.containers()} == {"up", "new"}
    told = [listening.get(5) for _ in range(2)]
    assert (told[0].action, told[1].action, told[1].attributes) == ("destroy", "prune", {"reclaimed": str(written)})


def test_what_is_of_other_worlds_is_refused_by_name(engine: Engine, tmp_path: Path) -> None:
    (tmp_path / "rootfs").mkdir()
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(MissingFeature, match="is an OCI bundle"):
        engine.create_container(ContainerConfig(image=str(tmp_path)))


def test_out_of_memory_is_told_while_the_first_process_lives_on(engine: Engine, run: Run) -> None:
    eater = "bytearray(200 * 1024 * 1024)"
    limit = 32 * 1024 * 1024
    run("early", memory_bytes=limit, memory_swap_bytes=limit)
    run("late")
    engine.update("late", {"memory_bytes": limit, "memory_swap_bytes": limit})
    listening = engine.events.subscribe()

    for name in ("early", "late"):
        assert execute(engine, name, "python3", "-c", eater)[0] == 137
        eventually(lambda name=name: engine.container(name).state.oom_killed)  # type: ignore[misc]
        assert engine.container(name).state.status == "running"
        engine.stop(name, 0)
        assert engine.container(name).state.oom_killed

    told = [(event.attributes["name"], event.action) for event in iter(partial(_next, listening), None)]
    assert [one for one in told if one[1] in ("oom", "die")] == [
        ("early", "oom"),
        ("early", "die"),
        ("late", "oom"),
        ("late", "die"),
    ]
    engine.start("late")
    assert not engine.container("late").state.oom_killed


def _next(listening: Subscription) -> Event | None:
    try:
        return listening.get_nowait()
    except queue.Empty:
        return None


def test_out_of_memory_is_told(engine: Engine) -> None:
    eater = "import sys; x = bytearray(200 * 1024 * 1024)"
    config = ContainerConfig(
        image="host",
        command=("python3", "-c", eater),
        memory_bytes=32 * 1024 * 1024,
        memory_swap_bytes=32 * 1024 * 1024,
    )
    container = engine.create_container(config)

    ended = engine.wait(container.id, "next-exit")
    engine.start(container.id)

    assert ended.result(20) == 137
    assert engine.container(container.id).state.oom_killed


def test_the_users_mistakes_change_nothing(engine: Engine) -> None:
    for config, message in (
        (ContainerConfig(image="no-such-image", command=SLEEP), "no-such-image"),
        (ContainerConfig(image="host", command=SLEEP, networks=(EndpointConfig(network="nowhere"),)), "nowhere"),
        (ContainerConfig(image="host", command=SLEEP, cap_add=("FLY",)), "FLY"),
        (ContainerConfig(image="host", command=SLEEP, sysctls={"kernel.panic": "1"}), "kernel.panic"),
        (ContainerConfig(image="host", command=SLEEP, network_mode="container:ghost"), "ghost"),
        (ContainerConfig(image="host", command=SLEEP, stop_signal="SIGNOPE"), "SIGNOPE"),
    ):
        with pytest.raises((Invalid, NotFound, Exception), match=message):
            engine.create_container(config)
    assert engine.containers() == []
    assert engine.endpoints() == []
    assert engine._core.layers.containers() == []


def test_privileged_and_userns_host_have_no_user_namespace(engine: Engine, run: Run, host: Box) -> None:
    run("mighty", privileged=True)
    run("plain", userns_mode="host")

    for name in ("mighty", "plain"):
        assert output_of(engine, name, "cat", "/proc/self/uid_map").split()[:2] == ["0", "0"]
    assert "CapEff:\t00000000a80425fb" in output_of(engine, "plain", "cat", "/proc/1/status")
