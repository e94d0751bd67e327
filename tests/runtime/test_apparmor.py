"""AppArmor labels, on the kernels that have it: `make test-kernels` runs this where there is one."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.runtime.lab import Lab, shell
from tests.support.apparmor import loaded
from tests.support.wait import eventually

pytestmark = [pytest.mark.kernel, pytest.mark.whole_kernel]
NAME = f"netmodel-test-{os.getpid()}"
FILE = "/etc/debian_version"
LOOK = f"cat /proc/self/attr/apparmor/current; cat {FILE} 2>/dev/null || echo denied"


@pytest.fixture
def profile() -> Iterator[str]:
    with loaded(NAME, denied=FILE):
        yield NAME


def test_every_process_is_confined_by_the_profile(lab: Lab, profile: str) -> None:
    """The first one and one that joins, root though both are."""
    confined = f"{profile} (enforce)\ndenied\n"

    spec = lab.start(shell(f"{LOOK}; exec sleep infinity", apparmor=profile))

    eventually(lambda: lab.output(spec) == confined, what="the first process")
    assert lab.exec(spec, LOOK, apparmor=profile) == (0, confined, "")
    # It would not end with the spawner: the kernel forgets that when it changes the label.
    # Source: Linux security/apparmor/lsm.c, apparmor_bprm_committing_creds().
    lab.spawner.signal(spec.id, 9)
    lab.ended(spec)


def test_without_one_processes_are_unconfined(lab: Lab, profile: str) -> None:
    free = f"unconfined\n{Path(FILE).read_text()}"

    for label in ("", "unconfined"):
        spec = lab.start(shell(LOOK, apparmor=label))
        lab.ended(spec)
        assert lab.output(spec) == free


def test_it_holds_where_no_privileges_are_gained(lab: Lab, profile: str) -> None:
    first = shell(LOOK, apparmor=profile, no_new_privileges=True)

    spec = lab.start(first)

    lab.ended(spec)
    assert lab.output(spec) == f"{profile} (enforce)\ndenied\n"


def test_one_that_is_not_loaded_is_named(lab: Lab) -> None:
    fault = lab.fails(shell("true", apparmor="netmodel-no-such"))

    assert "netmodel-no-such" in str(fault)
    assert "aa-status" in fault.hint
