"""Containers that start again, and those that must not."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from netmodel.engine import Engine
from netmodel.engine.restarts import wanted
from netmodel.errors import Conflict
from netmodel.model import NetworkConfig, PortConfig, RestartPolicy
from tests.netmodel.engine.conftest import Run, clean_up, output_of, runner
from tests.support.box import Box
from tests.support.wait import eventually

ALWAYS = RestartPolicy(name="always")


@pytest.mark.parametrize(
    ("policy", "code", "restarts", "expected"),
    [
        (RestartPolicy(), 1, 0, False),
        (ALWAYS, 0, 1000, True),
        (RestartPolicy(name="unless-stopped"), 0, 0, True),
        (RestartPolicy(name="on-failure"), 0, 0, False),
        (RestartPolicy(name="on-failure"), 1, 1000, True),
        (RestartPolicy(name="on-failure", max_retries=2), 1, 1, True),
        (RestartPolicy(name="on-failure", max_retries=2), 1, 2, False),
    ],
)
def test_policies(policy: RestartPolicy, code: int, restarts: int, expected: bool) -> None:
    assert wanted(policy, code, restarts) is expected


@pytest.mark.kernel
def test_it_starts_again_in_the_same_sandbox(engine: Engine, run: Run) -> None:
    """Its link, its address and its published port stay as they are."""
    engine.create_network(NetworkConfig(name="lan"))
    web = run("web", "lan", restart=ALWAYS, ports=(PortConfig(container_port=80),))
    before = output_of(engine, "web", "ip", "-o", "link", "show", "eth0")

    os.kill(web.state.pid, 9)

    eventually(lambda: engine.container("web").state.pid not in (0, web.state.pid))
    again = engine.container("web")
    assert (again.restart_count, again.state.status, again.ports) == (1, "running", web.ports)
    assert output_of(engine, "web", "ip", "-o", "link", "show", "eth0") == before


@pytest.mark.kernel
def test_retries_end_and_wait_longer_each_time(engine: Engine, run: Run) -> None:
    events = engine.events.subscribe()
    run("job", command=("sh", "-c", "exit 3"), restart=RestartPolicy(name="on-failure", max_retries=3))

    eventually(lambda: engine.container("job").state.status == "exited")

    job = engine.container("job")
    assert (job.restart_count, job.state.exit_code) == (3, 3)
    seen = []
    while len(seen) < 8:
        event = events.get(1)
        if event.id == job.id and event.action in ("start", "die"):
            seen.append(event)
    assert [event.action for event in seen] == ["start", "die"] * 4
    deaths = [event.time.timestamp() for event in seen if event.action == "die"]
    starts = [event.time.timestamp() for event in seen if event.action == "start"]
    waits = [start - death for start, death in zip(starts[1:], deaths, strict=False)]
    for wait_s, wanted_s in zip(waits, (0.1, 0.2, 0.4), strict=True):
        assert wait_s >= wanted_s


@pytest.mark.kernel
@pytest.mark.parametrize("way", ["stop", "kill"])
def test_what_the_user_ends_stays_down(engine: Engine, run: Run, way: str) -> None:
    web = run("web", restart=ALWAYS, command=("sh", "-c", "trap 'exit 1' TERM; echo ready; sleep infinity & wait"))
    eventually(lambda: list(engine.logs("web")))

    if way == "stop":
        engine.stop("web")
    else:
        engine.kill("web", "SIGTERM")
        engine.wait("web").result(10)

    assert engine.container("web").state.status == "exited"
    assert engine.container("web").stopped
    engine.start("web")
    assert not engine.container("web").stopped
    assert engine.container("web").state.pid != web.state.pid


@pytest.mark.kernel
@pytest.mark.parametrize("verb", ["stop", "remove", "restart", "kill"])
def test_between_two_lives(host: Box, engine: Engine, run: Run, verb: str) -> None:
    engine.create_network(NetworkConfig(name="lan"))
    run("web", "lan", command=("sh", "-c", "exit 1"), restart=ALWAYS)
    # By its third life it waits long enough to be met there.
    eventually(
        lambda: engine.container("web").restart_count > 2 and engine.container("web").state.status == "restarting"
    )

    if verb == "remove":
        with pytest.raises(Conflict):
            engine.remove("web")
        engine.remove("web", force=True)
        assert engine.containers() == []
    elif verb == "restart":
        engine.restart("web")
        eventually(lambda: engine.container("web").state.status == "restarting")
    else:
        getattr(engine, verb)("web")
        assert engine.container("web").state.status == "exited"
        eventually(lambda: "nm" not in host.run("ip", "-o", "link").stdout, what="the end of its link")


@pytest.mark.kernel
def test_the_next_engine_goes_on(host: Box, tmp_path: Path) -> None:
    """One that ran is adopted, one that ended meanwhile and one that waited start again."""
    first = Engine(tmp_path / "root")
    first.open()
    first.create_network(NetworkConfig(name="lan"))
    steady = runner(first)("steady", "lan", restart=ALWAYS)
    ended = runner(first)("ended", "lan", restart=ALWAYS)
    runner(first)("waiting", "lan", restart=ALWAYS, command=("sh", "-c", "exit 1"))
    stopped = runner(first)("stopped", restart=ALWAYS)
    first.stop("stopped", 0)
    eventually(lambda: first.container("waiting").restart_count > 2)
    eventually(lambda: first.container("waiting").state.status == "restarting")
    link = output_of(first, "ended", "ip", "-o", "link", "show", "eth0")
    first.close()
    os.kill(ended.state.pid, 9)

    second = Engine(tmp_path / "root")
    second.open()

    assert second.container("steady").state.pid == steady.state.pid
    eventually(lambda: second.container("ended").state.pid not in (0, ended.state.pid))
    assert output_of(second, "ended", "ip", "-o", "link", "show", "eth0") == link
    count = second.container("waiting").restart_count
    eventually(lambda: second.container("waiting").restart_count > count)
    assert second.container(stopped.id).state.status == "exited"
    os.kill(second.container("steady").state.pid, 9)
    eventually(lambda: second.container("steady").restart_count == 1)
    clean_up(second)


@pytest.mark.kernel
def test_a_new_boot_starts_what_is_always_to_run(host: Box, tmp_path: Path) -> None:
    first = Engine(tmp_path / "root")
    first.open()
    for name in ("always", "unless-stopped"):
        runner(first)(name, restart=RestartPolicy(name=name))  # type: ignore[arg-type]
        first.stop(name, 0)
    first._core.records.write(meta={"boot": "another"})
    first.close()

    second = Engine(tmp_path / "root")
    second.open()

    eventually(lambda: second.container("always").state.status == "running")
    assert second.container("unless-stopped").state.status == "exited"
    clean_up(second)


@pytest.mark.kernel
def test_it_cannot_go_and_come_again(run: Run) -> None:
    with pytest.raises(Conflict, match=r"restart policy always.*--rm"):
        run("web", restart=ALWAYS, auto_remove=True)
