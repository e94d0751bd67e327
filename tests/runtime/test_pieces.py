"""The parts that need no container: values over the socket, names to numbers, the order of mounts, paths."""

from __future__ import annotations

import json
import os
import socket
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from runtime import wire
from runtime.client import Spawner
from runtime.codec import decode_container, encode
from runtime.defaults import DEFAULT_CAPABILITIES
from runtime.errors import KernelRefused, StartFailed
from runtime.kernel.path import make_in, open_in
from runtime.kernel.prctl import CAPABILITIES
from runtime.launch.order import ordered_mounts
from runtime.launch.sysctl import _as_path
from runtime.launch.user import User, resolve
from runtime.spec import BindMount, ContainerSpec, IdMap, Process, RootFs, TmpfsMount, Ulimit

SPEC = ContainerSpec(
    id="a" * 64,
    process=Process(
        argv=("a", ""), environment=(("A", "ü\n"),), ulimits=(Ulimit(name="core", soft=0, hard=-1),), terminal=True
    ),
    rootfs=RootFs(layers=("/x", "/y"), upper="/u", work="/w", read_only=True),
    sandbox="host",
    idmap=IdMap(base=7),
    hostname="h",
    log="/log",
    mounts=(
        BindMount(source="/s", target="/t", propagation="rslave"),
        TmpfsMount(target="/tmp", size_bytes=5, options=("ro",)),
    ),
    files=(BindMount(source="/f", target="/etc/hosts"),),
    sysctls=(("a.b", "c"),),
)


@pytest.mark.parametrize("spec", [SPEC, replace(SPEC, idmap=None, mounts=(), process=Process(argv=("x",)))])
def test_a_spec_crosses_the_socket_unchanged(spec: ContainerSpec) -> None:
    assert decode_container(json.loads(json.dumps(encode(spec)))) == spec


@pytest.mark.parametrize("size", [1, 100_000, 3_000_000])
def test_messages_of_any_size_with_descriptors(size: int) -> None:
    left, right = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with left, right:
        read, write = os.pipe()
        wire.send(left, {"text": "x" * size}, [write])
        os.close(write)

        received = wire.receive(right)

        assert received is not None
        message, fds = received
        assert len(message["text"]) == size
        os.write(fds[0], b"through")
        assert os.read(read, 10) == b"through"
        os.close(read)
        os.close(*fds)
        left.close()
        assert wire.receive(right) is None


@pytest.fixture
def files(tmp_path: Path) -> tuple[str, str]:
    passwd, group = tmp_path / "passwd", tmp_path / "group"
    passwd.write_text(
        "root:x:0:0:root:/root:/bin/sh\n# a comment\nbroken:x:y\n"
        "alice:x:1000:100::/home/alice:\n7:x:1007:107::/seven:\n"
    )
    group.write_text("root:x:0:\nusers:x:100:\nwheel:x:10:alice,root\naudio:x:29:bob,alice\n")
    return str(passwd), str(group)


@pytest.mark.parametrize(
    ("user", "extra", "wanted"),
    [
        ("", (), User(0, 0, (0, 10), "/root")),
        ("alice", (), User(1000, 100, (100, 10, 29), "/home/alice")),
        ("1000", ("wheel",), User(1000, 100, (100, 10, 29), "/home/alice")),
        ("alice:audio", (), User(1000, 29, (29,), "/home/alice")),
        ("alice:5", ("wheel", "77"), User(1000, 5, (5, 10, 77), "/home/alice")),
        ("7", (), User(1007, 107, (107,), "/seven")),
        ("8", (), User(8, 0, (0,), "/")),
        (":audio", (), User(0, 29, (29,), "/root")),
    ],
)
def test_users(files: tuple[str, str], user: str, extra: tuple[str, ...], wanted: User) -> None:
    assert resolve(user, extra, *files) == wanted


def test_numbers_need_no_files() -> None:
    assert resolve("5:6", ("7",), "/no/passwd", "/no/group") == User(5, 6, (6, 7), "/")
    with pytest.raises(StartFailed, match="'alice' is not in /no/passwd"):
        resolve("alice", (), "/no/passwd", "/no/group")


@pytest.mark.parametrize("user", ["4294967295", "4294967296", "2147483648", "0:2147483648", "evil", "max:0", "9" * 30])
def test_ids_that_are_none(tmp_path: Path, user: str) -> None:
    """-1 means "as it is" to the kernel: the user it was to become would have been root."""
    passwd, group = tmp_path / "passwd", tmp_path / "group"
    passwd.write_text("evil:x:4294967295:0::/:\nmax:x:99999999999:0::/:\n")
    group.write_text("")

    with pytest.raises(StartFailed):
        resolve(user, (), str(passwd), str(group))
    with pytest.raises(StartFailed):
        resolve("5", ("4294967295",), str(passwd), str(group))


def test_a_crafted_file_of_users_is_no_mistake_of_ours(tmp_path: Path) -> None:
    passwd, group = tmp_path / "passwd", tmp_path / "group"
    passwd.write_text("a:x:²:0::/:\nb:x:1:x::/:\nc:x:-1:0::/:\nd\n" + "e:" * 50 + "\nfine:x:7:8::/f:\x00")
    group.write_text("a:x:²:fine\nb:x:" + "9" * 5000 + ":fine\n")

    assert resolve("fine", (), str(passwd), str(group)) == User(7, 8, (8,), "/f")
    for name in "abcde":
        with pytest.raises(StartFailed, match="is not in"):
            resolve(name, (), str(passwd), str(group))


def test_mounts_go_from_the_root_downwards() -> None:
    spec = replace(
        SPEC,
        mounts=(TmpfsMount(target="/a/b/c"), TmpfsMount(target="/a/"), BindMount(source="/x", target="//etc/./hosts")),
        files=tuple(BindMount(source="/f", target=f"/etc/{name}") for name in ("hosts", "hostname")),
    )

    assert [wanted.target for wanted in ordered_mounts(spec)] == ["/a/", "//etc/./hosts", "/etc/hostname", "/a/b/c"]


@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("net.ipv4.ip_forward", "net/ipv4/ip_forward"),
        ("net/ipv4/conf/eth0.7/forwarding", "net/ipv4/conf/eth0.7/forwarding"),
        ("net.ipv4.conf.eth0/7.forwarding", "net/ipv4/conf/eth0.7/forwarding"),
    ],
)
def test_sysctl_names(name: str, path: str) -> None:
    assert _as_path(name) == path


def test_links_do_not_lead_out(tmp_path: Path) -> None:
    root = tmp_path / "root"
    (root / "etc").mkdir(parents=True)
    (root / "etc" / "here").touch()
    (root / "out").symlink_to("/etc")
    (root / "up").symlink_to("../../../../../../etc")
    (root / "nowhere").symlink_to("/no/such")
    directory = os.open(root, os.O_PATH)
    try:
        for path in ("/out/here", "up/here", "../../etc/here"):
            os.close(open_in(directory, path))
        with pytest.raises(FileNotFoundError):
            open_in(directory, "/out/passwd")
        os.close(make_in(directory, "/up/made/file", directory=False))
        assert (root / "etc" / "made" / "file").exists()
        with pytest.raises(KernelRefused, match="make the mount point /nowhere"):
            make_in(directory, "/nowhere", directory=True)
    finally:
        os.close(directory)


def test_docker_s_capabilities_are_known_ones() -> None:
    assert set(DEFAULT_CAPABILITIES) <= set(CAPABILITIES)
    assert len(CAPABILITIES) == 41


def test_a_second_answer_of_the_spawner_keeps_nobody_waiting() -> None:
    """It may fail after it has answered; the next request is heard all the same."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    wire.send(theirs, {"event": "hello", "pid": 1})
    spawner = Spawner(ours)
    with theirs, ThreadPoolExecutor(1) as asking:
        for verb in ("status", "pins"):
            answer = asking.submit(getattr(spawner, verb))
            received = wire.receive(theirs)
            assert received is not None
            for fds in ([], [theirs.fileno()]):
                wire.send(theirs, {"reply": received[0]["id_"], "containers": [], "pins": []}, fds)
            assert answer.result(10) == []
    spawner.close()
