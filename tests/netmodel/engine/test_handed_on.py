"""Anonymous volumes outlive the container that a project makes anew, and nothing else."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest

from netmodel.engine import Engine
from netmodel.errors import NetmodelError
from netmodel.model import MountConfig
from netmodel.project import Project
from tests.netmodel.engine.conftest import execute
from tests.netmodel.engine.engine_process import Died, EngineProcess, Zygote
from tests.netmodel.engine.shared import engine, host
from tests.netmodel.engine.test_sharing import service
from tests.netmodel.engine.test_volumes_from import mounted, volume
from tests.support.box import Box

__all__ = ["engine", "host"]

pytestmark = pytest.mark.kernel

NAME = "shop-db-1"
DATA, LOGS = volume("/srv/data"), volume("/srv/logs/")


def shop(*mounts: MountConfig, **config: object) -> Project:
    return Project(name="shop", containers=(service("db", mounts=mounts, stop_signal="SIGKILL", **config),))


def write(engine: Engine) -> None:
    assert execute(engine, NAME, "sh", "-c", "echo kept > /srv/data/file")[0] == 0


def read(engine: Engine) -> str:
    return execute(engine, NAME, "cat", "/srv/data/file")[1].strip()


def names(engine: Engine) -> set[str]:
    return {found.name for found in engine.volumes()}


def test_what_was_written_is_there_when_the_container_is_made_anew(engine: Engine) -> None:
    engine.up(shop(DATA, LOGS))
    write(engine)
    before = mounted(engine, NAME)
    changed = shop(DATA, environment={"COLOUR": "red"})

    (step,) = [step for step in engine.plan(changed) if step.kind == "container"]
    engine.up(changed)

    assert step.action == "recreate"
    assert read(engine) == "kept"
    assert mounted(engine, NAME) == {"/srv/data": before["/srv/data"]}
    assert names(engine) == {before["/srv/data"]}  # nobody has the other one any more
    engine.down("shop", volumes=False)
    assert names(engine) == set()


def test_a_reason_names_what_changed_and_no_anonymous_volume(engine: Engine) -> None:
    engine.up(shop(DATA))

    (step,) = [step for step in engine.plan(shop(DATA, environment={"A": "1"})) if step.kind == "container"]

    assert step.reason == "environment changed"


def test_a_volume_with_settings_of_its_own_is_made_as_they_say(engine: Engine) -> None:
    engine.up(shop(DATA))
    write(engine)
    old = mounted(engine, NAME)["/srv/data"]

    engine.up(shop(MountConfig(type="tmpfs", target="/srv/data")))

    assert execute(engine, NAME, "ls", "/srv/data")[1] == ""
    assert old not in names(engine)


@pytest.mark.parametrize("then", ["up", "down"])
def test_a_failed_up_loses_none_and_down_leaves_none(engine: Engine, then: str) -> None:
    engine.up(shop(DATA))
    write(engine)

    with pytest.raises(NetmodelError, match="/no/such/program"):
        engine.up(shop(DATA, LOGS, command=("/no/such/program",)))

    assert [one.name for one in engine.containers()] == []
    if then == "up":
        engine.up(shop(DATA))
        assert read(engine) == "kept"
        assert names(engine) == set(mounted(engine, NAME).values())
    engine.down("shop", volumes=False)
    assert names(engine) == set()


def test_an_engine_killed_at_any_step_loses_none(host: Box, tmp_path: Path) -> None:
    """Every fourth step; the engine that follows finishes what the first was doing."""
    root, changed, died = tmp_path / "root", shop(DATA, environment={"COLOUR": "red"}, network_mode="none"), 0
    zygote = Zygote()
    for at in itertools.count(2, 4):
        first = EngineProcess(zygote, root, host)
        first.ask("up", shop(DATA, network_mode="none"))
        (before,) = (root / "volumes").glob("*/_data")
        (before / "file").write_text("kept")
        try:
            first.ask("up", changed, fuse=at, finer=False)
        except Died:
            died += 1
        else:
            first.close()
            break
        with Engine(root) as engine:
            assert engine.container(NAME).state.status == "running"
            assert read(engine) == "kept"
            assert names(engine) == set(mounted(engine, NAME).values())
            engine.down("shop", volumes=False)
            assert names(engine) == set()
    zygote.close()
    assert died > 3
    with Engine(root) as engine:
        engine.down("shop", volumes=False)
