"""Shared memory (/dev/shm) that several containers have."""

from __future__ import annotations

import os

from runtime.kernel import clone, mount


class SharedMemory:
    """Attached in a mount namespace in which there is nothing else, to be copied from.

    A mount that is not attached anywhere can be copied from since Linux 6.15 alone; in the host's own
    namespace it would be everybody's to see, and stay there when the spawner is killed.

    Args:
        size_bytes: How much it holds.
        owner: The host's id for the containers' root.
    """

    def __init__(self, size_bytes: int, owner: int) -> None:
        options = (("size", str(size_bytes)), ("mode", "1777"), ("uid", str(owner)), ("gid", str(owner)))
        home = _own_namespace()
        try:
            clone.unshare(clone.CLONE_NEWNS)
            try:
                self._namespace = _own_namespace()
                become_root(mount.new_filesystem("tmpfs", options, mount.NOSUID | mount.NODEV | mount.NOEXEC))
            finally:
                clone.enter(home, clone.CLONE_NEWNS)
        finally:
            os.close(home)

    def copy(self) -> int:
        """A detached mount of it."""
        home = _own_namespace()
        try:
            clone.enter(self._namespace, clone.CLONE_NEWNS)
            try:
                return mount.clone_tree("/")
            finally:
                clone.enter(home, clone.CLONE_NEWNS)
        finally:
            os.close(home)

    def close(self) -> None:
        """Let it go with the last container that has it."""
        os.close(self._namespace)


def _own_namespace() -> int:
    return os.open("/proc/self/ns/mnt", os.O_RDONLY | os.O_CLOEXEC)


def become_root(memory: int) -> None:
    """Make it all that there is in this mount namespace; memory is closed."""
    try:
        mount.make_rprivate("/")
        place = os.open("/", os.O_PATH | os.O_CLOEXEC)
        mount.attach(memory, place)
        os.close(place)
        mount.pivot_root(memory)
    finally:
        os.close(memory)
