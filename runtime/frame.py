"""A piece of output that tells which stream it is of: Docker's framing, so that it passes through as it is."""

from __future__ import annotations

import struct

_STREAMS = {"stdin": 0, "stdout": 1, "stderr": 2}


def frame(stream: str, data: bytes) -> bytes:
    """With its header: the stream's number, three zeros, the length (Docker's attach protocol)."""
    return struct.pack(">BxxxI", _STREAMS[stream], len(data)) + data
