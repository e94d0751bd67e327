"""Images in the engine: containers of layers, what they take over, and what keeps an image from being removed."""

from __future__ import annotations

import io
import os
import subprocess
import tarfile
from pathlib import Path

import pytest

from netmodel.engine import Engine
from netmodel.errors import Conflict, NetmodelError
from netmodel.model import ContainerConfig
from runtime.images.progress import Silent
from tests.netmodel.engine.shared import engine, host
from tests.support.tars import Member, directory, docker_archive, layer, link, member
from tests.support.wait import eventually

__all__ = ["engine", "host"]

pytestmark = pytest.mark.kernel
BUSYBOX = Path("/bin/busybox")
needs_busybox = pytest.mark.skipif(not BUSYBOX.exists(), reason="missing: busybox-static")
_COMMANDS = ("sh", "cat", "ls", "sleep", "stat", "id", "find", "echo", "touch", "rm", "mkdir", "chown")


def programs() -> list[Member]:
    return [
        directory("bin"),
        member("bin/busybox", content=BUSYBOX.read_bytes(), mode=0o755),
        *(link(f"bin/{name}", "busybox") for name in _COMMANDS),
        directory("etc"),
        member("etc/passwd", content=b"root:x:0:0::/:/bin/sh\nweb:x:1000:1000::/:/bin/sh\n"),
    ]


BASE = [*programs(), directory("srv"), member("srv/old", content=b"base"), member("etc/gone", content=b"base")]
CHANGE = [
    member("etc/.wh.gone"),
    directory("srv", uid=1000, gid=1000, mode=0o750),
    member("srv/.wh..wh..opq"),
    member("srv/new", content=b"change", uid=1000, gid=1000),
]


def load(engine: Engine, name: str = "lab/app:1", **config: object) -> str:
    layers = [layer(*BASE), layer(*CHANGE)]
    (image,) = engine.images.load(docker_archive(layers, [name], **config), Silent)
    return image.id


def run(engine: Engine, *argv: str, **config: object) -> tuple[int, str]:
    container = engine.create_container(ContainerConfig(image="lab/app:1", command=argv or None, **config))  # type: ignore[arg-type]
    engine.start(container.id)
    code = engine.wait(container.id).result(20)
    return code, "".join(entry.log for entry in engine.logs(container.id))


@needs_busybox
@pytest.mark.parametrize("userns", ["", "host"])
def test_whiteouts_and_opaque_directories_hold_in_containers(engine: Engine, userns: str) -> None:
    """In idmapped layers under a user namespace, as without one: what a layer took away is not there."""
    load(engine)

    look = "cd /; find srv etc -type f; stat -c '%u %a' srv srv/new"
    code, output = run(engine, "/bin/sh", "-c", look, userns_mode=userns)

    assert code == 0
    lines = output.split("\n")
    assert "srv/new" in lines
    assert "srv/old" not in output
    assert "etc/gone" not in output
    assert [line for line in lines if line.startswith("1000 ")] == ["1000 750", "1000 644"]


@needs_busybox
def test_a_container_does_what_its_image_says(engine: Engine) -> None:
    load(
        engine,
        Entrypoint=["/bin/sh", "-c"],
        Cmd=["echo $COLOUR; cd .; echo $PWD; id -u; ls /data"],
        Env=["PATH=/bin", "COLOUR=blue"],
        WorkingDir="/srv",
        User="web",
        Volumes={"/data": {}},
        ExposedPorts={"80/tcp": {}, "7000-7001/udp": {}},
        StopSignal="SIGINT",
        Labels={"made": "here", "both": "image"},
    )

    code, output = run(engine, labels={"both": "container"})

    assert (code, output.split()) == (0, ["blue", "/srv", "1000"])
    (container,) = engine.containers()
    assert container.config.stop_signal == "SIGINT"
    assert container.config.labels == {"made": "here", "both": "container"}
    assert [mount.target for mount in container.config.mounts] == ["/data"]
    assert [(port.container_port, port.protocol) for port in container.config.exposed_ports] == [
        (7000, "udp"),
        (7001, "udp"),
        (80, "tcp"),
    ]


@needs_busybox
def test_publish_all_publishes_the_images_ports(engine: Engine) -> None:
    load(engine, ExposedPorts={"80/tcp": {}}, Cmd=["/bin/sleep", "100"])
    container = engine.create_container(ContainerConfig(image="lab/app:1", publish_all=True))
    engine.start(container.id)

    assert [port.container_port for port in engine.container(container.id).ports] == [80]


@needs_busybox
def test_an_image_stays_while_a_container_needs_it(engine: Engine) -> None:
    image_id = load(engine)
    container = engine.create_container(ContainerConfig(image="lab/app:1", command=("/bin/sleep", "100")), "user")
    engine.images.tag("lab/app:1", "other:1")

    engine.images.remove("other:1")  # a name alone
    with pytest.raises(Conflict, match="used by user"):
        engine.images.remove("lab/app:1")
    assert engine.images.prune({"dangling": ["false"]})[0] == ()

    removed = engine.images.remove("lab/app:1", force=True)
    assert (removed.untagged, removed.deleted) == (("lab/app:1",), ())
    engine.start(container.id)  # by its id, it is there
    with pytest.raises(Conflict) as refusal:
        engine.images.remove(image_id, force=True)
    assert "stop" in refusal.value.hint

    engine.remove(container.id, force=True)
    removed, _ = engine.images.prune()
    assert [one.deleted[0] for one in removed] == [image_id]
    with pytest.raises(NetmodelError, match="there is no image"):
        engine.create_container(ContainerConfig(image=image_id))


@needs_busybox
def test_an_export_is_what_the_container_sees(engine: Engine, tmp_path: Path) -> None:
    load(engine)
    run(engine, "/bin/sh", "-c", "echo written > /srv/mine; rm /etc/passwd; mkdir /srv/d; touch /tmp-file")
    (container,) = engine.containers()

    archive = io.BytesIO(b"".join(engine.images.export(container.id)))

    with tarfile.open(fileobj=archive) as tar:
        names = {one.name: one for one in tar}
        content = tar.extractfile("srv/mine")
        assert content is not None
        assert content.read() == b"written\n"
    assert {"srv/new", "srv/d", "tmp-file", "bin/busybox"} <= set(names)
    assert not {"etc/passwd", "etc/gone", "srv/old"} & set(names)
    assert names["srv/new"].uid == 1000
    (again,) = [engine.images.import_(io.BytesIO(archive.getvalue()), "an export", "again:1", {"Cmd": ["/bin/ls"]})]
    assert again.config.cmd == ("/bin/ls",)


@needs_busybox
def test_usage_counts_shared_layers_once(engine: Engine) -> None:
    load(engine)
    engine.images.load(docker_archive([layer(*BASE)], ["base:1"]), Silent)

    usage = engine.images.usage()

    sizes = {one.details.image.names[0]: one for one in usage.images}
    assert usage.layers_bytes == sizes["lab/app:1"].details.image.size_bytes
    assert sizes["base:1"].shared_bytes == sizes["base:1"].details.image.size_bytes
    assert usage.reclaimable_bytes == usage.layers_bytes


@needs_busybox
def test_many_layers(engine: Engine) -> None:
    """More than the strings of older kernels' mount options have room for."""
    layers = [layer(*programs()), *(layer(member(f"layer{n}", content=b"x")) for n in range(60))]
    engine.images.load(docker_archive(layers), Silent)

    code, output = run(engine, "/bin/sh", "-c", "echo /layer*")

    assert (code, len(output.split())) == (0, 60)
    (container,) = engine.containers()
    assert b"layer59" in b"".join(engine.images.export(container.id))


@needs_busybox
def test_attributes_hard_links_and_powers_reach_the_container(engine: Engine, tmp_path: Path) -> None:
    place = tmp_path / "tree"
    for name in ("bin", "etc"):
        (place / name).mkdir(parents=True)
    (place / "bin/busybox").write_bytes(BUSYBOX.read_bytes())
    (place / "bin/busybox").chmod(0o755)
    os.link(place / "bin/busybox", place / "bin/sh")
    os.setxattr(place / "bin/busybox", "user.note", b"kept")
    subprocess.run(["tar", "--xattrs", "--xattrs-include=*", "-cf", tmp_path / "t.tar", "-C", place, "."], check=True)
    with open(tmp_path / "t.tar", "rb") as archive:
        image = engine.images.import_(archive, "t.tar", "lab/app:1", {})

    assert os.getxattr(f"{image.layers[0]}/bin/sh", "user.note") == b"kept"
    code, output = run(engine, "/bin/busybox", "stat", "-c", "%h", "/bin/sh")
    assert (code, output.strip()) == (0, "2")


@needs_busybox
@pytest.mark.parametrize("known", [("etc",), ()], ids=["without the files", "without their directory"])
def test_what_an_image_lacks_for_its_mounts_is_not_made_in_each_container(
    engine: Engine, tmp_path: Path, known: tuple[str, ...]
) -> None:
    place = tmp_path / "image"
    for name in ("bin", *known):
        (place / name).mkdir(parents=True)
    (place / "bin/busybox").write_bytes(BUSYBOX.read_bytes())
    (place / "bin/busybox").chmod(0o755)
    script = "busybox cat /etc/hosts && busybox ls -A /etc /proc/1 >/dev/null && busybox stat -c %a:%u /etc"
    config = ContainerConfig(image=str(place), command=("/bin/busybox", "sh", "-c", script), hostname="inside")
    container = engine.create_container(config)

    engine.start(container.id)

    assert engine.wait(container.id).result(20) == 0
    output = "".join(entry.log for entry in engine.logs(container.id))
    assert "inside" in output
    assert output.endswith("755:0\n")
    upper, _ = engine._core.layers.paths(container.id)
    assert list(upper.iterdir()) == []
    assert engine.changes(container.id) == []


def test_events_tell_what_happens_to_images(engine: Engine) -> None:
    with_events = engine.events.subscribe()
    engine.images.load(docker_archive([layer(directory("etc"))]), Silent)
    engine.images.tag("lab/app:1", "two:1")
    engine.images.remove("two:1")
    engine.images.remove("lab/app:1")

    seen: list[str] = []
    eventually(lambda: seen.append(with_events.get(1).action) or seen[-1] == "delete")
    assert seen == ["load", "tag", "untag", "untag", "delete"]


@needs_busybox
@pytest.mark.parametrize("running", [True, False])
def test_an_image_of_what_a_container_has_written_and_how_it_ran(engine: Engine, running: bool) -> None:
    load(engine, Entrypoint=["/bin/sh", "-c"], Cmd=["true"], Env=["PATH=/bin", "COLOUR=blue"], Labels={"made": "here"})
    script = "echo mine > /srv/mine; touch /ready; exec sleep 1000" if running else "echo mine > /srv/mine"
    config = ContainerConfig(
        image="lab/app:1", command=(script,), environment={"SIZE": "L"}, labels={"tier": "web"}, working_dir="/srv"
    )
    container = engine.create_container(config, "writer")
    engine.start("writer")
    upper, _ = engine._core.layers.paths(container.id)
    eventually(lambda: (upper / "ready").exists() if running else engine.container("writer").state.status == "exited")
    listening = engine.events.subscribe()

    changes = {"Cmd": ["cat mine; echo $COLOUR$SIZE$MORE; pwd"], "Env": ["MORE=yes", "SIZE=S"], "Labels": {"new": "1"}}
    image = engine.commit("writer", "lab/made:1", author="me", comment="why", changes=changes)

    told = []
    while not told or told[-1].action != "commit":
        event = listening.get(5)
        if event.action not in ("disconnect", "die"):  # its end may still be told
            told.append(event)
    assert [event.action for event in told] == (["pause", "unpause", "commit"] if running else ["commit"])
    assert told[-1].attributes["imageID"] == image.id
    assert engine.container("writer").state.status == ("running" if running else "exited")
    assert dict(image.config.labels) == {"made": "here", "tier": "web", "new": "1"}
    details = engine.images.details("lab/made:1")
    assert (details.config["author"], details.config["history"][-1]["comment"]) == ("me", "why")
    made = engine.create_container(ContainerConfig(image="lab/made:1"))
    engine.start(made.id)
    engine.wait(made.id).result(20)
    assert "".join(entry.log for entry in engine.logs(made.id)) == "mine\nblueSyes\n/srv\n"


def test_the_machine_itself_cannot_be_committed(engine: Engine) -> None:
    """Nor is its container frozen for nothing."""
    container = engine.create_container(ContainerConfig(image="host", command=("sleep", "infinity")))
    engine.start(container.id)
    events = engine.events.subscribe()

    with pytest.raises(NetmodelError, match="machine itself"):
        engine.commit(container.id, "lab/host:1")
    engine.kill(container.id, "KILL")
    assert events.get(5).action == "kill"
    with pytest.raises(NetmodelError, match="machine itself"):
        engine.images.export(container.id)
