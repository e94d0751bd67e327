"""The small first process that passes signals on and reaps what others leave: tini, under Docker's name for it."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace

from netmodel.errors import MissingFeature
from runtime.spec import BindMount, ContainerSpec

# Static ones first: an image may hold another C library, or none.
_PROGRAMS = ("/usr/bin/docker-init", "/usr/bin/tini-static", "/usr/libexec/docker/docker-init", "/usr/bin/tini")
_TARGET = "/sbin/docker-init"


def find(programs: Sequence[str] = _PROGRAMS) -> str:
    """The program on this machine.

    Raises:
        MissingFeature: There is none.
    """
    for program in programs:
        if os.access(program, os.X_OK):
            return os.path.realpath(program)
    raise MissingFeature(
        "there is no init program on this machine (tini, docker-init)", "apt install tini, or leave init out"
    )


def with_init(spec: ContainerSpec) -> ContainerSpec:
    """The container with an init as its first process, and its command as that one's child."""
    # Among other processes it is not the first, and asks to be given orphans.
    options = ("--",) if spec.private_pids else ("-s", "--")
    argv = (_TARGET, *options, *spec.process.argv)
    mounted = BindMount(source=find(), target=_TARGET, read_only=True)
    return replace(spec, process=replace(spec.process, argv=argv), mounts=(*spec.mounts, mounted))
