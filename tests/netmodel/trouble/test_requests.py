"""Wrong requests, the way users make them: each gets a sentence and a way out, and changes nothing.

What users see stands in the transcripts beside this file, to be read as users read it.
"""

from __future__ import annotations

import os
import re
import shlex
import socket
from pathlib import Path
from typing import Any

import pytest

from tests.netmodel.trouble.state import expect_state, state_of, told, unchanged
from tests.support.daemon import Daemon
from tests.support.wait import eventually

pytestmark = pytest.mark.kernel


def transcripts() -> list[tuple[str, str]]:
    """Each command, and what it answers: "error: ", "hint: " where there is a way out, "[exit code]"."""
    found = []
    for file in ("networks.txt", "containers.txt", "verbs.txt"):
        for transcript in Path(__file__).with_name(file).read_text().strip().split("\n\n"):
            command, answer = transcript.split("\n", 1)
            found.append((command.removeprefix("$ netmodel "), answer.strip()))
    return found


@pytest.fixture(scope="module")
def busy(daemon: Daemon) -> Daemon:
    """An engine with a network, a volume, a container that runs and one that has ended."""
    daemon.ok("network", "create", "--subnet", "10.50.0.0/24", "lan")
    daemon.ok("volume", "create", "data")
    web = "--name web --network lan --ip 10.50.0.9 -p 8080:80 -v data:/data host sleep infinity"
    daemon.ok("run", "-d", *web.split())
    daemon.ok("run", "--name", "done", "host", "true")
    for command in ("link add up0 type bridge", "address add 10.60.0.1/24 dev up0", "link set up0 up"):
        daemon.box.run("ip", *command.split())
    # The last link of "done" is deleted a moment after its end.
    eventually(lambda: daemon.box.run("ip", "-o", "link").stdout.count(" nm") == 1, what="links of containers")
    return daemon


@pytest.fixture(scope="module")
def before(busy: Daemon) -> dict[str, Any]:
    return state_of(busy)


@pytest.mark.parametrize(("command", "answer"), [pytest.param(*one, id=one[0]) for one in transcripts()])
def test_refused(busy: Daemon, before: dict[str, Any], command: str, answer: str) -> None:
    ids = {path.split("/")[-1]: busy.client.get(path)["Id"][:12] for path in ("/networks/lan", "/containers/web/json")}
    done = busy.client.get("/containers/done/json")["Id"][:12]
    known = {"lan": ids["lan"], "web": ids["json"], "done": done, "cpus": os.cpu_count()}

    refused = busy.netmodel(*shlex.split(command))

    expect_state(busy, before)
    code, lines = told(refused)
    expected = answer.format(**known).splitlines()
    for number, line in enumerate(expected):
        if line.endswith(" ..."):  # the rest differs from version to version
            lines[number] = lines[number][: len(line) - 4] + " ..."
    assert [*lines, f"[{code}]"] == expected


def test_a_driver_whose_kernel_feature_is_missing(busy: Daemon) -> None:
    """The doctor lists what this kernel lacks."""
    with unchanged(busy):
        done = busy.netmodel("network", "create", "--driver", "ipvlan", "--opt", "parent=up0", "x")
        if done.returncode == 0:
            busy.ok("network", "rm", "x")
    if done.returncode == 0:
        pytest.skip("missing: a kernel without ipvlan")

    _, [error, hint] = told(done)
    assert "ipvlan" in error
    assert "netmodel doctor" in hint


def test_a_limit_that_the_machine_cannot_give(busy: Daemon) -> None:
    """Without CAP_SYS_RESOURCE nobody gets above the hard limit that we have ourselves."""
    status = dict(line.split(":\t") for line in Path("/proc/self/status").read_text().splitlines())
    if int(status["CapEff"], 16) >> 24 & 1:
        pytest.skip("missing: a machine that withholds CAP_SYS_RESOURCE")

    with unchanged(busy):
        done = busy.netmodel("run", "--ulimit", "nofile=99999999", "host", "true")

    code, [error, hint] = told(done)
    assert code == 125
    assert error.startswith("error: ulimit nofile=99999999:99999999 cannot be given: the machine allows at most ")
    assert hint == "hint: ask for less; more needs CAP_SYS_RESOURCE on the host"


def test_a_port_that_a_process_of_the_host_has(busy: Daemon) -> None:
    ours = f"{Path('/proc/self/comm').read_text().strip()}, pid {os.getpid()}"
    with busy.box.open(lambda: socket.create_server(("127.0.0.1", 8099))), unchanged(busy):
        done = busy.netmodel("run", "-p", "8099:80", "host", "true")

    assert told(done) == (
        125,
        [
            f"error: host port 8099/tcp is in use by {ours}",
            "hint: publish another host port, or stop what holds this one",
        ],
    )


def test_an_id_that_several_share_the_beginning_of(busy: Daemon) -> None:
    """Among 17 ids two begin alike."""
    made = [busy.client.post("/containers/create", {"Image": "host", "Cmd": ["true"]})["Id"] for _ in range(17)]
    try:
        first = next(one[0] for one in made if sum(other[0] == one[0] for other in made) > 1)
        with unchanged(busy):
            code, [error, hint] = told(busy.netmodel("start", first))
        assert code == 2
        assert re.fullmatch(f"error: container id '{first}' is ambiguous: {first}.{{11}}, {first}.{{11}}", error)
        assert hint == "hint: give more digits"
    finally:
        for one in made:
            busy.client.delete(f"/containers/{one}")


def test_one_of_several_is_wrong(busy: Daemon) -> None:
    """The others are done, and each failure is told."""
    busy.ok("create", "--name", "one", "host", "true")
    busy.ok("create", "--name", "two", "host", "true")

    done = busy.netmodel("rm", "one", "nope", "two", "neither")

    assert done.stdout.split() == ["one", "two"]
    assert done.stderr.splitlines() == ["error: no such container: nope", "error: no such container: neither"]
    assert done.returncode == 1


def test_what_failed_can_be_corrected_and_repeated(busy: Daemon) -> None:
    """A run that failed leaves its name free: Docker's users know it otherwise."""
    assert busy.netmodel("run", "--name", "again", "-p", "8080:80", "host", "true").returncode == 125

    busy.ok("run", "--rm", "--name", "again", "-p", "8081:80", "host", "true")
