"""The root of everything that runtime refuses: one sentence, and if possible the way out."""

from __future__ import annotations


class RuntimeFault(Exception):
    """Something about processes or storage did not work.

    Args:
        message: One sentence that names the thing and the fact.
        hint: The way out; "" keeps the class's own.
    """

    kind = "internal"
    hint = ""

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        if hint:
            self.hint = hint
