"""AppArmor profiles of containers, on the kernels that have it: `make test-kernels` runs this where there is one."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from contextlib import nullcontext
from pathlib import Path

import pytest

from netmodel.daemon.containers import see
from netmodel.daemon.wire.container import inspect
from netmodel.engine import Engine
from netmodel.engine.apparmor import label_of, parser, profiles
from netmodel.errors import NetmodelError
from tests.netmodel.engine.conftest import Run, clean_up, execute, output_of, runner
from tests.support.apparmor import loaded
from tests.support.box import Box
from tests.support.wait import eventually

pytestmark = [pytest.mark.kernel, pytest.mark.whole_kernel]
NAME = f"netmodel-engine-test-{os.getpid()}"
FILE = "/etc/debian_version"


def test_a_profile_confines_all_of_its_container_and_nobody_else(engine: Engine, run: Run) -> None:
    with loaded(NAME, denied=FILE):
        confined, free = run("confined", apparmor=NAME), run("free")

        assert label_of(confined.state.pid) == NAME
        code, said = execute(engine, confined.id, "cat", FILE)
        assert code == 1
        assert "Permission denied" in said
        assert inspect(see(engine, confined.id))["AppArmorProfile"] == NAME
        assert output_of(engine, free.id, "cat", FILE) == Path(FILE).read_text()
        assert inspect(see(engine, free.id))["AppArmorProfile"] == default(engine)

        engine.restart(confined.id, timeout_s=0)
        assert label_of(engine.container(confined.id).state.pid) == NAME


def default(engine: Engine) -> str:
    return f"netmodel_{engine.info().id}"


def test_who_names_none_has_the_engines_own(engine: Engine, run: Run) -> None:
    wanted = {
        "usual": ({}, default(engine)),
        "hosts": ({"userns_mode": "host"}, f"{default(engine)}_host"),
        "privileged": ({"privileged": True}, "unconfined"),
        "unconfined": ({"apparmor": "unconfined"}, "unconfined"),
    }
    for name, (config, label) in wanted.items():
        container = run(name, **config)
        assert label_of(container.state.pid) == label
        assert output_of(engine, name, "cat", "/proc/self/attr/apparmor/current").split()[0] == label
        # Those inside may end each other, and the engine may end them.
        output_of(engine, name, "sh", "-c", "sleep 9 & kill -9 $!; wait $!; test $? = 137")
        engine.stop(name, timeout_s=5)
        assert not engine.container(name).state.error
    assert not [said for said in engine.info().warnings if "AppArmor" in said]


def test_it_leaves_the_kernel_with_the_last_container(host: Box, tmp_path: Path) -> None:
    with Engine(tmp_path / "root") as engine:
        container = runner(engine)("web")
        assert default(engine) in profiles()
        name = default(engine)
    assert name in profiles()  # the container runs on

    with Engine(tmp_path / "root") as engine:
        assert label_of(container.state.pid) == name
        clean_up(engine)

    assert name not in profiles()


def test_it_forbids_what_nothing_else_would(engine: Engine, run: Run) -> None:
    """The host's root, with a right too many and nothing masked: what is tried works for who is unconfined."""
    rights = {"cap_add": ("SYS_ADMIN",), "seccomp": "unconfined", "masked_paths": (), "readonly_paths": ()}
    tried = {
        "a parameter of the machine": "cat /proc/sys/vm/swappiness >/tmp/x && cat /tmp/x >/proc/sys/vm/swappiness",
        "a mount": "mkdir -p /tmp/there && mount -t tmpfs none /tmp/there",
    }
    run("default", userns_mode="host", **rights)
    run("unconfined", userns_mode="host", apparmor="unconfined", **rights)
    run("own", **rights)

    for what, command in tried.items():
        assert execute(engine, "unconfined", "sh", "-c", command)[0] == 0, what
        assert execute(engine, "default", "sh", "-c", command)[0] != 0, what
    own = "echo 1 >/proc/sys/net/ipv4/icmp_echo_ignore_all && cat /proc/sys/net/ipv4/icmp_echo_ignore_all"
    assert output_of(engine, "default", "sh", "-c", own) == "1\n"
    # In a user namespace of its own it may mount, as without AppArmor; the kernel sees to it what.
    assert execute(engine, "own", "sh", "-c", tried["a mount"]) == (0, "")


def test_it_is_loaded_anew_when_somebody_took_it_away(engine: Engine, run: Run) -> None:
    run("web")
    engine.stop("web", timeout_s=0)
    Path("/sys/kernel/security/apparmor/.remove").write_text(default(engine))
    assert default(engine) not in profiles()

    engine.start("web")

    assert label_of(engine.container("web").state.pid) == default(engine)


def test_without_the_parser_it_is_said_and_goes_on() -> None:
    """Without the parser, in a mount namespace of its own: containers have Docker's where it is, or none."""
    program = """
from netmodel.doctor.security import _apparmor
from netmodel.engine.apparmor import DefaultProfiles
found = DefaultProfiles("netmodel_none")
print(repr(found.label(True)), found.problem)
print(_apparmor().ok, _apparmor().detail)
"""
    hidden = f"mount --bind /dev/null {parser()} && exec {sys.executable} -"
    for docker_s in (False, True):
        with loaded("docker-default", denied=FILE) if docker_s else nullcontext():
            done = subprocess.run(["unshare", "-m", "sh", "-c", hidden], input=program, capture_output=True, text=True)

        label, doctor = done.stdout.splitlines()
        assert (
            label
            == f"{'docker-default' if docker_s else ''!r} apparmor_parser is not on this machine: install apparmor"
        )
        said = "True apparmor_parser is missing, but docker-default is loaded"
        assert doctor == (said if docker_s else "False apparmor_parser is missing")
        assert done.stderr.count("containers have no AppArmor profile of ours") == 1


def test_one_that_was_unloaded_meanwhile_is_named_and_nothing_runs_without(engine: Engine, run: Run) -> None:
    with loaded(NAME, denied=FILE):
        run("web", apparmor=NAME)
        engine.stop("web", timeout_s=0)

    with pytest.raises(NetmodelError, match=NAME):
        engine.start("web")

    assert not engine.container("web").state.running


def test_it_ends_with_the_spawner_all_the_same(engine: Engine, run: Run) -> None:
    """The kernel forgets the signal of a parent's death when it changes the label, so the engine must see to it.

    Source: Linux security/apparmor/lsm.c, apparmor_bprm_committing_creds().
    """
    with loaded(NAME, denied=FILE):
        container = run("web", apparmor=NAME)

        os.kill(engine.spawner_pid, signal.SIGKILL)

        eventually(lambda: engine.container("web").state.status == "exited", timeout_s=60)
        eventually(lambda: _ended(container.state.pid), timeout_s=60, what="its process")


def _ended(pid: int) -> bool:
    try:
        return "\nState:\tZ" in Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return True
