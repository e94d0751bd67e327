"""Containers from the command line, on a real engine."""

from __future__ import annotations

import json
import os
import pty
import select
import signal
import subprocess
import termios
from pathlib import Path
from typing import Any

import pytest

from tests.support.daemon import NETMODEL, Daemon
from tests.support.wait import eventually

pytestmark = pytest.mark.kernel


def test_run_in_the_foreground_shows_both_outputs_and_exits_with_the_code(daemon: Daemon) -> None:
    done = daemon.netmodel("run", "--rm", "--name", "brief", "host", "sh", "-c", "echo out; echo err >&2; exit 7")

    assert (done.stdout, done.stderr, done.returncode) == ("out\n", "err\n", 7)
    assert daemon.ok("ps", "-aq", "--filter", "name=brief") == ""


@pytest.mark.parametrize(
    ("argv", "code"),
    [
        (("host", "/nonexistent"), 127),
        (("host", "nonexistent-command"), 127),
        (("host", "/etc/passwd"), 126),
        (("/nosuch/image", "true"), 125),
        (("--network", "nosuch-network", "host", "true"), 125),
    ],
)
def test_what_cannot_run_says_why_and_leaves_nothing(daemon: Daemon, argv: tuple[str, ...], code: int) -> None:
    before = daemon.ok("ps", "-aq")

    done = daemon.netmodel("run", "--rm", *argv)

    assert done.returncode == code
    assert done.stderr.startswith("error: ")
    assert daemon.ok("ps", "-aq") == before


def test_a_signal_is_passed_on(daemon: Daemon) -> None:
    script = "trap 'echo caught; exit 3' INT; echo ready; while :; do sleep 0.05; done"
    client = daemon.popen(NETMODEL, "run", "--rm", "host", "sh", "-c", script)
    assert client.stdout is not None
    assert client.stdout.readline() == "ready\n"

    client.send_signal(signal.SIGINT)

    output, _ = client.communicate(timeout=20)
    assert (output, client.returncode) == ("caught\n", 3)


def test_the_life_of_a_container(daemon: Daemon) -> None:
    made = daemon.ok("create", "--name", "life", "host", "sh", "-c", "trap 'exit 4' TERM; while :; do sleep 0.05; done")
    assert daemon.ok("ps", "-a", "--filter", "name=life", "--format", "{{.State}}") == "created"
    assert daemon.ok("start", "life") == "life"
    assert daemon.ok("ps", "-q", "--no-trunc", "--filter", "name=life") == made
    daemon.ok("pause", "life")
    assert daemon.ok("inspect", "-f", "{{.State.Status}}", "life") == "paused"
    daemon.ok("unpause", "life")
    address = daemon.ok("inspect", "-f", "{{.NetworkSettings.IPAddress}}", "life")
    daemon.ok("restart", "-t", "0", "life")
    assert daemon.ok("inspect", "-f", "{{.NetworkSettings.IPAddress}}", "life") == address
    daemon.ok("rename", "life", "second")
    daemon.ok("stop", "second")
    assert daemon.ok("wait", "second") == "4"
    daemon.ok("start", "second")
    for verb in ("stop", "restart"):
        assert daemon.netmodel(verb, "-s", "NONE", "second").returncode == 2
    assert daemon.ok("ps", "-q", "--filter", "name=second") == made[:12]
    daemon.ok("exec", "second", "true")
    daemon.ok("stop", "--signal", "KILL", "-t", "60", "second")
    assert daemon.ok("wait", "second") == "137"
    daemon.ok("rm", "second")
    assert daemon.netmodel("inspect", "second").returncode == 1


def test_one_failure_does_not_keep_the_rest_from_being_done(daemon: Daemon) -> None:
    daemon.ok("create", "--name", "there", "host", "true")

    done = daemon.netmodel("rm", "nosuch", "there")

    assert (done.stdout, done.returncode) == ("there\n", 1)
    assert done.stderr.startswith("error: no such container: nosuch")
    # As with Docker, who forces it only wants it gone.
    forced = daemon.netmodel("rm", "-f", "nosuch")
    assert (forced.returncode, forced.stderr) == (0, "error: no such container: nosuch\n")


def test_exec(daemon: Daemon) -> None:
    daemon.ok("run", "-d", "--name", "tools", "-e", "A=1", "host", "sleep", "infinity")

    script = "cat; pwd; echo $A$B >&2; exit 3"
    done = daemon.netmodel("exec", "-i", "-e", "B=2", "-w", "/tmp", "tools", "sh", "-c", script, text="in\n")

    assert (done.stdout, done.stderr, done.returncode) == ("in\n/tmp\n", "12\n", 3)
    missing = daemon.netmodel("exec", "tools", "/nonexistent")
    assert (missing.returncode, missing.stderr.startswith("error: ")) == (127, True)
    assert daemon.netmodel("exec", "nosuch", "true").returncode == 1
    assert daemon.netmodel("exec", "-it", "tools", "true").returncode == 2  # our input is no terminal


def test_files_that_say_and_are_told_what_a_container_is(daemon: Daemon, tmp_path: Path) -> None:
    labels, written = tmp_path / "labels", tmp_path / "id"
    labels.write_text("# mine\na=file\nb=file\n")

    made = daemon.ok("create", "--cidfile", str(written), "--label-file", str(labels), "-l", "b=option", "host", "true")

    assert written.read_text() == made
    assert json.loads(daemon.ok("inspect", "-f", "{{json .Config.Labels}}", made)) == {"a": "file", "b": "option"}
    assert daemon.ok("ps", "-lq", "--no-trunc") == made
    template = ("--format", "{{.Action}} {{.Actor.Attributes.b}}")
    told = daemon.ok("events", "--since", "1h", "--until", "0s", "--filter", f"container={made}", *template)
    assert told == "create option"
    refused = daemon.netmodel("run", "--cidfile", str(written), "host", "true")
    assert (refused.returncode, "cannot be written: File exists" in refused.stderr) == (2, True)
    assert daemon.netmodel("run", "--cidfile", f"{written}2", "--pull", "never", "nosuch", "true").returncode == 125
    assert not Path(f"{written}2").exists()
    daemon.ok("rm", made)


def test_run_with_our_input(daemon: Daemon) -> None:
    """The input's end is the program's, and what is larger than any pipe arrives whole."""
    counted = daemon.netmodel("run", "--rm", "-i", "host", "sh", "-c", "wc -c; exit 4", text="x" * 300_000)

    assert (counted.stdout.strip(), counted.returncode) == ("300000", 4)


@pytest.mark.parametrize("verb", ["exec", "run"])
def test_a_terminal(daemon: Daemon, verb: str) -> None:
    """Raw keys, the window's size and its changes, the exit code; and our own terminal is as it was."""
    if verb == "exec":
        daemon.ok("run", "-d", "--name", "typist", "host", "sleep", "infinity")
    argv = ("exec", "-it", "typist", "sh") if verb == "exec" else ("run", "--rm", "-it", "host", "sh")
    with Screen() as screen:
        before = screen.settings()
        client = screen.start(daemon, *argv)
        screen.ask("stty size", "33 77")  # asked again: the size comes once the program runs

        screen.resize(20, 50, client)
        screen.ask("stty size", "20 50")
        screen.type("exit 6\n")

        assert client.wait(10) == 6
        assert screen.settings() == before


class Screen:
    """A terminal of 33 lines and 77 columns, and somebody who sits there."""

    def __init__(self) -> None:
        self._master, self._slave = pty.openpty()
        termios.tcsetwinsize(self._slave, (33, 77))
        self._seen = ""

    def __enter__(self) -> Screen:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._master)
        os.close(self._slave)

    def start(self, daemon: Daemon, *argv: str) -> subprocess.Popen[bytes]:
        with daemon.box.entered():
            return subprocess.Popen(
                [NETMODEL, *argv],
                stdin=self._slave,
                stdout=self._slave,
                stderr=self._slave,
                env=daemon.environment,
            )

    def settings(self) -> list[Any]:
        return termios.tcgetattr(self._slave)

    def resize(self, rows: int, columns: int, client: subprocess.Popen[bytes]) -> None:
        termios.tcsetwinsize(self._master, (rows, columns))
        client.send_signal(signal.SIGWINCH)  # ours to send: this terminal is not the client's controlling one

    def type(self, text: str) -> None:
        os.write(self._master, text.encode())

    def ask(self, command: str, answer: str) -> None:
        """Type a command until its answer is seen."""

        def answered() -> bool:
            self.type(command + "\n")
            while select.select([self._master], [], [], 0.2)[0]:
                self._seen += os.read(self._master, 65536).decode(errors="replace")
            return answer in self._seen

        eventually(answered)


def test_logs(daemon: Daemon) -> None:
    daemon.ok("run", "-d", "--name", "told", "host", "sh", "-c", "echo 1; echo 2 >&2; sleep 0.3; echo 3")

    followed = daemon.netmodel("logs", "-f", "told")

    assert (followed.stdout, followed.stderr) == ("1\n3\n", "2\n")
    assert daemon.ok("logs", "-n", "1", "told") == "3"
    time_, _, line = daemon.ok("logs", "-t", "-n", "1", "told").partition(" ")
    assert (line, time_[-1]) == ("3", "Z")
    assert daemon.ok("logs", "--since", "1h", "--until", time_, "told") in ("1", "1\n3")
    assert daemon.netmodel("logs", "-n", "some", "told").returncode == 2
    assert daemon.ok("logs", "--tail", "-1", "told") == "1\n3"
    for past in ("2020-01-31", "2020-01-31Z", "2020-01-31+01:00", "2020-01-31T10", "2020-01-31T10:00Z", "1.5"):
        assert daemon.ok("logs", "--until", past, "told") == "", past
        assert daemon.ok("logs", "--since", past, "told") == "1\n3", past
    assert daemon.ok("logs", "--until", "-1h", "told") == "1\n3"
    assert "not a time" in daemon.netmodel("logs", "--since", "soon", "told").stderr


def test_json_is_docker_s(daemon: Daemon) -> None:
    daemon.ok("run", "-d", "--name", "shaped", "-p", "127.0.0.1:8095:80", "-l", "a=b", "host", "sleep", "infinity")

    (line,) = json.loads(daemon.ok("ps", "--json", "--filter", "label=a=b"))
    (whole,) = json.loads(daemon.ok("inspect", "shaped"))

    assert line["Names"] == ["/shaped"]
    assert line["Ports"] == [{"IP": "127.0.0.1", "PrivatePort": 80, "PublicPort": 8095, "Type": "tcp"}]
    assert (whole["Id"], whole["Config"]["Labels"]) == (line["Id"], {"a": "b"})
    assert daemon.ok("port", "shaped") == "80/tcp -> 127.0.0.1:8095"
    assert daemon.netmodel("port", "shaped", "81").returncode == 1
    (used,) = json.loads(daemon.ok("stats", "--json", "shaped"))
    assert used["pids_stats"]["current"] == 1
    line = daemon.ok("stats", "--no-stream", "--format", "{{.Name}} {{.PIDs}} {{.MemPerc}}", "shaped").split()
    assert (line[:2], line[2][-1]) == (["shaped", "1"], "%")


def test_update_changes_limits_of_what_runs(daemon: Daemon) -> None:
    daemon.ok("run", "-d", "--name", "grows", "-m", "48m", "--device", "/dev/fuse", "host", "sleep", "infinity")

    assert daemon.ok("update", "-m", "64m", "--memory-swap", "64m", "--cpu-quota", "20000", "grows") == "grows"

    (whole,) = json.loads(daemon.ok("inspect", "grows"))
    limits = whole["HostConfig"]
    assert (limits["Memory"], limits["CpuQuota"], limits["Devices"][0]["PathOnHost"]) == (64 << 20, 20_000, "/dev/fuse")
    assert "/ 64MiB" in daemon.ok("stats", "grows")
    nothing = daemon.netmodel("update", "grows")
    assert (nothing.returncode, nothing.stderr.splitlines()[0]) == (2, "error: nothing to change is given")
    refused = daemon.netmodel("update", "--cpuset-cpus", "0", "grows")
    assert "started without a cpuset group" in refused.stderr or refused.returncode == 0
    profile = daemon.netmodel("create", "--security-opt", "seccomp=/no/such.json", "host")
    assert (profile.returncode, profile.stderr.splitlines()[0]) == (
        2,
        "error: seccomp profile /no/such.json: No such file or directory",
    )


def test_port_says_what_keeps_the_world_from_it(daemon: Daemon) -> None:
    """Rules of others decide as well as ours; inspect says it, too."""
    daemon.ok("run", "-d", "--name", "walled", "-p", "8096:80", "-p", "127.0.0.1:8097:81", "host", "sleep", "infinity")
    daemon.run(
        "nft", "add table inet strict; add chain inet strict c { type filter hook forward priority 0; policy drop; }"
    )
    try:
        done = daemon.netmodel("port", "walled")
        [web, relayed, local] = json.loads(daemon.ok("inspect", "walled"))[0]["Netmodel"]["Exposure"]
        assert json.loads(daemon.ok("port", "--json", "walled")) == [web, relayed, local]
        assert json.loads(daemon.ok("port", "--json", "walled", "81")) == [local]
    finally:
        daemon.run("nft", "delete table inet strict")
        daemon.ok("rm", "-f", "walled")

    assert done.stdout == "80/tcp -> 0.0.0.0:8096\n80/tcp -> [::]:8096\n81/tcp -> 127.0.0.1:8097\n"
    why = "table inet strict chain c (policy drop)"
    assert done.stderr.splitlines() == [
        f"warning: 0.0.0.0:8096 is not reached from outside: blocked by {why}",
        "[::]:8096 is relayed: the container sees its gateway's address, not the client's",
    ]
    assert (web["Relayed"], relayed["Relayed"], relayed["State"]) == (False, True, "open")
    assert (web["State"], web["Why"], local["State"]) == ("blocked", why, "host")


def test_ports_that_nobody_will_reach_are_warned_of(daemon: Daemon) -> None:
    """Also where Docker's own command line asked for them."""
    for options in (["-d", "p2p", "cable"], ["--internal", "inner"], ["outer"]):
        daemon.ok("network", "create", *options)
    why = {
        ("host",): "network mode host has none of its own",
        ("inner",): "while it is on inner (internal) alone: connect it to a bridge network that leads outside",
        ("inner", "cable"): "while it is on inner (internal), cable (p2p) alone",
        ("inner", "outer"): "",
    }
    for networks, told in why.items():
        options = [option for name in networks for option in ("--network", name)]
        done = daemon.netmodel("create", "--name", "vain", *options, "-p", "80", "host", "true")
        assert done.returncode == 0
        assert (told in done.stderr) if told else not done.stderr, done.stderr
        daemon.ok("rm", "vain")
    for name in ("cable", "inner", "outer"):
        daemon.ok("network", "rm", name)


def test_a_mac_address_that_another_has_there_is_warned_of(daemon: Daemon) -> None:
    mac = "02:00:00:00:00:99"
    for name in ("twins", "apart"):
        daemon.ok("network", "create", name)
    first = daemon.netmodel("create", "--name", "one", "--network", f"name=twins,mac-address={mac}", "host", "true")
    second = daemon.netmodel("create", "--name", "two", "--network", f"name=twins,mac-address={mac}", "host", "true")
    third = daemon.netmodel("create", "--name", "three", "--network", f"name=apart,mac-address={mac}", "host", "true")

    assert (first.stderr, third.stderr) == ("", "")
    assert f"one has the MAC address {mac} on network twins, too" in second.stderr
    daemon.ok("rm", "one", "two", "three")
    daemon.ok("network", "rm", "twins", "apart")


def test_a_range_of_ports_is_shown_as_one(daemon: Daemon) -> None:
    publish = (
        "-p",
        "20000-20999:10000-10999",
        "-p",
        "127.0.0.1:81:81",
        "-p",
        "9000-9001:90-91/udp",
        "-p",
        "9005:92/udp",
    )
    daemon.ok("run", "-d", "--name", "wide", *publish, "--expose", "5-6", "host", "sleep", "infinity")
    try:
        shown = daemon.ok("ps", "--filter", "name=^wide$", "--format", "{{.Ports}}")
        told = daemon.netmodel("port", "wide")
        one = daemon.netmodel("port", "wide", "10500")
    finally:
        daemon.ok("rm", "-f", "wide")

    assert sorted(shown.split(", ")) == [
        *("127.0.0.1:81->81/tcp", "20000-20999->10000-10999/tcp", "5-6/tcp", "9000-9001->90-91/udp", "9005->92/udp")
    ]
    assert len(told.stdout.splitlines()) == 2 * 1003 + 1
    [note] = told.stderr.splitlines()
    assert note.startswith("[::]:9000-9001,9005,20000-20999 is relayed:")
    assert one.stdout == "0.0.0.0:20500\n[::]:20500\n"


def test_an_image_beside_us(daemon: Daemon, tmp_path: Path) -> None:
    (tmp_path / "rootfs" / "bin").mkdir(parents=True)
    busybox = Path("/bin/busybox")
    if not busybox.exists():
        pytest.skip("missing: busybox")
    (tmp_path / "rootfs" / "bin" / "sh").write_bytes(busybox.read_bytes())
    (tmp_path / "rootfs" / "bin" / "sh").chmod(0o755)
    with daemon.box.entered():
        done = subprocess.run(
            [NETMODEL, "run", "--rm", "./rootfs", "/bin/sh", "-c", "echo small"],
            cwd=tmp_path,
            env=daemon.environment,
            capture_output=True,
            text=True,
        )

    assert done.stdout == "small\n", done.stderr
