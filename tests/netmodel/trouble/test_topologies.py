"""Topology files with mistakes in them, and an up that fails half-way: as if nobody had asked."""

from __future__ import annotations

import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.netmodel.trouble.state import told, unchanged
from tests.support.daemon import Daemon

pytestmark = pytest.mark.kernel

Write = Callable[[str], Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def write(text: str) -> Path:
        file = tmp_path / "lab.yaml"
        file.write_text(text)
        return file

    return write


MISTAKES = """
services:
  a: {image: host, command: [sleep, "9"}
→ 2:40: not YAML: did not find expected ',' or ']' while parsing a flow sequence

services:
\ta: {image: host}
→ 2:1: not YAML: this character cannot begin a value (indent with spaces, not tabs; else quote it)

services:
  a: {image: host, comand: [x], netwroks: [x]}
network: {}
→ 2:20: services.a.comand: unknown key "comand" (did you mean "command"?)
→ 2:33: services.a.netwroks: unknown key "netwroks" (did you mean "networks"?)
→ 3:1: network: unknown key "network" (did you mean "networks"?)

services:
  a: {image: host, depends_on: [b]}
  b: {image: host, depends_on: [a]}
→ 3:33: services.b.depends_on[0]: a cycle: a → b → a (no service of a cycle can start first; cut it somewhere)

services:
  a: {image: host, networks: [m]}
→ 2:31: services.a.networks[0]: there is no network "m" under networks: (declare it there)

services:
  a: {image: host, networks: {n: {ipv4_address: 10.9.0.2}}}
  b: {image: host, networks: {n: {ipv4_address: 10.8.0.2}}}
  c: {image: host, networks: {n: {ipv4_address: 10.8.0.2}}}
networks: {n: {ipam: {config: [{subnet: 10.8.0.0/24}]}}}
→ 2:49: services.a.networks.n.ipv4_address: 10.9.0.2 is outside 10.8.0.0/24 of network "n"
→ 4:49: services.c.networks.n.ipv4_address: 10.8.0.2 is taken by service "b" (line 3)

services:
  a: {image: host, networks: [n, m]}
networks:
  n: {ipam: {config: [{subnet: 10.8.0.0/24}]}}
  m: {ipam: {config: [{subnet: 10.8.0.128/25}]}}
→ 5:23: networks.m.ipam.config[0]: 10.8.0.128/25 overlaps 10.8.0.0/24 of network "n" (line 4) (two networks of one \
machine cannot share addresses)

services:
  a: {image: host, ports: ['80:80']}
  b: {image: host, ports: ['80:80'], container_name: one}
  c: {image: host, container_name: one}
→ 3:28: services.b.ports[0]: host port 80/tcp is published by service "a" (line 2) already
→ 4:36: services.c.container_name: service "b" (line 3) has a container named "one", too

services:
  a: {image: host, env_file: nope.env}
→ 2:30: services.a.env_file: there is no file "nope.env" (create it, or mark it: {path: FILE, required: false})
"""


def mistakes() -> list[tuple[str, list[str]]]:
    """Each file, and what is told of it."""
    found = []
    for block in MISTAKES.strip().split("\n\n"):
        text, *told = block.split("\n→ ")
        found.append((f"{text}\n", told))
    return found


@pytest.mark.parametrize(("text", "mistakes"), mistakes())
def test_every_mistake_at_its_place(daemon: Daemon, write: Write, text: str, mistakes: list[str]) -> None:
    file = write(text)

    done = daemon.netmodel("up", str(file))

    code, lines = told(done)
    count = len(mistakes)
    assert lines == [*(f"{file}:{one}" for one in mistakes), f"error: {count} mistake{'s' * (count > 1)} in {file}"]
    assert code == 2


@pytest.mark.parametrize("verb", ["up", "plan", "check"])
def test_whoever_reads_the_file_finds_them(daemon: Daemon, write: Write, verb: str) -> None:
    file = write("services: {a: {image: host, comand: x}}\n")

    assert told(daemon.netmodel(verb, str(file))) == (
        2,
        [
            f'{file}:1:29: services.a.comand: unknown key "comand" (did you mean "command"?)',
            f"error: 1 mistake in {file}",
        ],
    )


def test_files_that_are_none(daemon: Daemon, tmp_path: Path) -> None:
    gone, binary = tmp_path / "gone.yaml", tmp_path / "binary.yaml"
    binary.write_bytes(b"\x00\xff\xfe")

    assert told(daemon.netmodel("up", str(gone))) == (
        2,
        [f"{gone}: there is no such file", f"error: 1 mistake in {gone}"],
    )
    code, lines = told(daemon.netmodel("up", str(binary)))
    assert (code, lines[-1]) == (2, f"error: 1 mistake in {binary}")
    code, lines = told(daemon.netmodel("down", str(gone)))
    assert (code, lines[0]) == (2, f"{gone}: there is no such file")


WHOLE = """
services:
  one: {image: host, command: sleep infinity, networks: [lan, wan], volumes: ["data:/data"], ports: ["127.0.0.1:0:80"]}
  two: {image: host, command: sleep infinity, networks: [lan], depends_on: [one], mem_limit: 64m}
  three: {%s, networks: [wan], depends_on: [two]}
networks:
  lan: {internal: true}
  wan: {%s}
volumes: {data: {}}
"""
SLEEPS = "image: host, command: sleep infinity"
THREE, WAN = "container lab-three-1", "network lab_wan"


@pytest.mark.parametrize(
    ("service", "network", "code", "error", "hint"),
    [
        ("image: host, command: nope", "", 1, f'{THREE}: exec: "nope": not found in PATH of the container', "give its"),
        ("image: /nope", "", 1, "there is no image /nope", "/nope does not exist; here are: host;"),
        (f"{SLEEPS}, user: nope", "", 2, f"{THREE}: user 'nope' is not in /etc/passwd of the container", "name one"),
        (
            f"{SLEEPS}, sysctls: {{net.ipv4.nope: 1}}",
            "",
            2,
            f"{THREE}: sysctl net.ipv4.nope does not exist",
            "check its",
        ),
        (f"{SLEEPS}, mem_limit: 1k", "", 2, "a memory limit of 1024 bytes is too small", "at least 512 KiB"),
        (f"{SLEEPS}, cpus: 4096", "", 2, "cpus 4096 is more than the ", "at most "),
        (
            SLEEPS,
            "ipam: {config: [{subnet: 10.60.0.0/16}]}",
            1,
            f"{WAN}: subnet 10.60.0.0/16 overlaps with the host's",
            "choose another subnet",
        ),
        (SLEEPS, "driver: brigde", 2, f"{WAN}: no such network driver: brigde", "did you mean bridge?"),
        (SLEEPS, "driver_opts: {nope: 1}", 2, f"{WAN}: driver bridge knows no option nope", "it knows com.docker"),
        (SLEEPS, "external: true", 1, 'network "wan" is declared external and does not exist', "create it first"),
    ],
)
def test_an_up_that_fails_half_way_undoes_itself(
    daemon: Daemon, write: Write, service: str, network: str, code: int, error: str, hint: str
) -> None:
    daemon.box.run("ip", "link", "add", "up0", "type", "bridge", check=False)
    daemon.box.run("ip", "address", "replace", "10.60.0.1/24", "dev", "up0")
    daemon.box.run("ip", "link", "set", "up0", "up")
    with unchanged(daemon):
        done = daemon.netmodel("up", str(write(WHOLE % (service, network))))

    found, lines = told(done)
    assert lines[-2].startswith(f"error: {error}")
    assert lines[-1].startswith(f"hint: {hint}")
    assert found == code
    created = any(" created (" in line for line in lines)
    assert ("project lab: what this up had created is removed again" in lines) == created


def test_a_port_that_is_taken_for_the_last_of_them(daemon: Daemon, write: Write) -> None:
    file = write(WHOLE % (f"{SLEEPS}, ports: ['8098:80']", ""))
    with daemon.box.open(lambda: socket.create_server(("0.0.0.0", 8098))), unchanged(daemon):
        done = daemon.netmodel("up", str(file))

    code, lines = told(done)
    assert code == 1
    assert lines[-2].startswith("error: container lab-three-1: host port 8098/tcp is in use by ")
    assert lines[-1] == "hint: publish another host port, or stop what holds this one"

    # What failed for a passing reason works when that is gone.
    daemon.ok("up", str(file))
    daemon.ok("down", "-v", str(file))


def test_a_failed_change_keeps_what_stood(daemon: Daemon, write: Write) -> None:
    text = WHOLE % (SLEEPS, "")
    daemon.ok("up", str(write(text)))
    with unchanged(daemon):
        done = daemon.netmodel(
            "up", str(write(text.replace("services:", "services:\n  four: {image: host, command: nope}")))
        )

    assert told(done)[0] == 1
    assert "hint: give its full path, or set PATH" in done.stderr
    daemon.ok("down", "-v", "lab")
