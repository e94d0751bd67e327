"""What `up` fetches, and when: pull_policy of a file, --pull, and images that are only mounted."""

from __future__ import annotations

import json
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest

from runtime.images import Images
from tests.netmodel.engine.test_images import BASE, needs_busybox
from tests.runtime.registry_lab import pushed
from tests.support.daemon import Daemon
from tests.support.registry import Server, in_between, needs_registry, registry
from tests.support.tars import docker_archive, layer, member

pytestmark = [pytest.mark.kernel, needs_registry, needs_busybox]


@pytest.fixture(scope="module")
def server(daemon: Daemon, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with daemon.box.entered(), registry(tmp_path_factory.mktemp("registry")) as running:
        yield running


class Lab:
    """A file with one service, whose image somebody else changes in the registry."""

    def __init__(self, daemon: Daemon, server: Server, directory: Path) -> None:
        self.daemon, self.directory = daemon, directory
        self.asked: list[str] = []
        self._server, self._publisher = server, Images(directory / "publisher")
        self.name = f"lab/{directory.name.replace('_', '')[-24:]}"

    def handle(self, asked: BaseHTTPRequestHandler) -> bool:
        if "/manifests/" in asked.path:
            self.asked.append(asked.path)
        return False

    def publish(self, content: str, name: str = "") -> None:
        """Have another version in the registry, which somebody else has made."""
        layers = [layer(*BASE), layer(member("srv/version", content=content.encode()))]
        archive = docker_archive(layers, ["lab/publish:1"], Cmd=["/bin/sleep", "100"])
        with self.daemon.box.entered():
            pushed(self._publisher, self._server, archive, f"{name or self.name}:1")

    def file(self, address: str, policy: str = "", mount: str = "") -> str:
        service = {"image": f"{address}/{self.name}:1", **({"pull_policy": policy} if policy else {})}
        if mount:
            service["volumes"] = [{"type": "image", "source": f"{address}/{mount}:1", "target": "/mnt"}]  # type: ignore[assignment]
        path = self.directory / "lab.yaml"
        path.write_text(json.dumps({"name": self.directory.name.replace("_", ""), "services": {"a": service}}))
        return str(path)

    def version(self, file: str, path: str = "/srv/version") -> str:
        project = json.loads(Path(file).read_text())["name"]
        return self.daemon.ok("exec", f"{project}-a-1", "cat", path)


@pytest.fixture
def lab(daemon: Daemon, server: Server, tmp_path: Path) -> Lab:
    lab = Lab(daemon, server, tmp_path)
    lab.publish("one")
    return lab


def test_what_is_here_is_asked_for_again_only_if_the_file_says_so(lab: Lab, server: Server) -> None:
    with lab.daemon.box.entered(), in_between(server.address, lab.handle) as address:
        file = lab.file(address)
        lab.daemon.ok("up", file)
        assert (lab.version(file), len(lab.asked)) == ("one", 1)
        lab.publish("two")

        for policy in ("", "missing", "if_not_present", "never", "daily", "every_1w2d"):
            lab.daemon.ok("up", lab.file(address, policy))
            assert (policy, lab.version(file), len(lab.asked)) == (policy, "one", 1)

        up = lab.daemon.netmodel("up", lab.file(address, "always"))
        assert "recreated" in up.stderr
        assert (lab.version(file), len(lab.asked)) == ("two", 2)
        lab.publish("three")
        lab.daemon.ok("up", lab.file(address, "every_0s"))
        assert (lab.version(file), len(lab.asked)) == ("three", 3)
        assert "nothing to do" in lab.daemon.netmodel("up", lab.file(address)).stderr
        lab.daemon.ok("down", file)


def test_the_command_line_overrides_the_file(lab: Lab, server: Server) -> None:
    with lab.daemon.box.entered(), in_between(server.address, lab.handle) as address:
        file = lab.file(address, "always")
        refused = lab.daemon.netmodel("up", "--pull", "never", file)
        assert refused.returncode == 1
        assert f"there is no image {address}/{lab.name}:1" in refused.stderr
        assert lab.asked == []

        lab.daemon.ok("up", "--pull", "missing", file)
        lab.daemon.ok("up", "--pull", "missing", file)
        assert len(lab.asked) == 1
        lab.daemon.ok("up", "--pull", "always", lab.file(address, "never"))
        assert len(lab.asked) == 2
        lab.daemon.ok("down", file)


def test_an_image_that_is_only_mounted_is_fetched_too(lab: Lab, server: Server) -> None:
    lab.publish("mounted", f"{lab.name}-data")
    with lab.daemon.box.entered(), in_between(server.address, lab.handle) as address:
        file = lab.file(address, "", f"{lab.name}-data")
        lab.daemon.ok("up", file)
        assert lab.version(file, "/mnt/srv/version") == "mounted"
        lab.publish("again", f"{lab.name}-data")
        lab.daemon.ok("up", "--pull", "always", file)
        assert lab.version(file, "/mnt/srv/version") == "again"
        lab.daemon.ok("down", file)


def test_nothing_is_made_when_an_image_cannot_be_had(lab: Lab, server: Server) -> None:
    with lab.daemon.box.entered(), in_between(server.address, lab.handle) as address:
        file = Path(lab.file(address))
        file.write_text(file.read_text().replace(":1", ":9"))
        refused = lab.daemon.netmodel("up", str(file))

    assert refused.returncode == 1
    assert f"has no {lab.name}:9" in refused.stderr
    assert lab.daemon.ok("ps", "-aq") == ""
