"""The engine as the command line starts and stops it."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from netmodel import __version__
from tests.support.box import Box
from tests.support.daemon import NETMODEL, Daemon

pytestmark = pytest.mark.kernel


@pytest.fixture
def cold(tmp_path: Path) -> Iterator[Daemon]:
    """No engine yet; whatever starts one, it is ended afterwards."""
    box = Box("host")
    daemon = Daemon(box, tmp_path)
    yield daemon
    assert daemon.netmodel("engine", "stop").returncode == 0
    assert not daemon.host.exists()
    box.close()


def test_the_first_command_starts_it(cold: Daemon) -> None:
    assert cold.netmodel("engine", "status").returncode == 1

    assert "bridge" in cold.ok("network", "ls")

    status = json.loads(cold.ok("engine", "status", "--json"))
    assert (status["root"], status["host"], status["version"]) == (str(cold.root), str(cold.host), __version__)
    assert Path(f"/proc/{status['pid']}/cwd").readlink() == Path("/")
    assert cold.netmodel("engine", "start").stderr.startswith("engine runs already")


def test_default_address_pools_of_the_command_line(cold: Daemon) -> None:
    process = cold.popen(NETMODEL, "engine", "run", "--default-address-pool", "base=10.33.0.0/16,size=26")
    assert process.stdout is not None
    assert process.stdout.readline().startswith("ready")

    cold.ok("network", "create", "lan")
    shown = cold.ok("network", "ls", "--format", "{{.Name}} {{.Subnets}}").splitlines()
    assert {"bridge 10.33.0.0/26", "lan 10.33.0.64/26"} <= set(shown)
    process.terminate()
    process.communicate(timeout=30)

    for pool, told in (("10.33.0.0/16", "base and a size"), ("base=10.0.0.0/24,size=8", "no subnet of size /8 fits")):
        refused = cold.netmodel("engine", "run", "--default-address-pool", pool)
        assert (refused.returncode, refused.stdout) == (2, "")
        assert told in refused.stderr


def test_settings_of_the_command_line(cold: Daemon) -> None:
    """What they do, and where they are shown."""
    cold.root.mkdir(exist_ok=True)
    (cold.root / "engine.json").write_text('{"icc": true, "mtu": 1300}')
    process = cold.popen(
        *(NETMODEL, "engine", "run", "--bip=10.34.0.1/24", "--icc=false", "--ipv6", "--host-gateway-ip=192.0.2.1"),
        *("--default-address-pool", "base=10.33.0.0/16,size=26", "--ip-forward=false"),
    )
    assert process.stdout is not None
    assert process.stdout.readline().startswith("ready")

    bridge = json.loads(cold.ok("network", "inspect", "bridge"))[0]
    assert bridge["IPAM"]["Config"][0] == {"Subnet": "10.34.0.0/24", "Gateway": "10.34.0.1"}
    assert bridge["EnableIPv6"] is True
    assert bridge["Options"]["com.docker.network.driver.mtu"] == "1300"
    assert cold.ok("engine", "status").splitlines()[-1].split(maxsplit=1)[1] == (
        "bip=10.34.0.1/24, icc=false, ipv6=true, mtu=1300, "
        'default-address-pools=[{"base": "10.33.0.0/16", "size": 26}], ip-forward=false, '
        'host-gateway-ips=["192.0.2.1"]'
    )
    info = cold.client.get("/info")
    assert info["DefaultAddressPools"] == [{"Base": "10.33.0.0/16", "Size": 26}]
    assert info["FirewallBackend"] == {"Driver": "nftables"}
    assert info["IPv4Forwarding"] is False
    assert any("setting ip-forward=false leaves it so" in warning for warning in info["Warnings"])
    process.terminate()
    process.communicate(timeout=30)

    for options, told in (
        (("--bip", "10.34.0.1"), "--bip: '10.34.0.1' is not an IPv4 address with its prefix length"),
        (("--iptables=false",), "--iptables: false: without rules of ours"),
        (("--bridge=lan0",), "setting bridge=lan0: there is no such link on this host"),
        (("--bridge=none", "--bip=10.34.0.1/24"), "settings bridge=none and bip=10.34.0.1/24 exclude each other"),
    ):
        refused = cold.netmodel("engine", "run", *options)
        assert (refused.returncode, refused.stdout) == (2, "")
        assert told in refused.stderr


def test_many_first_commands_start_one(cold: Daemon) -> None:
    clients = [cold.popen(NETMODEL, "network", "ls", "-q") for _ in range(5)]

    told = {client.communicate(timeout=60)[0] for client in clients}

    assert {client.returncode for client in clients} == {0}
    assert len(told) == 1


def test_an_engine_of_another_version_is_named_and_can_be_stopped(cold: Daemon) -> None:
    cold.ok("network", "ls")
    code = "import netmodel, sys; netmodel.__version__ = '9.9'; import netmodel.cli; sys.exit(netmodel.cli.main())"

    def other(*argv: str) -> subprocess.CompletedProcess[str]:
        return cold.run(sys.executable, "-c", code, *argv)

    refused = other("network", "ls")

    assert refused.returncode == 1
    assert refused.stderr.startswith(f"error: the engine is netmodel {__version__}, this client 9.9")
    assert other("engine", "stop").returncode == 0


def test_why_it_does_not_start(cold: Daemon, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")

    root = cold.netmodel("--root", str(tmp_path / "file"), "ps")
    host = cold.netmodel("--host", str(tmp_path), "ps")

    assert root.returncode == host.returncode == 1
    assert root.stderr.startswith(f"error: cannot use {tmp_path}/file as the state root")
    assert host.stderr.startswith(f"error: cannot reach an engine at {tmp_path}") or host.stderr.startswith(
        f"error: {tmp_path} is a directory"
    )


def test_another_root_s_engine_is_not_taken_for_ours(cold: Daemon, tmp_path: Path) -> None:
    cold.ok("network", "ls")

    done = cold.netmodel("--root", str(tmp_path / "other"), "ps")

    assert done.returncode == 1
    assert f"has the root {cold.root}, not {tmp_path}/other" in done.stderr


def test_a_path_of_any_length(tmp_path: Path) -> None:
    box = Box("host")
    daemon = Daemon(box, tmp_path / ("x" * 110))

    assert "bridge" in daemon.ok("network", "ls")

    assert daemon.netmodel("engine", "stop").returncode == 0
    box.close()
