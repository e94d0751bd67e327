"""Out of a container by way of the kernel: every known door is shut, and says so."""

from __future__ import annotations

import os
import struct
import time
from pathlib import Path

import pytest

from netmodel.engine import Engine
from netmodel.model import Container
from tests.netmodel.attacks.conftest import Attempt, SystemCalls
from tests.netmodel.engine.conftest import Run
from tests.support.wait import eventually

pytestmark = pytest.mark.kernel

# What a default container may not call at all. Numbers are x86-64's.
FORBIDDEN = (
    ("mount", 165, "none", "/mnt", "tmpfs", 0, 0),
    ("umount2", 166, "/proc/sys", 2),
    ("move_mount", 429, -1, "", -1, "", 0),
    ("open_tree", 428, -100, "/", 1),
    ("fsopen", 430, "tmpfs", 0),
    ("mount_setattr", 442, -1, "", 0, 0, 0),
    ("pivot_root", 155, "/", "/"),
    ("unshare a user namespace", 272, 0x10000000),
    ("unshare mounts", 272, 0x00020000),
    ("setns", 308, -1, 0),
    ("clone into a user namespace", 56, 0x10000011, 0, 0, 0, 0),
    ("kcmp", 312, 1, 1, 0, 0, 0),
    ("pidfd_getfd", 438, -1, 0, 0),
    ("kexec_load", 246, 0, 0, 0, 0),
    ("kexec_file_load", 320, -1, -1, 0, "", 0),
    ("init_module", 175, "", 0, ""),
    ("finit_module", 313, -1, "", 0),
    ("delete_module", 176, "overlay", 0),
    ("bpf", 321, 0, 0, 0),
    ("perf_event_open", 298, 0, 0, -1, -1, 0),
    ("userfaultfd", 323, 0),
    ("io_uring_setup", 425, 1, 0),
    ("keyctl", 250, 0, -3, 0),
    ("add_key", 248, "user", "x", "y", 1, -3),
    ("request_key", 249, "user", "x", 0, 0),
    ("open_by_handle_at", 304, -1, 0, 0),
    ("settimeofday", 164, 0, 0),
    ("clock_settime", 227, 0, 0),
    ("reboot", 169, 0xFEE1DEAD, 672274793, 0x89ABCDEF, 0),
    ("swapon", 167, "/dev/vda", 0),
    ("acct", 163, "/tmp/acct"),
    ("quotactl", 179, 0, 0, 0, 0),
    ("syslog", 103, 3, 0, 0),
    ("iopl", 172, 3),
    ("ioperm", 173, 0, 1, 1),
    ("sethostname", 170, "x", 1),
    ("nfsservctl", 180, 0, 0, 0),
    ("personality without randomization", 135, 0x0040000),
    ("vsock to the hypervisor", 41, 40, 1, 0),
    ("crypto of the kernel", 41, 38, 5, 0),
    ("vhangup", 153),
    ("lookup_dcookie", 212, 0, 0, 0),
)


@pytest.mark.skipif(os.uname().machine != "x86_64", reason="system calls are numbered as on x86-64")
def test_forbidden_system_calls_are_refused(run: Run, system_calls: SystemCalls) -> None:
    answers = system_calls(run("victim"), FORBIDDEN)
    unlike = {name: answer for name, answer in answers.items() if answer not in ("EPERM", "ENOSYS")}

    assert unlike == {}


@pytest.mark.skipif(os.uname().machine != "x86_64", reason="system calls are numbered as on x86-64")
def test_added_rights_end_at_the_user_namespace(run: Run, system_calls: SystemCalls) -> None:
    """Even with every capability and without a filter: they are worth nothing outside the container's own."""
    container = run("strong", cap_add=("ALL",), seccomp="unconfined")
    answers = system_calls(
        container,
        (
            ("kexec_load", 246, 0, 0, 0, 0),
            ("init_module", 175, "", 0, ""),
            ("clock_settime", 227, 0, struct.pack("qq", int(time.time()), 0).decode("latin-1")),
            ("swapon", 167, "/dev/vda", 0),
            ("acct", 163, "/tmp/acct"),
            ("iopl", 172, 3),
            ("open_by_handle_at", 304, 3, 0, 0),
            ("mknod a disk", 133, "/tmp/disk", 0o60600, os.makedev(254, 0)),
            ("mount a disk", 165, "/dev/vda", "/mnt", "ext4", 0, 0),
            ("mount the host's tracing", 165, "none", "/mnt", "tracefs", 0, 0),
            ("mount debugging", 165, "none", "/mnt", "debugfs", 0, 0),
        ),
    )

    assert "done" not in answers.values(), answers


def test_restarting_the_machine_ends_the_container_alone(run: Run, attempt: Attempt) -> None:
    """Whoever asks for it in a PID namespace of its own has its first process killed: reboot(2)."""
    container = run("strong", cap_add=("SYS_BOOT",), seccomp="unconfined")

    attempt(container, "python3 -c 'import ctypes; ctypes.CDLL(None).reboot(0x01234567)'")
    neighbour = run("neighbour")

    assert attempt(neighbour, "echo fine") == (0, "fine\n")


def test_devices_are_those_of_every_container(run: Run, attempt: Attempt) -> None:
    _, printed = attempt(run("victim"), "find /dev -type c -o -type b | sort | tr '\\n' ' '")

    usual = {"/dev/full", "/dev/null", "/dev/random", "/dev/tty", "/dev/urandom", "/dev/zero", "/dev/pts/ptmx"}
    assert set(printed.split()) == usual


WRITES = (
    "/proc/sys/kernel/core_pattern",
    "/proc/sys/kernel/modprobe",
    "/proc/sys/kernel/hotplug",
    "/proc/sys/vm/panic_on_oom",
    "/proc/sys/fs/binfmt_misc/register",
    "/proc/sysrq-trigger",
    "/proc/irq/0/smp_affinity",
    "/proc/bus/input/devices",
    "/sys/kernel/uevent_helper",
    "/sys/kernel/mm/transparent_hugepage/enabled",
    "/sys/power/state",
    "/sys/class/net/lo/mtu",
    "/sys/fs/cgroup/memory/release_agent",
    "/sys/fs/cgroup/memory/memory.limit_in_bytes",
    "/sys/fs/cgroup/memory/cgroup.procs",
    "/sys/fs/cgroup/pids/pids.max",
    "/sys/fs/cgroup/devices/devices.allow",
    "/sys/fs/cgroup/cgroup.procs",
    "/sys/fs/cgroup/memory.max",
)


@pytest.mark.parametrize("config", [{}, {"userns_mode": "host"}], ids=["own user namespace", "the host's"])
def test_nothing_of_the_kernel_can_be_written(run: Run, attempt: Attempt, config: dict[str, str]) -> None:
    """Neither by the container's own root, nor by one that is the host's."""
    script = "; ".join(f"(printf 0 > {path}) 2>/dev/null && echo {path}" for path in WRITES)
    before = Path("/proc/sys/kernel/core_pattern").read_text()

    _, written = attempt(run("victim", **config), f"{script}; true")

    assert written == ""
    assert Path("/proc/sys/kernel/core_pattern").read_text() == before


def test_what_would_tell_of_the_machine_is_hidden(run: Run, attempt: Attempt) -> None:
    """Masked files read as empty, masked directories have nothing in them."""
    paths = "/proc/kcore /proc/keys /proc/timer_list /proc/interrupts /proc/sched_debug /proc/latency_stats"
    _, read = attempt(
        run("victim"), f"cat {paths} 2>/dev/null; ls -A /proc/acpi /proc/scsi /sys/firmware 2>/dev/null | grep -v :"
    )

    assert read.strip() == ""


def test_release_agent_is_out_of_reach_with_all_rights(run: Run, attempt: Attempt) -> None:
    """The classic: mount a cgroup v1 hierarchy, and let the host run a program when a group empties."""
    container = run("strong", cap_add=("SYS_ADMIN",), seccomp="unconfined")
    script = """
        mkdir /tmp/c
        mount -t cgroup -o memory none /tmp/c 2>/dev/null || mount -t cgroup2 none /tmp/c 2>/dev/null || exit 0
        ls /tmp/c | grep -x release_agent && echo '#!/bin/sh' > /tmp/c/release_agent && echo escaped
        true
    """

    _, printed = attempt(container, script)

    assert "escaped" not in printed


@pytest.mark.parametrize("config", [{}, {"userns_mode": "host"}], ids=["own user namespace", "the host's"])
def test_a_disk_cannot_be_opened_by_a_node_of_ones_own(run: Run, attempt: Attempt, config: dict[str, str]) -> None:
    """Making the node fails, or opening it does."""
    code, printed = attempt(
        run("victim", **config),
        "mknod /disk b 254 0 && head -c 1 /disk; mknod /mem c 1 1 && head -c 1 /mem",
    )

    assert code != 0
    assert printed.lower().count("operation not permitted") == 2, printed


def test_a_new_session_keyring_holds_nothing_of_the_engines(run: Run, attempt: Attempt) -> None:
    container = run("victim", seccomp="unconfined", masked_paths=())

    first = _session_keyring(attempt, container)
    second = _session_keyring(attempt, container)

    assert first != second  # each process that is joined gets one of its own
    assert Path("/proc/keys").exists()


def _session_keyring(attempt: Attempt, container: Container) -> str:
    """KEYCTL_GET_KEYRING_ID of KEY_SPEC_SESSION_KEYRING."""
    code, printed = attempt(container, "python3 -c 'import ctypes; print(ctypes.CDLL(None).syscall(250, 0, -3, 0))'")
    assert code == 0, printed
    assert int(printed) > 0
    return printed


def test_terminal_is_the_containers_own(engine: Engine, run: Run) -> None:
    """What is pushed into a terminal's input (TIOCSTI) arrives in the container: nobody's shell reads there."""
    container = run(
        "victim",
        tty=True,
        command=("sh", "-c", "tty; ps -o sid= -p $$; sleep infinity"),
    )

    def printed() -> list[str]:
        return "".join(entry.log for entry in engine.logs(container.id)).split()

    assert eventually(lambda: len(printed()) == 2 and printed(), what="output") == ["/dev/pts/0", "1"]
