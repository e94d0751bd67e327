"""Take more than the container may have. Open port 80 if the kernel said no, and 8080 if it did not."""

import http.server
import os
import signal
import sys
import time


def memory() -> str:
    """A child that wants 256 MB; the kernel kills it, the largest, not us."""
    child = os.fork()
    if child == 0:
        os._exit(len(bytearray(256 * 1024 * 1024)) == 0)  # zeroed, so every page is really there
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status):
        return f"a child that wanted 256 MB was killed by signal {os.WTERMSIG(status)}"
    return ""


def processes() -> str:
    """Forty children at once."""
    children: list[int] = []
    refusal = ""
    for _ in range(40):
        try:
            child = os.fork()
        except BlockingIOError as error:
            refusal = f"after {len(children)} children: {error.strerror}"
            break
        if child == 0:
            signal.pause()
        children.append(child)
    for child in children:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
    return refusal


def processor() -> str:
    """A second of hard work by the clock; how much of it did we get?"""
    begin, used = time.monotonic(), time.process_time()
    while time.monotonic() - begin < 1:
        pass
    share = (time.process_time() - used) / (time.monotonic() - begin)
    return f"got {share:.0%} of one processor" if share < 0.4 else ""


stopped = {"memory": memory, "processes": processes, "processor": processor}[sys.argv[1]]()
print(stopped or "nothing stopped me", flush=True)  # noqa: T201 - its log is what it is for
os.chdir("/tmp")
http.server.HTTPServer(("", 80 if stopped else 8080), http.server.SimpleHTTPRequestHandler).serve_forever()
