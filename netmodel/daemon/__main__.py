"""The engine in the background: `python -m netmodel.daemon --root ROOT --host SOCKET --ready-fd N`.

Started by a client, which reads from the descriptor how it went; people use `netmodel engine run`.
"""

from __future__ import annotations

import argparse
import gc
import os
import sys

# Loading makes many objects and hardly any garbage; a tenth of its time would go into looking for some.
gc.disable()

from netmodel.daemon.process import run, set_up_log  # noqa: E402


def main() -> int:
    parser = argparse.ArgumentParser(prog="netmodel.daemon")
    parser.add_argument("--root", required=True)
    parser.add_argument("--host", required=True)
    parser.add_argument("--ready-fd", type=int, required=True)
    options = parser.parse_args()
    # Its starter waits for the end of the pipe: no process of ours may inherit it.
    os.set_inheritable(options.ready_fd, False)
    os.chdir("/")
    set_up_log()

    def tell(message: str) -> None:
        with os.fdopen(options.ready_fd, "w") as pipe:
            pipe.write(message + "\n")

    return run(options.root, options.host, tell)


if __name__ == "__main__":
    sys.exit(main())
