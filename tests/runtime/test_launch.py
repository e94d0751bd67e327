"""What a container is when its program runs: its namespaces, its root, its kernel file systems."""

from __future__ import annotations

import os
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from runtime.kernel.prctl import CAPABILITIES
from runtime.spec import BindMount, IdMap
from tests.runtime.lab import Lab, process, shell
from tests.runtime.shared import host, lab
from tests.support.wait import eventually

__all__ = ["host", "lab"]

pytestmark = [pytest.mark.kernel, pytest.mark.whole_kernel]

_TIME = ("time",) if Path("/proc/self/ns/time").exists() else ()
KINDS = ("cgroup", "ipc", "mnt", "net", "pid", "user", "uts", *_TIME)


def test_every_namespace_is_its_own(lab: Lab) -> None:
    inside = lab.run("readlink " + " ".join(f"/proc/self/ns/{kind}" for kind in KINDS)).split()

    host = [os.readlink(f"/proc/{lab.spawner.pid}/ns/{kind}") for kind in KINDS]
    assert len(inside) == len(KINDS)
    assert not set(inside) & set(host)


def test_a_further_process_is_in_them(lab: Lab) -> None:
    spec = lab.sleeper()

    printed = lab.exec(spec, "readlink " + " ".join(f"/proc/self/ns/{kind}" for kind in KINDS))[1]

    assert printed.split() == [os.readlink(f"/proc/{lab.status(spec).pid}/ns/{kind}") for kind in KINDS]


def test_ids_are_mapped_to_a_private_range(lab: Lab) -> None:
    spec = lab.start(shell("cat /proc/self/uid_map /proc/self/gid_map; id -u; exec sleep infinity"))
    pid = lab.status(spec).pid

    assert spec.idmap is not None
    line = f"0 {spec.idmap.base} 65536"
    eventually(lambda: len(lab.entries(spec)) == 3)
    printed = lab.output(spec).splitlines()
    assert [" ".join(line.split()) for line in printed] == [line, line, "0"]
    assert os.stat(f"/proc/{pid}").st_uid == spec.idmap.base


def test_the_first_process_is_pid_1_and_sees_no_other(lab: Lab) -> None:
    assert lab.run("echo $$; echo /proc/[0-9]*") == "1\n/proc/1\n"


def test_without_an_id_map_it_is_in_the_host_s_user_namespace(lab: Lab) -> None:
    inside = lab.run("readlink /proc/self/ns/user; readlink /proc/self/ns/net", idmap=None).split()

    assert inside[0] == os.readlink("/proc/self/ns/user")
    assert inside[1] != os.readlink(f"/proc/{lab.spawner.pid}/ns/net")


def test_host_names(lab: Lab) -> None:
    text = lab.run("hostname; cat /proc/sys/kernel/domainname", hostname="r1", domainname="lab.example")

    assert text == "r1\nlab.example\n"


def test_the_root_is_an_overlay_and_the_host_s_files_belong_to_root(lab: Lab) -> None:
    spec = lab.start(shell("stat -f -c %T /; stat -c '%u:%g' /bin/sh /etc; echo mine > /made; stat -c %u /made"))

    assert lab.ended(spec).exit_code == 0
    assert lab.output(spec) == "overlayfs\n0:0\n0:0\n0\n"
    made = Path(spec.rootfs.upper, "made")
    assert made.read_text() == "mine\n"
    # On disk the ids are the container's own, whatever range it runs with this time.
    assert made.stat().st_uid == 0
    assert not Path("/made").exists()


def test_the_writable_layer_survives_with_another_id_range(lab: Lab) -> None:
    spec = lab.start(shell("echo kept > /kept; chown 33:44 /kept"))
    lab.ended(spec)

    again = lab.start(shell("cat /kept; stat -c '%u:%g' /kept"), rootfs=spec.rootfs)

    lab.ended(again)
    assert lab.output(again) == "kept\n33:44\n"


def test_whiteouts_and_replaced_directories_work(lab: Lab) -> None:
    """Needs overlay's own attributes, which only a privileged mount can keep."""
    text = lab.run("rm -r /etc/apt; mkdir /etc/apt; ls /etc/apt | wc -l; rm /bin/false; test ! -e /bin/false")

    assert text == "0\n"


def test_layers_are_stacked_the_topmost_first(lab: Lab, tmp_path: Path) -> None:
    for name in ("top", "bottom"):
        (tmp_path / name / "opt").mkdir(parents=True)
        (tmp_path / name / "opt" / "who").write_text(name)
    (tmp_path / "bottom" / "opt" / "only").write_text("bottom\n")
    for link in ("bin", "lib", "lib64"):
        (tmp_path / "bottom" / link).symlink_to(f"usr/{link}")
    spec = lab.spec(shell("cat /opt/who /opt/only"), mounts=(BindMount(source="/usr", target="/usr"),))
    layers = (str(tmp_path / "top"), str(tmp_path / "bottom"))

    spec = replace(spec, rootfs=replace(spec.rootfs, layers=layers))
    lab.spawner.create(spec)
    lab.spawner.start(spec.id)

    lab.ended(spec)
    assert lab.output(spec) == "topbottom\n"


def test_a_read_only_root(lab: Lab) -> None:
    spec = lab.spec(shell("touch /x 2>&1 || true; touch /dev/shm/x && echo shm"))
    spec = replace(spec, rootfs=replace(spec.rootfs, read_only=True))
    lab.spawner.create(spec)
    lab.spawner.start(spec.id)

    lab.ended(spec)
    assert lab.output(spec).splitlines() == ["touch: cannot touch '/x': Read-only file system", "shm"]


def test_the_host_s_mounts_are_out_of_sight(lab: Lab) -> None:
    table = lab.run("cat /proc/self/mountinfo")

    points = [line.split()[4] for line in table.splitlines()]
    for point in ("/", "/proc", "/sys", "/dev", "/dev/pts", "/dev/shm", "/dev/mqueue"):
        assert points.count(point) == 1
    kinds = {line.split()[4]: line.partition(" - ")[2].split()[0] for line in table.splitlines()}
    assert kinds["/"] == "overlay"
    assert kinds["/dev/pts"] == "devpts"
    assert kinds["/dev/mqueue"] == "mqueue"
    assert "ext4" not in kinds.values()


def test_devices(lab: Lab) -> None:
    text = lab.run(
        "cd /dev; for f in null zero full random urandom tty; do test -c $f && stat -c '%a %u' $f; done | sort -u;"
        "head -c 3 zero | od -An -tx1; echo gone > null; readlink ptmx fd stdin stdout stderr;"
        "stat -c '%a' shm mqueue; echo again > /dev/stdout"
    )

    assert text.splitlines() == [
        "666 0", " 00 00 00", "pts/ptmx", "/proc/self/fd", "/proc/self/fd/0", "/proc/self/fd/1", "/proc/self/fd/2",
        "1777", "1777", "again",
    ]  # fmt: skip


def test_a_device_of_the_host(lab: Lab) -> None:
    text = lab.run("stat -c '%F %t:%T' /dev/copy", devices=("/dev/zero:/dev/copy",))

    assert text == "character special file 1:5\n"


def test_shared_memory_has_its_size(lab: Lab) -> None:
    assert lab.run("df -B1 --output=size /dev/shm | tail -1", shm_bytes=1 << 20).strip() == str(1 << 20)


def test_sys_shows_the_container_s_own_network(lab: Lab) -> None:
    assert lab.run("ls /sys/class/net; touch /sys/x 2>&1 || true").splitlines()[0] == "lo"


def test_a_container_on_the_host_s_network(lab: Lab) -> None:
    """It may not mount a /sys of a network that is not its own, so it sees the host's, read-only."""
    spec = lab.start(shell("readlink /proc/self/ns/net; ls /sys/class/net > /dev/null"), sandbox="host")

    assert lab.ended(spec).exit_code == 0, lab.output(spec)
    assert lab.output(spec).strip() == os.readlink(f"/proc/{lab.spawner.pid}/ns/net")
    assert lab.spawner.sandboxes() == {}


def test_paths_are_masked_and_read_only(lab: Lab) -> None:
    text = lab.run(
        "head -c 1 /proc/keys | wc -c; ls /sys/firmware | wc -l;"
        "echo 1 > /proc/sys/net/ipv4/ip_forward && echo writable || echo kept"
    )

    assert text.splitlines()[:2] == ["0", "0"]
    assert "kept" in text.splitlines()


def test_privileged_masks_nothing(lab: Lab) -> None:
    first = shell(
        "echo 1 > /proc/sys/net/ipv4/ip_forward; cat /proc/sys/net/ipv4/ip_forward", capabilities=CAPABILITIES
    )
    spec = lab.start(first, privileged=True)

    lab.ended(spec)
    assert lab.output(spec) == "1\n"


def test_sysctls_are_written_inside_only(lab: Lab) -> None:
    before = Path("/proc/sys/net/ipv4/ip_forward").read_text()
    text = lab.run(
        "cat /proc/sys/net/ipv4/ip_forward /proc/sys/kernel/shmmax",
        sysctls=(("net.ipv4.ip_forward", "1"), ("kernel.shmmax", "123456")),
    )

    assert text == "1\n123456\n"
    assert Path("/proc/sys/net/ipv4/ip_forward").read_text() == before


def test_a_sysctl_of_a_link_waits_for_the_link(lab: Lab) -> None:
    name = "net.ipv4.conf.late0.rp_filter"
    spec = lab.spec(shell("cat /proc/sys/net/ipv4/conf/late0/rp_filter"), sysctls=((name, "2"),))
    created = lab.spawner.create(spec)
    make_link(created.netns)

    lab.spawner.start(spec.id)

    lab.ended(spec)
    assert lab.output(spec) == "2\n"


def test_a_sandbox_is_there_before_the_program_and_after_it(lab: Lab) -> None:
    spec = lab.spec(shell("cat /proc/net/dev"))
    created = lab.spawner.create(spec)
    assert created.new_sandbox
    assert created.netns.exists()
    make_link(created.netns)

    lab.spawner.start(spec.id)

    lab.ended(spec)
    assert "late0" in lab.output(spec)
    assert lab.spawner.sandbox(spec.sandbox) == created.netns


def test_a_restart_finds_its_sandbox_as_it_was(lab: Lab) -> None:
    spec = lab.spec(shell("readlink /proc/self/ns/net /proc/self/ns/user; cat /proc/net/dev; ls /sys/class/net"))
    created = lab.spawner.create(spec)
    make_link(created.netns)
    lab.spawner.start(spec.id)
    lab.ended(spec)
    first = lab.output(spec)

    again = lab.spawner.create(spec)
    lab.spawner.start(spec.id)

    lab.ended(spec)
    assert not again.new_sandbox
    assert (again.netns, again.userns) == (created.netns, created.userns)
    assert lab.output(spec) == first * 2
    assert "late0" in first


def test_two_containers_share_a_sandbox_and_nothing_else(lab: Lab) -> None:
    owner = lab.sleeper()
    script = "readlink " + " ".join(f"/proc/self/ns/{kind}" for kind in KINDS)
    _, of_owner, _ = lab.exec(owner, script)

    of_sharer = lab.run(script, sandbox=owner.sandbox, idmap=owner.idmap)

    shared = set(of_owner.split()) & set(of_sharer.split())
    assert sorted(link.partition(":")[0] for link in shared) == ["net", "user"]


def test_the_engine_s_mistake_of_mixing_user_namespaces_is_refused(lab: Lab) -> None:
    owner = lab.sleeper()

    fault = lab.fails(process("true"), sandbox=owner.sandbox, idmap=IdMap(base=70_000))

    assert fault.kind == "conflict"


def make_link(netns: Path) -> None:
    """Put a link late0 into a namespace."""
    subprocess.run(
        ["nsenter", f"--net={netns}", "ip", "link", "add", "late0", "type", "bridge"], check=True, timeout=20
    )
