"""Network namespaces: doing one thing inside one, and making new ones."""

from __future__ import annotations

import _thread
import ctypes
import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from drivers.kernel.errors import KernelError

CLONE_NEWNET = 0x40000000

T = TypeVar("T")
_libc = ctypes.CDLL(None, use_errno=True)


def open_in(netns: Path | None, factory: Callable[[], T]) -> T:
    """Call factory inside a namespace; what it opens stays tied to that one.

    The namespace is entered by a thread made for this and then gone: a thread that came back could
    fail to, and would then do the engine's work in a container's network.

    Args:
        netns: None is the calling thread's own; then no thread is made.

    Raises:
        KernelError: The namespace is gone or may not be entered.
    """
    if netns is None:
        return factory()

    def enter_and_call() -> T:
        enter(netns)
        return factory()

    return _in_thread(enter_and_call)


def enter(netns: Path | int) -> None:
    """Move the calling thread into a namespace, given its path or a descriptor of it."""
    try:
        descriptor = netns if isinstance(netns, int) else os.open(netns, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise KernelError(error.errno or errno.ENOENT, f"open the network namespace {netns}") from error
    try:
        if _libc.setns(descriptor, CLONE_NEWNET) != 0:
            raise KernelError(ctypes.get_errno(), f"enter the network namespace {netns}")
    finally:
        if not isinstance(netns, int):
            os.close(descriptor)


def new_namespace() -> int:
    """Make a namespace and return the descriptor that keeps it alive; it belongs to the caller."""

    def make() -> int:
        if _libc.unshare(CLONE_NEWNET) != 0:
            raise KernelError(ctypes.get_errno(), "make a network namespace")
        return os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)

    return _in_thread(make)


def _in_thread(work: Callable[[], T]) -> T:
    result: list[T] = []
    failure: list[BaseException] = []
    done = _thread.allocate_lock()
    done.acquire()

    def body() -> None:
        try:
            result.append(work())
        except BaseException as error:
            failure.append(error)
        finally:
            done.release()

    # Not threading.Thread, whose start() waits until the thread has had its turn, before we wait for its end.
    _thread.start_new_thread(body, ())
    done.acquire()
    if failure:
        raise failure[0]
    return result[0]
