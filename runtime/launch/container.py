"""The story of a container's first process, from its clone to its program."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NoReturn

from runtime.errors import InvalidSpec, KernelRefused, StartFailed
from runtime.kernel import clone, keyring, mount, prctl
from runtime.kernel.path import close_all_but, open_in
from runtime.launch import filesystems, hooks, program
from runtime.launch.control import GO, MAPPED, MOUNTS, Control
from runtime.launch.filesystems import CgroupView
from runtime.launch.groups import join_cgroups
from runtime.launch.order import ordered_mounts
from runtime.launch.sysctl import write_sysctls
from runtime.spec import ContainerSpec, LayersMount, TmpfsMount


@dataclass(frozen=True, slots=True)
class Birth:
    """What the child finds in its memory.

    Args:
        own_network: The network namespace belongs to the container's user namespace.
        own_users: It has a user namespace.
        stdio: Descriptors for stdin, stdout and stderr, stdin -1 for /dev/null; None for a terminal.
        filter_: Decides about the program's system calls.
    """

    spec: ContainerSpec
    control: int
    own_network: bool
    own_users: bool
    stdio: tuple[int, int, int] | None
    cgroups: tuple[CgroupView, ...]
    filter_: bytes = b""


def run(birth: Birth, cgroups: Sequence[str] = ()) -> NoReturn:
    """Build the container around this process and become its program.

    Args:
        cgroups: To be joined; in a sandbox that stands, the process in between has done that.
    """
    control = Control(birth.control)
    try:
        prctl.die_with_parent(signal.SIGKILL)
        _run(birth, control, cgroups)
    except Exception as error:
        control.fail(as_start_failure(error))
    finally:
        os._exit(1)


def as_start_failure(error: Exception) -> StartFailed:
    """What went wrong before the program, as whoever starts the container is to be told."""
    if isinstance(error, StartFailed):
        return error
    kind, hint = getattr(error, "kind", "internal"), getattr(error, "hint", "")
    message = str(error) if hasattr(error, "kind") else f"{type(error).__name__}: {error}"
    return StartFailed(128, message, hint, kind=kind)


def _run(birth: Birth, control: Control, cgroups: Sequence[str]) -> NoReturn:
    spec = birth.spec
    close_all_but(frozenset((control.fileno(), *(birth.stdio or ()))))
    control.expect(MAPPED)
    if not spec.hooks:  # they are not confined by it
        program.set_label(spec.process)  # only now, or the spawner would find us gone before it hears why
    join_cgroups(cgroups)  # while we are the host's root to the kernel still
    if birth.own_users:
        become_root()
    keyring.join_new_session()
    if spec.private_cgroup:
        # Only now: its root is the group we are in when it is made.
        clone.unshare(clone.CLONE_NEWCGROUP)
    if spec.private_uts:
        _set_names(spec)
    mount.make_rprivate("/")
    made = filesystems.make(spec, birth.own_network)

    fds = control.expect(MOUNTS)
    root = _build_root(birth, made, fds)
    _build_mounts(spec, root, fds)
    _discard(fds)
    sysctls = open_in(root, "/proc/sys")
    late = write_sysctls(sysctls, spec.sysctls)
    if spec.private_cgroup and birth.cgroups:
        filesystems.show_cgroups(root, birth.cgroups)
    if not spec.privileged:
        filesystems.mask(root, spec.masked_paths)
        filesystems.make_read_only(root, spec.readonly_paths)
    if spec.hooks:
        hooks.run(spec)
        program.set_label(spec.process)
    mount.pivot_root(root)
    if spec.rootfs.read_only:
        mount.change(root, set_=mount.RDONLY)

    if late:
        _wait_for_links(control, sysctls, late)
    os.close(sysctls)
    os.close(root)
    stdio = birth.stdio
    if stdio is not None and stdio[0] < 0:
        stdio = (filesystems.open_null(), *stdio[1:])
    ready = program.prepare(spec.process, control, stdio)
    if not late:
        control.expect(GO)
    program.execute(ready, control, birth.filter_)


def _wait_for_links(control: Control, sysctls: int, late: list[tuple[str, str]]) -> None:
    """Write the parameters of a link's own once the links are there."""
    control.expect(GO)
    for name, _value in write_sysctls(sysctls, late):
        raise InvalidSpec(
            f"sysctl {name} does not exist in this container", "check its spelling, and that its link is there"
        )


def become_root() -> None:
    """Be root of the user namespace just entered, instead of somebody unknown to it."""
    os.setgroups(())
    os.setresgid(0, 0, 0)
    os.setresuid(0, 0, 0)
    # The change of ids has made the kernel forget it.
    prctl.die_with_parent(signal.SIGKILL)


def _set_names(spec: ContainerSpec) -> None:
    try:
        socket.sethostname(spec.hostname)
        if spec.domainname:
            prctl.set_domain_name(spec.domainname)
    except OSError as error:
        raise KernelRefused(f"set the host name to {spec.hostname}", error) from None


def _discard(spent: list[int]) -> None:
    """Put mounts that have served where the old root is, to go with it."""
    # Not over "/": there they would lie on top of the new root. Nor over /proc, which is needed until then.
    place = os.open("/sys", os.O_PATH | os.O_CLOEXEC)
    for fd in spent:
        mount.attach(fd, place)
        os.close(fd)
    os.close(place)


def _build_root(birth: Birth, made: list[tuple[str, int]], fds: list[int]) -> int:
    """Attach the root, /dev and the kernel's file systems. Takes them from the front of fds."""
    root = fds.pop(0)
    place = hooks.make_bundle(birth.spec) if birth.spec.hooks else os.open("/", os.O_PATH | os.O_CLOEXEC)
    mount.attach(root, place)
    os.close(place)
    filesystems.attach_at(root, "/dev", fds.pop(0))
    if not birth.own_network:
        filesystems.attach_at(root, "/sys", fds.pop(0))
    shared = fds.pop(0) if birth.spec.ipc == "shareable" else None
    for path, fd in made:
        filesystems.attach_at(root, path, fd)
    if shared is not None:
        filesystems.attach_at(root, "/dev/shm", shared)
    return root


def _build_mounts(spec: ContainerSpec, root: int, fds: list[int]) -> None:
    """Attach binds and tmpfs from the root downwards, so that none hides another."""
    for wanted in ordered_mounts(spec):
        fd = filesystems.new_tmpfs(wanted) if isinstance(wanted, TmpfsMount) else fds.pop(0)
        if isinstance(wanted, LayersMount) and wanted.subpath:
            fd = filesystems.part_of(fd, wanted.subpath)
        filesystems.attach_wanted(root, wanted.target, fd)
