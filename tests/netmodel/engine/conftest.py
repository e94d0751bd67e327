"""An engine in this process; its host is the test's own namespace."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from netmodel.engine import Engine, ExecConfig
from netmodel.model import Container, ContainerConfig, EndpointConfig
from tests.support import apparmor, disk
from tests.support.box import Box

# A skip would be a failure on a kernel that has it not; `make test-kernels` runs these on one that has.
collect_ignore = [] if apparmor.enabled() else ["test_apparmor.py"]
if os.geteuid() == 0 and not disk.can_enforce_quotas():
    collect_ignore.append("test_quotas.py")
SLEEP = ("sleep", "infinity")


@pytest.fixture
def engine(host: Box, tmp_path: Path) -> Iterator[Engine]:
    """Open on a root of its own; afterwards its containers are removed, and it leaves nothing."""
    opened = Engine(tmp_path / "root")
    opened.open()
    yield opened
    clean_up(opened)


def clean_up(engine: Engine) -> None:
    """Remove all containers, and close."""
    remove_containers(engine)
    engine.close()


def remove_containers(engine: Engine) -> None:
    """Sharers of a network before its owner."""
    for container in sorted(engine.containers(), key=lambda one: one.sandbox == one.id):
        engine.remove(container.id, force=True, volumes=True)


@pytest.fixture(scope="module")
def engine_of_module(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Box, Engine]]:
    """What shared.py gives to the tests of a module."""
    box = Box("host")
    opened = Engine(tmp_path_factory.mktemp("engine") / "root")
    with box.entered():
        opened.open()
    yield box, opened
    with box.entered():
        opened.close()
    box.close()


Run = Callable[..., Container]


@pytest.fixture
def run(engine: Engine) -> Run:
    """Create and start a container of the machine's own file system."""
    return runner(engine)


def runner(engine: Engine) -> Run:
    def run(name: str, *networks: str, **config: object) -> Container:
        wanted = {
            "image": "host",
            "command": SLEEP,
            "networks": tuple(EndpointConfig(network=network) for network in networks),
            **config,
        }
        container = engine.create_container(ContainerConfig(**wanted), name)  # type: ignore[arg-type]
        engine.start(container.id)
        return engine.container(container.id)

    return run


def execute(engine: Engine, ref: str, *command: str, **config: object) -> tuple[int, str]:
    """Run a program in a container; its exit code and all that it printed."""
    exec_id = engine.exec_create(ref, ExecConfig(command=command, **config))  # type: ignore[arg-type]
    with engine.exec_start(exec_id) as handle:
        handle.close_stdin()
        assert handle.stdout is not None
        assert handle.stderr is not None
        output = _read(handle.stdout) + _read(handle.stderr)
        return handle.wait(30), output


def output_of(engine: Engine, ref: str, *command: str) -> str:
    """What a program prints; it must succeed."""
    code, output = execute(engine, ref, *command)
    assert code == 0, output
    return output


def _read(descriptor: int) -> str:
    parts = bytearray()
    while part := os.read(descriptor, 65536):
        parts += part
    return parts.decode()
