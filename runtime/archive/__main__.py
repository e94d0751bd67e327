"""Copy files in or out of one container, once: `__main__.py TELL ORDER`, started by runtime.archive alone.

TELL is a descriptor for answers, a JSON object a line; the tar stream is on stdin or stdout.
"""

from __future__ import annotations

import json
import os
import sys


def main() -> None:
    package_root = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    sys.path.insert(0, package_root)
    from runtime.archive.work import run

    run(int(sys.argv[1]), json.loads(sys.argv[2]))


if __name__ == "__main__":
    main()
