"""Set-up that fails half-way undoes itself, and is repaired where what was missing is there again."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.netmodel.trouble.state import told, unchanged
from tests.support.daemon import running

pytestmark = pytest.mark.kernel


def test_the_second_of_two_networks_cannot_be_joined(tmp_path: Path) -> None:
    with running(tmp_path) as daemon:
        for name in ("one", "two"):
            daemon.ok("network", "create", name)
        daemon.ok("run", "-d", "--name", "there", "--network", "one", "host", "sleep", "infinity")
        bridge = f"br-{daemon.client.get('/networks/two')['Id'][:12]}"
        daemon.box.run("ip", "link", "delete", bridge)
        gone = [
            f"error: bridge {bridge} of network two is gone: something else has deleted it",
            "hint: `netmodel engine stop`: the engine makes it anew when the next command starts it",
        ]

        with unchanged(daemon):
            ran = daemon.netmodel("run", "-p", "8080:80", "--network", "one", "--network", "two", "host", "true")
            connected = daemon.netmodel("network", "connect", "two", "there")

        assert told(ran) == (125, gone)
        assert told(connected) == (1, gone)

        daemon.stop()
        daemon.start()
        daemon.ok("network", "connect", "two", "there")
        daemon.ok("run", "--rm", "-p", "8080:80", "--network", "one", "--network", "two", "host", "true")


def test_a_container_that_never_started_keeps_the_reason(tmp_path: Path) -> None:
    """create and start are the user's own steps: what was created stays, and says why it did not start."""
    with running(tmp_path) as daemon:
        daemon.ok("create", "--name", "new", "-p", "8080:80", "host", "nope")
        with unchanged(daemon):
            started = daemon.netmodel("start", "new")

        assert told(started)[0] in (1, 2)
        state = daemon.client.get("/containers/new/json")["State"]
        assert (state["Status"], state["ExitCode"]) == ("created", 127)
        assert state["Error"] == 'exec: "nope": not found in PATH of the container'
