"""Descriptions of devices: what is read, which of two counts, what is refused and how that is said."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from netmodel.cdi import Edits, Registry
from netmodel.errors import Invalid, NetmodelError
from runtime.spec import BindMount, DeviceNode, Hook, TmpfsMount

FIRST = {"name": "first", "containerEdits": {"env": ["WHICH=first"]}}


def described(directory: Path, *devices: dict[str, Any], name: str = "acme.json", **more: Any) -> Path:
    directory.mkdir(exist_ok=True)
    file = directory / name
    file.write_text(json.dumps({"cdiVersion": "1.0.0", "kind": "acme.com/card", "devices": devices, **more}))
    return file


def edits(directory: Path, **fields: Any) -> Edits:
    """Those of one device with these fields."""
    described(directory, {"name": "one", "containerEdits": fields})
    return Registry([str(directory)]).edits(["acme.com/card=one"])


def test_what_all_devices_of_a_file_have_comes_once_and_first(tmp_path: Path) -> None:
    common = {"env": ["WHICH=none", "ALL=yes"], "additionalGids": [44, 0]}
    second = {"name": "second", "containerEdits": {"env": ["WHICH=second"], "additionalGids": [44, 7]}}
    described(tmp_path, FIRST, second, containerEdits=common)
    registry = Registry([str(tmp_path)])

    both = registry.edits(["acme.com/card=first", "acme.com/card=second"])

    assert dict(both.environment) == {"WHICH": "second", "ALL": "yes"}
    assert both.groups == ("44", "7")
    assert registry.names() == ["acme.com/card=first", "acme.com/card=second"]
    assert registry.edits([]) == Edits()


def test_yaml_reads_like_json(tmp_path: Path) -> None:
    (tmp_path / "acme.yaml").write_text(
        """
        cdiVersion: 0.6.0
        kind: acme.com/card
        annotations: {by: hand}
        devices:
          - name: 0
            containerEdits:
              deviceNodes: [{path: /dev/card0, type: c, major: 226, minor: 1, fileMode: 432, gid: 44}]
        """
    )

    found = Registry([str(tmp_path)]).edits(["acme.com/card=0"])

    assert found.nodes == (DeviceNode(path="/dev/card0", kind="c", major=226, minor=1, mode=0o660, gid=44),)
    assert found.rules == ("c 226:1 rwm",)


def test_a_node_is_like_the_hosts_where_nothing_is_said(tmp_path: Path) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    found = edits(
        tmp_path / "cdi",
        deviceNodes=[
            {"path": "/dev/nothing", "hostPath": "/dev/null", "permissions": "r"},
            {"path": "/dev/acme/zero", "hostPath": "/dev/zero", "type": "c", "uid": 5},
            {"path": "/dev/pipe", "hostPath": str(fifo)},
            {"path": "/dev/shut", "hostPath": "/dev/full", "permissions": "none"},
        ],
    )

    assert found.nodes == (
        DeviceNode(path="/dev/nothing", kind="c", major=1, minor=3),
        DeviceNode(path="/dev/acme/zero", kind="c", major=1, minor=5, uid=5),
        DeviceNode(path="/dev/pipe", kind="p"),
        DeviceNode(path="/dev/shut", kind="c", major=1, minor=7),
    )
    assert found.rules == ("c 1:3 r", "c 1:5 rwm")


def test_a_node_belongs_to_the_user_who_is_a_number(tmp_path: Path) -> None:
    described(tmp_path, {"name": "one", "containerEdits": {"deviceNodes": [{"path": "/dev/null", "gid": 9}]}})
    registry = Registry([str(tmp_path)])

    for user, owners in (("1000:1001", (1000, 9)), ("www-data", (0, 9)), ("", (0, 9))):
        node = registry.edits(["acme.com/card=one"], user).nodes[0]
        assert (node.uid, node.gid) == owners


def test_mounts_with_their_options(tmp_path: Path) -> None:
    found = edits(
        tmp_path,
        mounts=[
            {"hostPath": "/usr/lib/a.so", "containerPath": "/opt/a.so", "options": ["ro", "nosuid", "nodev", "bind"]},
            {"hostPath": "/srv", "containerPath": "/srv", "options": ["rbind", "rslave"], "type": "bind"},
            {"hostPath": "tmpfs", "containerPath": "/scratch", "type": "tmpfs", "options": ["size=1m", "mode=700"]},
        ],
    )

    assert found.mounts == (
        BindMount(
            source="/usr/lib/a.so", target="/opt/a.so", read_only=True, recursive=False, attributes=("nosuid", "nodev")
        ),
        BindMount(source="/srv", target="/srv", propagation="rslave"),
        TmpfsMount(target="/scratch", mode=0o700, options=("size=1m",)),
    )


def test_hooks_that_finish_the_root(tmp_path: Path) -> None:
    wanted = {"hookName": "createContainer", "path": "/bin/sh", "args": ["sh", "-e"], "env": ["A=1"], "timeout": 3}

    found = edits(tmp_path, hooks=[wanted, {"hookName": "createContainer", "path": "/bin/true"}, wanted])

    assert found.hooks == (
        Hook(path="/bin/sh", argv=("sh", "-e"), environment=(("A", "1"),), timeout_s=3),
        Hook(path="/bin/true"),
    )


def test_a_later_directory_counts_and_two_in_one_are_told(tmp_path: Path) -> None:
    etc, run = tmp_path / "etc", tmp_path / "run"
    described(etc, FIRST)
    described(run, {"name": "first", "containerEdits": {"env": ["WHICH=other"]}})
    registry = Registry([str(etc), str(run), str(tmp_path / "missing")])
    assert registry.edits(["acme.com/card=first"]).environment == (("WHICH", "other"),)

    second = described(run, FIRST, name="again.json")

    assert registry.names() == []
    with pytest.raises(Invalid, match=rf"is described by {run}/acme\.json and by {second}"):
        registry.edits(["acme.com/card=first"])
    second.unlink()
    assert registry.names() == ["acme.com/card=first"]


def test_one_that_is_not_there_names_those_that_are(tmp_path: Path) -> None:
    registry = Registry([str(tmp_path)])
    with pytest.raises(Invalid, match=f"no CDI device acme.com/card=fist is described in {tmp_path}") as none:
        registry.edits(["acme.com/card=fist"])
    assert "nvidia-ctk cdi generate" in none.value.hint

    described(tmp_path, FIRST, {"name": "second", "containerEdits": {}})
    (tmp_path / "broken.json").write_text("{")
    (tmp_path / "notes.txt").write_text("{")

    with pytest.raises(Invalid, match=rf"; CDI file {tmp_path}/broken\.json: not JSON") as some:
        registry.edits(["acme.com/card=fist"])
    assert some.value.hint == "did you mean acme.com/card=first? there are: acme.com/card=first, acme.com/card=second"
    assert len(registry.problems()) == 1


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"cdiVersion": "2.0.0"}, "cdiVersion 2.0.0 is not known"),
        ({"kind": "card"}, "kind 'card' is not of the form"),
        ({"devices": []}, "it describes no device"),
        ({"devices": [FIRST, FIRST]}, "device first is described twice"),
        ({"devices": [{"name": "a b", "containerEdits": {}}]}, "'a b' is no name"),
        ({"devices": [{"name": "a"}]}, "containerEdits"),
        ({"containerEdits": {"devices": []}}, "unknown field `devices`"),
        ({"containerEdits": {"env": [1]}}, "Expected `str`"),
    ],
)
def test_files_that_are_wrong_say_why(tmp_path: Path, changes: dict[str, Any], problem: str) -> None:
    file = described(tmp_path, FIRST)
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))

    (said,) = Registry([str(tmp_path)]).problems()

    assert said.startswith(f"CDI file {file}: ")
    assert problem in said


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        (
            {"hooks": [{"hookName": "createRuntime", "path": "/usr/bin/acme", "args": ["acme", "fix"]}]},
            "wants hooks that are not run here: createRuntime /usr/bin/acme",
        ),
        ({"hooks": [{"hookName": "createContainer", "path": "acme"}]}, "its hook acme is no program of this machine"),
        ({"hooks": [{"hookName": "createContainer", "path": "/bin/sh", "env": ["A"]}]}, "'A' is no variable"),
        ({"netDevices": [{"hostInterfaceName": "eth9", "name": "eth0"}]}, "wants the host's link eth9"),
        ({"intelRdt": {"closID": "x"}}, "wants intelRdt"),
        ({"env": ["=x"]}, "'=x' is no variable"),
        ({"deviceNodes": [{"path": "/tmp/card"}]}, "/tmp/card is not below /dev"),
        ({"deviceNodes": [{"path": "/dev/../etc/card"}]}, "is not below /dev"),
        ({"deviceNodes": [{"path": "/dev/none-such"}]}, "/dev/none-such: no such file"),
        ({"deviceNodes": [{"path": "/dev/a", "hostPath": "/etc/passwd"}]}, "/etc/passwd is not a device node"),
        ({"deviceNodes": [{"path": "/dev/null", "type": "b"}]}, "/dev/null is of type c, not b"),
        ({"deviceNodes": [{"path": "/dev/null", "type": "x"}]}, "of no type 'x'"),
        ({"deviceNodes": [{"path": "/dev/null", "permissions": "rx"}]}, "permissions 'rx' are none"),
        ({"mounts": [{"hostPath": "/srv", "containerPath": "srv"}]}, "srv is no place for a mount"),
        ({"mounts": [{"hostPath": "/srv", "containerPath": "/srv", "type": "nfs"}]}, "a mount of type nfs"),
        ({"mounts": [{"hostPath": "/srv", "containerPath": "/srv", "options": ["lazy"]}]}, "mounted with lazy"),
    ],
)
def test_what_cannot_be_done_is_refused_by_name(tmp_path: Path, fields: dict[str, Any], sentence: str) -> None:
    with pytest.raises(NetmodelError, match=sentence) as refused:
        edits(tmp_path, **fields)
    assert refused.value.message.startswith("CDI device acme.com/card=one")
