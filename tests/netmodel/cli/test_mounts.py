"""-v, --mount and --tmpfs, from the command line to what a container sees, and volumes with their filters."""

from __future__ import annotations

import json
from pathlib import Path

import click
import pytest

from netmodel.cli.mounts import declared_mounts
from tests.support.daemon import Daemon
from tests.support.tars import directory, docker_archive, layer, member

pytestmark = pytest.mark.kernel


def test_mounts_in_docker_s_words() -> None:
    texts = [
        "type=bind,src=/a,dst=/x,ro,bind-recursive=readonly,bind-propagation=rprivate,bind-create-src",
        "type=volume,src=v,dst=/x,volume-subpath=db,volume-nocopy,volume-label=of=x,volume-driver=local",
        'src=v,dst=/x,volume-opt=type=tmpfs,"volume-opt=o=size=1m,mode=700"',
        "type=image,src=lab/app,dst=/x,image-subpath=srv",
        "type=tmpfs,dst=/x,tmpfs-size=1m,tmpfs-mode=700",
        "TYPE=Bind,Source=/a,Destination=/x,readonly=0,bind-nonrecursive,consistency=cached",
    ]

    assert declared_mounts(texts) == [
        {
            "Type": "bind",
            "Source": "/a",
            "Target": "/x",
            "ReadOnly": True,
            "BindOptions": {"ReadOnlyForceRecursive": True, "Propagation": "rprivate", "CreateMountpoint": True},
        },
        {
            "Type": "volume",
            "Source": "v",
            "Target": "/x",
            "VolumeOptions": {
                "Subpath": "db",
                "NoCopy": True,
                "Labels": {"of": "x"},
                "DriverConfig": {"Name": "local"},
            },
        },
        {
            "Type": "volume",
            "Source": "v",
            "Target": "/x",
            "VolumeOptions": {"DriverConfig": {"Options": {"type": "tmpfs", "o": "size=1m,mode=700"}}},
        },
        {"Type": "image", "Source": "lab/app", "Target": "/x", "ImageOptions": {"Subpath": "srv"}},
        {"Type": "tmpfs", "Target": "/x", "TmpfsOptions": {"SizeBytes": 1 << 20, "Mode": 0o700}},
        {
            "Type": "bind",
            "Source": "/a",
            "Target": "/x",
            "ReadOnly": False,
            "BindOptions": {"NonRecursive": True},
        },
    ]


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("type=bind,src=/a", "no target"),
        ("src=v,dst=/x,loud", "'loud' is not known"),
        ("type=bind,src=/a,dst=/x,bind-recursive=no", "enabled, disabled, writable, readonly"),
        ("type=bind,src=/a,dst=/x,readonly=maybe", "readonly is true or false, not 'maybe'"),
        ("src=v,dst=/x,volume-nocopy=foo", "volume-nocopy is true or false"),
        ("type=bind,src=/a,dst=/x,volume-nocopy", "volume-... is not for a mount of type bind"),
        ("type=bind,src=/a,dst=/x,tmpfs-size=1m", "tmpfs-... is not for a mount of type bind"),
        ("src=v,dst=/x,bind-propagation=rslave", "bind-... is not for a mount of type volume"),
        ("type=tmpfs,dst=/x,tmpfs-size=lots", "'lots' is not a size"),
    ],
)
def test_mounts_that_are_not_understood(text: str, complaint: str) -> None:
    with pytest.raises(click.UsageError, match=complaint):
        declared_mounts([text])


def test_an_image_and_a_part_of_a_volume(daemon: Daemon, tmp_path: Path) -> None:
    archive = tmp_path / "app.tar"
    content = layer(directory("srv"), member("srv/file", content=b"from the image"))
    archive.write_bytes(docker_archive([content], ["lab/mounted:1"]).getvalue())
    daemon.ok("load", "-i", str(archive))
    daemon.ok("run", "--rm", "-v", "parts:/x", "host", "sh", "-c", "mkdir -p /x/db/one; echo part > /x/db/one/file")

    seen = daemon.ok(
        *("run", "--name", "mounted", "--mount", "type=volume,src=parts,dst=/v,volume-subpath=db/one,ro"),
        *("--mount", "type=image,src=lab/mounted:1,dst=/i,image-subpath=srv", "host", "cat", "/v/file", "/i/file"),
    )

    assert seen == "part\nfrom the image"
    (told,) = json.loads(daemon.ok("inspect", "mounted"))
    assert [(one["Type"], one["Source"], one["RW"]) for one in told["Mounts"]] == [
        ("volume", str(daemon.root / "volumes/parts/_data"), False),
        ("image", "lab/mounted:1", False),
    ]
    assert [one.get("VolumeOptions") or one.get("ImageOptions") for one in told["HostConfig"]["Mounts"]] == [
        {"Subpath": "db/one"},
        {"Subpath": "srv"},
    ]
    refused = daemon.netmodel("rmi", "lab/mounted:1")
    assert refused.returncode == 1
    assert "used by mounted" in refused.stderr
    daemon.ok("rm", "mounted")


def test_volumes_of_another_container(daemon: Daemon) -> None:
    """In Docker's words; who looks at it is told what was asked for, and what came of it."""
    daemon.ok("create", "--name", "store", "-v", "/x", "host", "true")
    seen = daemon.netmodel("run", "--name", "user", "--volumes-from", "store:ro", "host", "touch", "/x/file")
    assert (seen.returncode, "Read-only" in seen.stderr) == (1, True)
    daemon.ok("run", "--rm", "--volumes-from", "store", "host", "touch", "/x/file")

    [shown] = json.loads(daemon.ok("inspect", "user"))
    [store] = json.loads(daemon.ok("inspect", "store"))
    assert (shown["HostConfig"]["VolumesFrom"], shown["HostConfig"]["Binds"]) == (["store:ro"], None)
    assert [(one["Name"], one["RW"]) for one in shown["Mounts"]] == [(store["Mounts"][0]["Name"], False)]
    refused = daemon.netmodel("run", "--volumes-from", "nobody", "host", "true")
    assert "error: cannot take volumes from nobody: no such container: nobody\n" in refused.stderr
    daemon.ok("rm", "-v", "store", "user")
    assert daemon.ok("volume", "ls", "-q", "--filter", f"name={store['Mounts'][0]['Name']}") == ""


def test_volumes_by_every_filter(daemon: Daemon) -> None:
    for name, label in (("kept-one", "a=1"), ("kept-two", "a=2"), ("other", "b")):
        daemon.ok("volume", "create", "--label", f"{label}", name)
    daemon.ok("run", "-d", "--name", "user", "-v", "kept-one:/x", "host", "sleep", "infinity")

    def listed(*filters: str) -> set[str]:
        options = [word for one in filters for word in ("-f", one)]
        return set(daemon.ok("volume", "ls", "-q", *options).split()) & {"kept-one", "kept-two", "other"}

    assert listed("name=kept") == {"kept-one", "kept-two"}
    assert listed("name=^kept-t") == {"kept-two"}
    assert listed("label=a") == {"kept-one", "kept-two"}
    assert listed("label=a=2") == {"kept-two"}
    assert listed("dangling=true") == {"kept-two", "other"}
    assert listed("dangling=false") == {"kept-one"}
    assert listed("driver=local", "label=b") == {"other"}
    assert listed("driver=nfs") == set()
    daemon.ok("rm", "-f", "user")


def test_prune_takes_what_is_asked_for_and_says_how_much(daemon: Daemon) -> None:
    daemon.ok("volume", "create", "--label", "keep", "labelled")
    daemon.ok("run", "--rm", "-v", "big:/x", "host", "sh", "-c", "head -c 2000000 /dev/urandom > /x/file")
    daemon.ok("run", "--name", "holder", "-v", "/anonymous", "host", "true")
    (anonymous,) = (one["Name"] for one in json.loads(daemon.ok("inspect", "holder"))[0]["Mounts"])
    daemon.ok("rm", "holder")

    pruned = daemon.netmodel("volume", "prune", "--filter", "label!=keep")
    assert pruned.stdout.split() == [anonymous]
    pruned = daemon.netmodel("volume", "prune", "-a", "--filter", "label!=keep")
    assert "big" in pruned.stdout.split()
    assert "labelled" not in pruned.stdout
    assert "freed: 1.9" in pruned.stderr


def test_inspect_tells_all_of_a_volume(daemon: Daemon) -> None:
    options = {"type": "tmpfs", "device": "tmpfs", "o": "size=1m"}
    words = [word for key, value in options.items() for word in ("-o", f"{key}={value}")]
    daemon.ok("volume", "create", "--label", "of=x", *words, "told")

    (told,) = json.loads(daemon.ok("volume", "inspect", "told"))

    assert told.pop("CreatedAt").startswith("20")
    assert told == {
        "Name": "told",
        "Driver": "local",
        "Mountpoint": str(daemon.root / "volumes/told/_data"),
        "Labels": {"of": "x"},
        "Options": options,
        "Scope": "local",
        "UsageData": {"Size": -1, "RefCount": 0},
    }
    (counted,) = (one for one in daemon.client.get("/system/df")["Volumes"] if one["Name"] == "told")
    assert counted["UsageData"] == {"Size": 0, "RefCount": 0}
    daemon.ok("volume", "rm", "told")


def test_a_size_that_the_file_system_cannot_keep_is_refused_and_nothing_made(daemon: Daemon) -> None:
    for words in (
        ("volume", "create", "-o", "size=1g", "never"),
        ("create", "--storage-opt", "size=1g", "host", "true"),
    ):
        refused = daemon.netmodel(*words)
        assert refused.returncode > 0
        assert "enforces no project quotas\nhint: " in refused.stderr
    assert daemon.netmodel("create", "--storage-opt", "size=0", "host", "true").returncode == 2
    assert daemon.ok("ps", "-aq") == daemon.ok("volume", "ls", "-q", "--filter", "name=never") == ""


@pytest.mark.parametrize("option", ["size=lots", "type=nfs"])
def test_what_the_local_driver_has_not_is_refused(daemon: Daemon, option: str) -> None:
    refused = daemon.netmodel("volume", "create", "-o", option, "never")

    assert refused.returncode == 2
    assert option in refused.stderr
    assert "never" not in daemon.ok("volume", "ls", "-q").split()
