"""An engine, containers as anybody gets them, and the tools of an attacker inside."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence

import pytest

from netmodel.engine import Engine
from netmodel.model import Container
from tests.netmodel.engine.conftest import engine_of_module, execute, run
from tests.netmodel.engine.shared import engine, host

__all__ = ["engine", "engine_of_module", "host", "run"]

# Tries system calls by their numbers, and says of each the name of its error, or "done". A pointer is given as text.
_CALLER = """
import ctypes, errno, json, sys
libc = ctypes.CDLL(None, use_errno=True)
def word(value):
    return ctypes.c_char_p(value.encode("latin-1")) if isinstance(value, str) else ctypes.c_long(value)
answers = {}
for name, number, *arguments in json.loads(sys.argv[1]):
    result = libc.syscall(ctypes.c_long(number), *map(word, arguments))
    answers[name] = "done" if result >= 0 else errno.errorcode[ctypes.get_errno()]
print(json.dumps(answers))
"""

Call = tuple[str | int, ...]  # a name, the number on x86-64, the arguments
Attempt = Callable[[Container, str], tuple[int, str]]
SystemCalls = Callable[[Container, Sequence[Call]], dict[str, str]]


@pytest.fixture
def attempt(engine: Engine) -> Attempt:
    """Run a shell's script in a container: its exit code, and all it printed."""
    return lambda container, script: execute(engine, container.id, "sh", "-c", script)


@pytest.fixture
def system_calls(engine: Engine) -> SystemCalls:
    """Try system calls in a container, as its root."""

    def call(container: Container, calls: Sequence[Call]) -> dict[str, str]:
        code, printed = execute(engine, container.id, "python3", "-c", _CALLER, json.dumps(calls))
        assert code == 0, printed
        answers: dict[str, str] = json.loads(printed)
        return answers

    return call
