"""The story of a further process of a container (exec), and of a first one in a sandbox that stands already."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NoReturn

from runtime.kernel import clone, keyring, prctl
from runtime.kernel.path import close_all_but
from runtime.launch import program
from runtime.launch.container import as_start_failure, become_root
from runtime.launch.control import Control
from runtime.launch.groups import join_cgroups
from runtime.spec import Process


@dataclass(frozen=True, slots=True)
class Visit:
    """What a further process finds in its memory.

    Args:
        pidfd: The container's first process.
        namespaces: Those of its to enter, as clone flags. It was born in that for processes.
        stdio: None for a terminal.
        filter_: Decides about its system calls.
    """

    process: Process
    control: int
    pidfd: int
    namespaces: int
    cgroups: tuple[str, ...]
    stdio: tuple[int, int, int] | None
    filter_: bytes = b""


def run(visit: Visit) -> NoReturn:
    """Enter the container and become the program."""
    control = Control(visit.control)
    try:
        # The container sees this copy of the spawner already, but must not look into it, not even its root.
        prctl.set_dumpable(False)
        prctl.die_with_parent(signal.SIGKILL)
        join_cgroups(visit.cgroups)
        program.set_score(visit.process)
        program.set_label(visit.process)
        clone.enter(visit.pidfd, visit.namespaces & ~clone.CLONE_NEWPID)
        close_all_but(frozenset((control.fileno(), *(visit.stdio or ()))))
        if visit.namespaces & clone.CLONE_NEWUSER:
            become_root()
        keyring.join_new_session()
        ready = program.prepare(visit.process, control, visit.stdio, make_place=False)
        program.execute(ready, control, visit.filter_)
    except Exception as error:
        control.fail(as_start_failure(error))
    finally:
        os._exit(1)


def fork_inside(
    connection: int,
    cgroups: Sequence[str],
    enter: Callable[[], None],
    flags: int,
    become: Callable[[], None],
) -> NoReturn:
    """In a process made for it: join control groups, enter namespaces, fork for the spawner, tell it the pid, end.

    A new PID namespace belongs to the user namespace that its maker is in, so the spawner cannot make it.
    """
    control = Control(connection)
    try:
        # From here on the sandbox's other users must not look into this copy of the spawner.
        prctl.set_dumpable(False)
        join_cgroups(cgroups)
        enter()
        pid = clone.clone(flags | clone.CLONE_PARENT)
        if pid == 0:
            prctl.die_with_parent(signal.SIGKILL)
            become()
        control.tell({"pid": pid})
    except Exception as error:
        control.fail(as_start_failure(error))
    finally:
        os._exit(0)
