"""AppArmor profiles of containers, on the kernels that have it: `make test-kernels` runs this where there is one."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from netmodel.daemon.containers import see
from netmodel.daemon.wire.container import inspect
from netmodel.engine import Engine
from netmodel.engine.confinement import apparmor_label
from netmodel.errors import NetmodelError
from tests.netmodel.engine.conftest import Run, execute, output_of
from tests.support.apparmor import loaded
from tests.support.wait import eventually

pytestmark = [pytest.mark.kernel, pytest.mark.whole_kernel]
NAME = f"netmodel-engine-test-{os.getpid()}"
FILE = "/etc/debian_version"


def test_a_profile_confines_all_of_its_container_and_nobody_else(engine: Engine, run: Run) -> None:
    with loaded(NAME, denied=FILE):
        confined, free = run("confined", apparmor=NAME), run("free")

        assert apparmor_label(confined.state.pid) == NAME
        code, said = execute(engine, confined.id, "cat", FILE)
        assert code == 1
        assert "Permission denied" in said
        assert inspect(see(engine, confined.id))["AppArmorProfile"] == NAME
        assert output_of(engine, free.id, "cat", FILE) == Path(FILE).read_text()
        assert inspect(see(engine, free.id))["AppArmorProfile"] == "unconfined"

        engine.restart(confined.id, timeout_s=0)
        assert apparmor_label(engine.container(confined.id).state.pid) == NAME


def test_dockers_profile_confines_whom_it_should_where_it_is_loaded(engine: Engine, run: Run) -> None:
    with loaded("docker-default", denied=FILE):
        usual, privileged, unconfined = (
            run("usual"), run("privileged", privileged=True), run("unconfined", apparmor="unconfined")
        )  # fmt: skip

        assert apparmor_label(usual.state.pid) == "docker-default"
        assert execute(engine, usual.id, "cat", FILE)[0] == 1
        for container in (privileged, unconfined):
            assert apparmor_label(container.state.pid) == "unconfined"


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
