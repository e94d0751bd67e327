"""Mounts taken over from other containers, as Docker's --volumes-from."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from netmodel.engine import Engine
from netmodel.errors import Invalid
from netmodel.model import ContainerConfig, MountConfig, VolumesFrom
from netmodel.project import Project
from tests.netmodel.engine.conftest import Run, execute, output_of
from tests.netmodel.engine.shared import engine, host
from tests.netmodel.engine.test_sharing import service

__all__ = ["engine", "host"]

pytestmark = pytest.mark.kernel


def volume(target: str, source: str = "", **options: object) -> MountConfig:
    return MountConfig(type="volume", target=target, source=source, **options)  # type: ignore[arg-type]


def create(engine: Engine, name: str, *mounts: MountConfig, **config: object) -> None:
    """One that only has mounts, and never runs."""
    engine.create_container(ContainerConfig(image="host", command=("true",), mounts=mounts, **config), name)  # type: ignore[arg-type]


def froms(*names: str, read_only: bool = False) -> tuple[VolumesFrom, ...]:
    return tuple(VolumesFrom(container=name, read_only=read_only) for name in names)


def mounted(engine: Engine, name: str) -> dict[str, str]:
    return {mount.target: mount.source for mount in engine.container(name).config.mounts}


def test_all_kinds_of_a_stopped_container_s_mounts(engine: Engine, run: Run, tmp_path: Path) -> None:
    """A volume by its name, one without, one that is read-only there, a bind; memory is each one's own."""
    (tmp_path / "b").mkdir()
    create(
        engine,
        "data",
        volume("/named", "v"),
        volume("/anonymous"),
        volume("/kept", "k", read_only=True),
        MountConfig(type="bind", source=str(tmp_path / "b"), target="/bind"),
        MountConfig(type="tmpfs", target="/memory"),
    )
    run("a", volumes_from=froms("data"))
    run("b", volumes_from=froms("a"))  # and so on

    output_of(engine, "a", "sh", "-c", "touch /named/1 /anonymous/2 /bind/3; test ! -e /memory")

    assert output_of(engine, "b", "ls", "/named", "/anonymous", "/bind").split() == [
        *("/anonymous:", "2", "/bind:", "3", "/named:", "1")
    ]
    assert "Read-only" in execute(engine, "b", "touch", "/kept/x")[1]
    assert (tmp_path / "b/3").stat().st_uid == 0
    assert mounted(engine, "b") == {at: what for at, what in mounted(engine, "data").items() if at != "/memory"}


def test_a_mode_takes_rights_and_gives_none(engine: Engine, run: Run) -> None:
    create(engine, "data", volume("/rw"), volume("/ro", read_only=True))
    run("a", volumes_from=froms("data", read_only=True))
    run("b", volumes_from=froms("data"))

    for name, place, may in (("a", "/rw", False), ("a", "/ro", False), ("b", "/rw", True), ("b", "/ro", False)):
        code, output = execute(engine, name, "touch", f"{place}/{name}")
        assert (code == 0, "Read-only" in output) == (may, not may)


def test_who_goes_before_whom(engine: Engine) -> None:
    """Its own mounts, then the later of two others; its own anonymous volumes give way, unless with options."""
    create(engine, "first", volume("/a", "a1"), volume("/b", "b1"), volume("/c", "c1"), volume("/d", "d1"))
    create(engine, "second", volume("/b/", "b2"))
    create(
        *(engine, "c", volume("/a/", "own"), volume("/c"), volume("/d", nocopy=True)),
        volumes_from=froms("first", "second"),
    )

    found = mounted(engine, "c")
    anonymous = found.pop("/d")
    assert found == {"/a/": "own", "/b/": "b2", "/c": "c1"}
    assert len(anonymous) == 64


def test_nothing_is_copied_into_what_others_have(engine: Engine) -> None:
    """Though the image has something there: the volume is the others'."""
    create(engine, "data", volume("/etc/apt", "v", nocopy=True))
    create(engine, "c", volumes_from=froms("data"))

    assert list(engine.volume_path("v").iterdir()) == []


def test_an_anonymous_volume_goes_with_the_last_who_has_it(engine: Engine, run: Run) -> None:
    create(engine, "data", volume("/x"), volume("/y", "named"))
    [anonymous] = [one.name for one in engine.volumes() if one.anonymous]
    run("a", volumes_from=froms("data"), auto_remove=True)
    run("b", volumes_from=froms("a"), auto_remove=True)

    engine.remove("data", volumes=True)
    engine.remove("a", force=True, volumes=True)
    output_of(engine, "b", "touch", "/x/file")
    assert engine.volume(anonymous)
    done = engine.wait("b", "removed")
    engine.stop("b", timeout_s=0)
    done.result(10)

    assert [one.name for one in engine.volumes()] == ["named"]
    engine.remove_volume("named")


def test_it_is_as_it_was_after_a_restart_of_all(engine: Engine, run: Run) -> None:
    """Its mounts are its own since it was made: whoever gave them may be gone."""
    create(engine, "data", volume("/x", "v"))
    run("a", volumes_from=froms("data"))
    engine.remove("data", volumes=True)
    engine.close()
    engine.open()

    engine.restart("a", timeout_s=0)

    output_of(engine, "a", "touch", "/x/file")
    assert [one.name for one in engine.volume_path("v").iterdir()] == ["file"]


def test_nobody_to_take_from(engine: Engine) -> None:
    with pytest.raises(Invalid, match="cannot take volumes from nobody: no such container: nobody"):
        create(engine, "c", volumes_from=froms("nobody"))
    assert engine.containers(all=True) == []


def test_services_take_from_one_another(engine: Engine) -> None:
    """Made after whom they take from, and made anew with them."""
    store = service("store", mounts=(volume("/x"),))
    user = service("user", "store", volumes_from=froms("service:store", read_only=True))
    project = Project(name="shop", containers=(user, store))
    engine.up(project)
    try:
        output_of(engine, "shop-store-1", "touch", "/x/file")
        assert output_of(engine, "shop-user-1", "ls", "/x") == "file\n"
        assert {step.action for step in engine.plan(project)} == {"keep"}

        changed = replace(project, containers=(user, service("store", mounts=(volume("/x"),), tty=True)))
        reasons = {step.name: step.reason for step in engine.plan(changed)}
        assert reasons["shop-user-1"] == "it has the volumes of shop-store-1, which is made anew"
        engine.up(changed)
        assert mounted(engine, "shop-user-1") == mounted(engine, "shop-store-1")
    finally:
        engine.down("shop", volumes=True)
    assert engine.volumes() == []
