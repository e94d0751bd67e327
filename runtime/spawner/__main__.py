"""Run the spawner of one directory: `__main__.py DIRECTORY READY PROGRAM`, started by runtime.client alone.

READY is a descriptor: it is told "ok" once the socket answers, or why it never will. PROGRAM is one, too: of the
interpreter that runs this, and of no more use.
"""

from __future__ import annotations

import fcntl
import gc
import os
import signal
import socket
import sys
from contextlib import suppress


def main() -> None:
    """Detach, listen, serve until there is nothing left to keep."""
    # Run by its file and without site packages, which would double its size: so it finds its own.
    package_root = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    sys.path.insert(0, package_root)
    directory, ready = sys.argv[1], int(sys.argv[2])
    os.close(int(sys.argv[3]))
    if os.fork() > 0:
        os._exit(0)  # so that it is nobody's child, whoever started it
    try:
        server_socket = listen(directory)
    except OSError as error:
        os.write(ready, f"{directory}/spawner.sock: {error.strerror}".encode())
        os._exit(1)
    os.chdir("/")
    os.umask(0)
    serve(server_socket, ready)


def listen(directory: str) -> socket.socket:
    """Bind the socket, after taking the lock that says that its directory is ours.

    Raises:
        OSError: EAGAIN if another spawner has it.
    """
    where = os.open(directory, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    # Stays open, and with it the lock, as long as this process lives.
    lock = os.open("spawner.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600, dir_fd=where)
    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    with suppress(FileNotFoundError):
        os.unlink("spawner.sock", dir_fd=where)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    # A path of any length: the kernel takes 107 bytes, so it is given one through the descriptor.
    os.umask(0o177)
    listener.bind(f"/proc/self/fd/{where}/spawner.sock")
    listener.listen(8)
    listener.setblocking(False)
    os.close(where)
    return listener


def serve(listener: socket.socket, ready: int) -> None:
    from runtime.kernel import prctl
    from runtime.spawner.loop import Loop
    from runtime.spawner.server import Server

    prctl.become_subreaper()
    prctl.set_name("netmodel-spawn")
    # What is here now stays: a collection would only write to pages that a child shares with its maker.
    gc.collect()
    gc.freeze()
    gc.disable()
    # A clone of ours then has all its signals at their defaults (CLONE_CLEAR_SIGHAND) but for those that
    # are ignored, as Python does with two of them, and nohup and shells with others.
    for number in signal.valid_signals():
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, lambda *_: None)
    prctl.reset_reserved_signals()
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    loop = Loop()
    server = Server(loop, listener)
    waker, wakes = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
    signal.set_wakeup_fd(wakes, warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.signal(signal.SIGINT, lambda *_: None)

    def woken() -> None:
        os.read(waker, 512)
        server.reap()

    loop.watch(waker, woken)
    os.write(ready, b"ok")
    os.close(ready)
    loop.run()


if __name__ == "__main__":
    main()
