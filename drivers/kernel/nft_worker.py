"""The process that holds libnftables: one batch in, all or nothing, one answer out.

libnftables waits with select(2) and aborts at descriptor 1024, which an engine of a thousand
containers passes; this process never opens more than a handful. It imports next to nothing and
lives exactly as long as the other end of its socket.

A request is a header (length of the script) with, optionally, the descriptor of a namespace. An
answer is one byte when the script has been read and is about to run, then a header (0 or 1, length
of the text) and the text: nft's output, or its complaint.
"""

from __future__ import annotations

import ctypes
import os
import queue
import signal
import socket
import struct
import sys
import threading

import nftables

REQUEST = struct.Struct("=I")
BEGUN = b"+"
ANSWER = struct.Struct("=BI")
_CLONE_NEWNET = 0x40000000
# A netlink socket that has changed rules waits 15 ms for a grace period of the kernel's when it closes
# (net/netfilter/nf_tables_api.c, nft_rcv_nl_event()). The waits of several threads overlap.
_CLOSERS = 4
# select(2) again: so many may wait to be closed, and no more.
_CLOSING = 400


def main() -> None:
    # Ctrl-C in the terminal of an engine in the foreground goes to the whole group; we end when it does.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    spent: queue.Queue[list[nftables.Nftables]] = queue.Queue(_CLOSING)
    for _ in range(_CLOSERS):
        threading.Thread(target=_close, args=(spent,), daemon=True).start()
    with socket.socket(fileno=int(sys.argv[1])) as engine:
        home = os.open("/proc/self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        here = _context()
        while True:
            header, descriptors, _flags, _from = socket.recv_fds(engine, REQUEST.size, 1)
            if not header:
                return
            script = _receive(engine, REQUEST.unpack(header)[0]).decode()
            engine.sendall(BEGUN)
            if descriptors:
                failed, text = _elsewhere(script, descriptors[0], home, spent)
            else:
                failed, text = _run(here, script)
            answer = text.encode()
            engine.sendall(ANSWER.pack(failed, len(answer)) + answer)


def _close(spent: queue.Queue[list[nftables.Nftables]]) -> None:
    while True:
        spent.get().clear()


def _elsewhere(script: str, netns: int, home: int, spent: queue.Queue[list[nftables.Nftables]]) -> tuple[bool, str]:
    # A context is tied to the namespace its socket was opened in; making one costs 0.2 ms, which is
    # less than what keeping one for each container would cost in memory and descriptors.
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.setns(netns, _CLONE_NEWNET) != 0:
        error = ctypes.get_errno()
        os.close(netns)
        return True, f"Error: {os.strerror(error)}"
    try:
        # In a list, so that whoever empties it drops the last reference, and waits.
        holder = [_context()]
        result = _run(holder[0], script)
        spent.put(holder)
        return result
    finally:
        os.close(netns)
        # Must not fail: the next batch would change a container's rules instead of the host's.
        if libc.setns(home, _CLONE_NEWNET) != 0:
            os._exit(1)


def _context() -> nftables.Nftables:
    context = nftables.Nftables()
    context.set_stateless_output(True)
    context.set_numeric_proto_output(True)
    return context


def _run(context: nftables.Nftables, script: str) -> tuple[bool, str]:
    status, output, complaint = context.cmd(script)
    return status != 0, complaint if status != 0 else output


def _receive(engine: socket.socket, length: int) -> bytes:
    parts = bytearray()
    while len(parts) < length:
        part = engine.recv(length - len(parts))
        if not part:
            os._exit(0)  # the engine died in the middle of a request
        parts += part
    return bytes(parts)


if __name__ == "__main__":
    main()
