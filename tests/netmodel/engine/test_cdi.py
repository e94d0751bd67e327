"""Devices as their vendors describe them, in containers of a real engine."""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from netmodel.engine import Engine
from netmodel.errors import Invalid, MissingFeature, NetmodelError
from tests.netmodel.engine.conftest import SLEEP, clean_up, execute, output_of, runner
from tests.support.box import Box

pytestmark = [pytest.mark.kernel, pytest.mark.whole_kernel]
LOOK = "stat -c '%F %t:%T %a %u:%g' /dev/acme/card"


@pytest.fixture
def descriptions(tmp_path: Path) -> Path:
    directory = tmp_path / "cdi"
    directory.mkdir()
    return directory


@pytest.fixture
def engine(host: Box, tmp_path: Path, descriptions: Path) -> Iterator[Engine]:
    (tmp_path / "root").mkdir()
    (tmp_path / "root" / "engine.json").write_text(json.dumps({"cdi-spec-dirs": [str(descriptions)]}))
    opened = Engine(tmp_path / "root")
    opened.open()
    yield opened
    clean_up(opened)


def describe(directory: Path, **edits: Any) -> None:
    devices = [{"name": "one", "containerEdits": edits}]
    (directory / "acme.json").write_text(
        json.dumps({"cdiVersion": "0.6.0", "kind": "acme.com/card", "devices": devices})
    )


@pytest.mark.parametrize("userns_mode", ["", "host"])
def test_a_container_has_all_that_its_device_is(
    engine: Engine, descriptions: Path, tmp_path: Path, userns_mode: str
) -> None:
    (tmp_path / "driver").mkdir()
    (tmp_path / "driver" / "libacme").write_text("by acme\n")
    node = {"path": "/dev/acme/card", "type": "c", "major": 1, "minor": 11, "fileMode": 0o660, "gid": 4321}
    mount = {"hostPath": str(tmp_path / "driver"), "containerPath": "/opt/acme", "options": ["ro", "noexec", "nodev"]}
    describe(descriptions, env=["ACME=1"], deviceNodes=[node], mounts=[mount], additionalGids=[4321])
    say = f"{LOOK}; echo $ACME $OTHER; id -G; cat /opt/acme/libacme"

    container = runner(engine)(
        "web",
        command=("sh", "-c", f"({say}) >/tmp/said 2>&1; exec {' '.join(SLEEP)}"),
        environment={"ACME": "0", "OTHER": "2"},
        cdi_devices=("acme.com/card=one",),
        userns_mode=userns_mode,
        user="0:0",
    )

    said = output_of(engine, container.id, "sh", "-c", "until grep -qs by.acme /tmp/said; do :; done; cat /tmp/said")
    assert said.splitlines()[:4] == ["character special file 1:b 660 0:4321", "1 2", "0 4321", "by acme"]
    mounted = next(
        line
        for line in output_of(engine, container.id, "cat", "/proc/self/mountinfo").splitlines()
        if " /opt/acme " in line
    )
    assert {"ro", "noexec", "nodev"} <= set(mounted.split()[5].split(","))
    assert engine.info().cdi_devices == ("acme.com/card=one",)
    assert engine.info().cdi_directories == (str(descriptions),)


def test_rules_let_it_be_used_and_nothing_else(engine: Engine, descriptions: Path) -> None:
    """For the host's root: no user namespace keeps it from opening nodes."""
    device = next(path for path in ("/dev/rtc0", "/dev/loop-control", "/dev/kmsg") if Path(path).exists())
    describe(descriptions, deviceNodes=[{"path": "/dev/acme/card", "hostPath": device, "permissions": "r"}])
    run = runner(engine)
    number = os.stat(device).st_rdev

    run("web", cdi_devices=("acme.com/card=one",), userns_mode="host")
    run("without", userns_mode="host")

    made = f"mknod /tmp/it c {os.major(number)} {os.minor(number)}"
    opened = "python3 -c 'import os, sys; os.open(sys.argv[1], int(sys.argv[2]))'"
    for name, path, flags, works in (
        ("web", "/dev/acme/card", os.O_RDONLY, True),
        ("web", "/dev/acme/card", os.O_WRONLY, False),
        ("without", "/tmp/it", os.O_RDONLY, False),
    ):
        code = output_of(engine, name, "sh", "-c", f"{made} 2>&1; {opened} {path} {flags} 2>&1; echo $?").split()[-1]
        assert (code == "0") == works, (name, path, flags)


# Finds the container's root as OCI says, and finishes it.
HOOK = r"""
state=$(cat)
bundle=$(echo "$state" | sed 's/.*"bundle": "\([^"]*\)".*/\1/')
root=$(sed 's/.*"root": {"path": "\([^"]*\)".*/\1/' "$bundle/config.json")
echo "$state" >"$root/opt/state"
ln -s libacme.so.1 "$root/opt/acme/libacme.so"
echo "$ACME as $(id -u) with $1" >"$root/opt/said"
"""


def hook(script: str, **more: Any) -> dict[str, Any]:
    return {"hookName": "createContainer", "path": "/bin/sh", "args": ["sh", "-c", script, "sh", "word"], **more}


@pytest.mark.parametrize("userns_mode", ["", "host"])
def test_a_hook_finishes_the_root_before_anything_runs(engine: Engine, descriptions: Path, userns_mode: str) -> None:
    mount = {"hostPath": "tmpfs", "containerPath": "/opt/acme", "type": "tmpfs"}
    describe(descriptions, mounts=[mount], hooks=[hook(HOOK, env=["ACME=1", "PATH=/usr/bin:/bin"])])
    command = ("sh", "-c", "readlink /opt/acme/libacme.so >/tmp/first; exec sleep infinity")

    container = runner(engine)("web", command=command, cdi_devices=("acme.com/card=one",), userns_mode=userns_mode)

    look = "until test -s /tmp/first; do :; done; cat /tmp/first /opt/said; grep -c /mnt /proc/self/mountinfo"
    _, said = execute(engine, "web", "sh", "-c", look)
    assert said.splitlines() == ["libacme.so.1", "1 as 0 with word", "0"]
    state = json.loads(output_of(engine, "web", "cat", "/opt/state"))
    assert (state["id"], state["status"], state["pid"]) == (container.id, "creating", container.state.pid)
    assert not Path("/opt/acme").exists()


def test_a_hook_that_fails_is_named_with_what_it_said(engine: Engine, descriptions: Path) -> None:
    run = runner(engine)
    for script, more, sentence in (
        ("echo no card here >&2; exit 3", {}, "createContainer hook /bin/sh failed with code 3: no card here"),
        ("exec sleep 60", {"timeout": 1}, "createContainer hook /bin/sh has not ended after 1 s"),
    ):
        describe(descriptions, hooks=[hook(script, **more)])
        with pytest.raises(NetmodelError, match=sentence):
            run("web", cdi_devices=("acme.com/card=one",))
        assert not engine.container("web").state.running
        engine.remove("web")
    describe(descriptions, hooks=[{"hookName": "createContainer", "path": "/usr/bin/acme-ctk"}])
    with pytest.raises(Invalid, match="its hook /usr/bin/acme-ctk is no program of this machine"):
        run("web", cdi_devices=("acme.com/card=one",))


def test_what_is_not_there_leaves_nothing_and_a_start_looks_anew(engine: Engine, descriptions: Path) -> None:
    run = runner(engine)
    with pytest.raises(Invalid, match=r"no CDI device acme\.com/card=one"):
        run("web", cdi_devices=("acme.com/card=one",))
    describe(descriptions, hooks=[{"hookName": "poststop", "path": "/bin/true"}])
    with pytest.raises(MissingFeature, match="hooks that are not run here: poststop /bin/true"):
        run("web", cdi_devices=("acme.com/card=one",))
    assert engine.containers() == []

    describe(descriptions, deviceNodes=[{"path": "/dev/acme/card", "hostPath": "/dev/zero"}])
    run("web", cdi_devices=("acme.com/card=one",))
    assert output_of(engine, "web", "sh", "-c", LOOK) == "character special file 1:5 666 0:0\n"
    engine.stop("web", timeout_s=0)
    describe(descriptions, deviceNodes=[{"path": "/dev/acme/card", "hostPath": "/dev/full"}])
    engine.start("web")
    assert output_of(engine, "web", "sh", "-c", LOOK) == "character special file 1:7 666 0:0\n"
    engine.stop("web", timeout_s=0)

    (descriptions / "acme.json").unlink()

    with pytest.raises(Invalid, match=r"no CDI device acme\.com/card=one"):
        engine.start("web")
    assert not engine.container("web").state.running
    assert stat.S_ISCHR(os.stat("/dev/full").st_mode)  # the host's own is not touched
