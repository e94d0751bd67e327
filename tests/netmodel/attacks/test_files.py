"""Out of a container by way of files: mount targets, volumes, descriptors, programs of the host."""

from __future__ import annotations

import json
import os
import stat
from contextlib import suppress
from pathlib import Path

import pytest

from netmodel.engine import Engine
from netmodel.errors import NetmodelError
from netmodel.model import ContainerConfig, MountConfig
from tests.netmodel.attacks.conftest import Attempt
from tests.netmodel.engine.conftest import SLEEP, Run, execute
from tests.support.wait import eventually

pytestmark = pytest.mark.kernel


# Holds the program of whoever runs /trap, and opens it for writing once nobody runs it there any more.
_SPY = """
import errno, glob, os, time
held, deadline = -1, time.monotonic() + 10
while held < 0 and time.monotonic() < deadline:
    for cmdline in glob.glob("/proc/[0-9]*/cmdline"):
        try:
            if open(cmdline, "rb").read().endswith(b"\\0/trap\\0"):
                held = os.open(cmdline.replace("cmdline", "exe"), os.O_RDONLY)
        except OSError:
            pass
print("seen" if held >= 0 else "unseen", flush=True)
time.sleep(1)
try:
    os.open(f"/proc/self/fd/{held}", os.O_WRONLY | os.O_TRUNC)
    print("open")
except OSError as error:
    print(errno.errorcode[error.errno])
"""


@pytest.fixture
def image(tmp_path: Path) -> Path:
    """An image whose directories are links that lead out of it."""
    root = tmp_path / "image"
    (root / "bin").mkdir(parents=True)
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "secret").write_text("secret")
    up = "../" * 20
    (root / "absolute").symlink_to(outside)
    (root / "relative").symlink_to(f"{up}{outside}".replace("//", "/"))
    (root / "magic").symlink_to("/proc/self/root")
    (root / "loop").symlink_to("loop")
    return root


@pytest.mark.parametrize("link", ["absolute", "relative", "magic/tmp"])
@pytest.mark.parametrize("kind", ["bind", "volume", "tmpfs"])
def test_mount_targets_never_lead_out(engine: Engine, image: Path, tmp_path: Path, link: str, kind: str) -> None:
    """The mount lands where the container's own root would find it; the host's directory stays as it was."""
    source = tmp_path / "source"
    source.mkdir()
    outside = tmp_path / "outside"
    before = set(outside.rglob("*"))
    mount = MountConfig(
        type=kind,  # type: ignore[arg-type]
        target=f"/{link}/place",
        source={"bind": str(source), "volume": "held", "tmpfs": ""}[kind],
    )
    config = ContainerConfig(image=str(image), command=("/bin/none",), network_mode="none", mounts=(mount,))
    container = engine.create_container(config)
    with pytest.raises(NetmodelError, match=r"/bin/none|mount point"):
        engine.start(container.id)

    assert set(outside.rglob("*")) == before
    if kind == "volume":
        assert "secret" not in {path.name for path in engine.volume_path("held").rglob("*")}


def test_volume_is_filled_from_the_image_and_nowhere_else(engine: Engine, image: Path) -> None:
    """Copying the image's content up follows its links inside the image only."""
    mount = MountConfig(type="volume", target="/absolute", source="filled")
    container = engine.create_container(
        ContainerConfig(image=str(image), command=("/bin/none",), network_mode="none", mounts=(mount,))
    )
    with pytest.raises(NetmodelError, match=r"/bin/none|mount point"):
        engine.start(container.id)

    assert list(engine.volume_path("filled").iterdir()) == []


@pytest.mark.parametrize("target", ["/proc", "/proc/sys", "/proc/self/attr", "/proc/version", "/link/sys", "/link"])
@pytest.mark.parametrize("kind", ["bind", "tmpfs"])
def test_nothing_is_mounted_over_proc(run: Run, tmp_path: Path, target: str, kind: str) -> None:
    """CVE-2019-16884, CVE-2025-52881: what we write to sysctls and labels would go where the mount says."""
    root, source = tmp_path / "image", tmp_path / "source"
    root.mkdir()
    (root / "link").symlink_to("/proc")
    source.touch() if target == "/proc/version" else source.mkdir()
    wanted = MountConfig(type=kind, target=target, source=str(source) if kind == "bind" else "")  # type: ignore[arg-type]

    with pytest.raises(NetmodelError, match=r"mounted over|which is a file"):
        run("victim", image=str(root), command=("/none",), mounts=(wanted,), network_mode="none")


def test_files_of_proc_that_nobody_trusts_may_be_stood_in_for(run: Run, attempt: Attempt, tmp_path: Path) -> None:
    """As LXCFS does. So that the refusal above is not for all."""
    (tmp_path / "uptime").write_text("1.00 1.00\n")
    mount = MountConfig(type="bind", target="/proc/uptime", source=str(tmp_path / "uptime"), read_only=True)

    assert attempt(run("counted", mounts=(mount,)), "cat /proc/uptime")[1] == "1.00 1.00\n"


@pytest.mark.parametrize("config", [{}, {"userns_mode": "host"}], ids=["own user namespace", "the host's"])
@pytest.mark.parametrize("null", ["link", "fifo", "file"])
def test_masks_and_input_take_nothing_but_the_null_device(
    run: Run, tmp_path: Path, null: str, config: dict[str, str]
) -> None:
    """CVE-2025-31133: what a volume has as /dev/null would show itself in place of /proc/kcore, and be opened by us."""
    place = tmp_path / "dev" / "null"
    place.parent.mkdir()
    if null == "fifo":
        os.mkfifo(place)
    elif null == "link":
        place.symlink_to("/proc/sys/kernel/core_pattern")
    else:
        place.touch()

    with pytest.raises(NetmodelError, match="not the null device"):
        run("victim", mounts=(MountConfig(type="bind", target="/dev", source=str(place.parent)),), **config)


def test_mount_targets_that_change_while_they_are_looked_up(run: Run, attempt: Attempt, tmp_path: Path) -> None:
    """CVE-2021-30465: another container swaps a directory of a shared volume for a link to the host's, all the time."""
    outside, source = tmp_path / "outside", tmp_path / "source"
    (outside / "place").mkdir(parents=True)
    source.mkdir()
    share = MountConfig(type="volume", target="/share", source="share")
    racer = run("racer", mounts=(share,))
    # renameat2(2), RENAME_EXCHANGE: at no moment is there nothing.
    swap = "import ctypes\nwhile True: ctypes.CDLL(None).renameat2(-100, b'/share/door', -100, b'/share/link', 2)"
    made = attempt(racer, f"mkdir -p /share/door/place; ln -s {outside} /share/link; ls -l /share >&2")
    assert made[0] == 0
    attempt(racer, f'python3 -c "{swap}" >/dev/null 2>&1 &')
    wanted = (share, MountConfig(type="bind", target="/share/door/place", source=str(source)))

    landed = 0
    for number in range(12):
        with suppress(NetmodelError):  # the link leads to what is not in the container
            victim = run(f"victim{number}", mounts=wanted)
            landed += f" {source} " in Path(f"/proc/{victim.state.pid}/mountinfo").read_text()

    assert landed > 0
    assert str(outside) not in Path("/proc/self/mountinfo").read_text()
    assert [entry.name for entry in outside.rglob("*")] == ["place"]


def test_link_in_a_volume_means_the_containers_file(engine: Engine, run: Run, attempt: Attempt, tmp_path: Path) -> None:
    """A container leaves a link to /etc/shadow in a volume; the next one that follows it sees its own."""
    secret = tmp_path / "secret"
    secret.write_text("the host's")
    secret.chmod(0o600)
    share = MountConfig(type="volume", target="/share", source="share")
    attempt(run("first", mounts=(share,)), "ln -s /etc/hostname /share/link")

    _, read = attempt(run("second", mounts=(share,)), "cat /share/link")

    assert read.strip() == engine.container("second").id[:12]


@pytest.mark.parametrize("config", [{}, {"userns_mode": "host"}], ids=["own user namespace", "the host's"])
def test_program_of_the_host_cannot_be_overwritten(
    engine: Engine, run: Run, attempt: Attempt, config: dict[str, str]
) -> None:
    """CVE-2019-5736: whoever joins a container runs a program of the host, which is found at /proc/PID/exe.

    The container makes its own shell a script whose interpreter is /proc/self/exe, waits until somebody
    runs it, and opens what that process is for writing once it has ended.
    """
    container = run("victim", **config)
    attempt(container, "printf '#!/proc/self/exe\\nimport time\\ntime.sleep(0.5)\\n' > /trap; chmod +x /trap")
    attempt(container, f"cat > /spy <<'E'\n{_SPY}\nE\npython3 /spy > /found 2>&1 &")
    execute(engine, container.id, "/trap")

    eventually(lambda: len(attempt(container, "cat /found")[1].split()) == 2, what="spy", timeout_s=15)

    seen, answer = attempt(container, "cat /found")[1].split()
    assert seen == "seen"
    assert answer in ("EACCES", "EROFS")


# Looks at every process that comes, as long as there is no /stop: which of them were the spawner's, and what of
# those could be looked into.
_WATCHER = """
import json, os
seen, found = set(), {}
while not os.path.exists("/stop"):
    for name in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{name}/cmdline", "rb") as file:
                if b"spawner" not in file.read():
                    continue
        except OSError:
            continue
        seen.add(name)
        for door in ("root/etc", "cwd/", "fd/", "mem", "environ", "exe", "maps", "ns/mnt"):
            path = f"/proc/{name}/{door}"
            try:
                os.listdir(path) if os.path.isdir(path) else open(path, "rb").read(1)
                with open(f"/proc/{name}/cmdline", "rb") as file:
                    if b"spawner" in file.read():
                        found[door] = found.get(door, 0) + 1
            except OSError:
                pass
print(json.dumps([len(seen), found]))
"""


@pytest.mark.parametrize("rights", [(), ("SYS_PTRACE", "SYS_ADMIN")], ids=["as anybody", "with rights"])
def test_nobody_looks_into_who_joins(engine: Engine, run: Run, attempt: Attempt, rights: tuple[str, ...]) -> None:
    """Until it is its program, it is a copy of the spawner with the host's root directory and memory.

    So of an exec, and of the first process of a container that shares another's processes.
    """
    container = run("victim", cap_add=rights, seccomp="unconfined")
    attempt(container, f"cat > /watch <<'E'\n{_WATCHER}\nE\npython3 /watch > /found 2>&1 & true")

    for number in range(30):
        attempt(container, "true")
        if number % 3 == 0:
            run(f"sharer{number}", pid_mode="container:victim", command=("true",))
    attempt(container, "touch /stop")
    eventually(lambda: attempt(container, "cat /found")[1], what="watcher")

    seen, found = json.loads(attempt(container, "cat /found")[1])
    assert seen > 0
    assert found == {}


def test_spawners_program_is_on_a_read_only_mount(engine: Engine) -> None:
    """What makes it so: not even the host's root can open it for writing through /proc."""
    with pytest.raises(OSError, match="Read-only file system"):
        os.open(f"/proc/{engine.info().spawner_pid}/exe", os.O_WRONLY | os.O_TRUNC)


def test_no_descriptor_is_left_open(engine: Engine, run: Run, attempt: Attempt) -> None:
    """Neither in the first process nor in one that joins: a directory of the host would be a way out."""
    container = run("victim", command=("sleep", "infinity"))

    first = sorted(entry.name for entry in Path(f"/proc/{container.state.pid}/fd").iterdir())
    _, joined = attempt(container, "ls -l /proc/self/fd")

    assert first == ["0", "1", "2"]
    targets = [line.rpartition(" -> ")[2] for line in joined.splitlines() if " -> " in line]
    assert all(target.startswith(("pipe:", "/proc/", "/dev/null")) for target in targets), targets


@pytest.mark.parametrize("number", [3, 7, 8, 9])
def test_working_directory_is_no_descriptor_of_the_hosts(run: Run, number: int) -> None:
    """CVE-2024-21626: one that is left open on the way would be a directory of the host's."""
    with pytest.raises(NetmodelError, match="working directory"):
        run("victim", working_dir=f"/proc/self/fd/{number}")


def test_no_link_to_a_descriptor_is_a_working_directory(engine: Engine, run: Run, attempt: Attempt) -> None:
    """The same by way of a link that the image or the container made, and for programs that join."""
    container = run("victim")
    links = "; ".join(f"ln -s /proc/self/fd/{number} /door{number}" for number in range(3, 12))
    assert attempt(container, f"{links}; ln -s /proc/self/cwd /here")[0] == 0

    for door in (
        *(f"/door{number}" for number in range(3, 12)),
        *(f"/proc/self/fd/{number}" for number in range(3, 12)),
    ):
        with pytest.raises(NetmodelError, match="working directory"):
            execute(engine, container.id, "ls", working_dir=door)
    code, listed = execute(engine, container.id, "sh", "-c", "ls -d door3 ../../../door3", working_dir="/here")
    assert (code, sorted(listed.split())) == (0, ["../../../door3", "door3"])


def test_other_processes_of_the_host_are_not_there(run: Run, attempt: Attempt) -> None:
    _, printed = attempt(run("victim"), "ls /proc | grep -E '^[0-9]+$' | wc -l; cat /proc/1/comm")

    count, first = printed.split()
    assert int(count) < 8
    assert first == "sleep"


def test_engine_is_out_of_reach_from_image_host(engine: Engine, run: Run, attempt: Attempt) -> None:
    """Its root and its socket lie in the machine's file system, of which the image shows the rest."""
    _, listed = attempt(run("victim"), f"ls -A {engine.root} /run/netmodel /var/lib/netmodel 2>&1; ls -A /run")

    assert "state.db" not in listed
    assert "sock" not in listed


def test_secrets_of_the_machine_are_not_in_image_host(run: Run, attempt: Attempt) -> None:
    """Whoever is root in there would else read what only root may: passwords and private keys."""
    paths = "/etc/shadow /etc/gshadow /etc/shadow- /etc/gshadow- /root/.ssh /etc/ssh/ssh_host_*_key /etc/ssl/private"
    _, read = attempt(run("victim"), f"cat {paths} 2>/dev/null; ls -A /root/.ssh /etc/ssl/private 2>/dev/null")

    assert not any(hash_ in read for hash_ in ("$y$", "$6$", "$5$", "PRIVATE KEY")), read


def test_files_of_other_ids_keep_their_owners(engine: Engine, run: Run, tmp_path: Path) -> None:
    """The container's root made it, and on the host it is root's, without any right of root's over the host."""
    shared = tmp_path / "shared"
    shared.mkdir()
    container = run("victim", mounts=(MountConfig(type="bind", target="/shared", source=str(shared)),))

    code, printed = execute(engine, container.id, "sh", "-c", "cp /bin/sh /shared/sh && chmod 4755 /shared/sh")

    assert code == 0, printed
    assert stat.S_IMODE((shared / "sh").stat().st_mode) == 0o4755
    assert Path(f"/proc/{container.state.pid}/status").read_text().count("Uid:\t0") == 0
    assert container.config.command == SLEEP
