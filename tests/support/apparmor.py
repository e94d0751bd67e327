"""AppArmor profiles of a test's own, on the kernels that have AppArmor."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_ENABLED = Path("/sys/module/apparmor/parameters/enabled")
# All is allowed but one harmless thing; the flags are those of Docker's own profile.
_PROFILE = """
profile {name} flags=(attach_disconnected,mediate_deleted) {{
  capability,
  file,
  mount,
  network,
  pivot_root,
  ptrace,
  signal,
  umount,
  unix,
  deny {denied} rw,
}}
"""


def enabled() -> bool:
    return _ENABLED.exists() and _ENABLED.read_text().startswith("Y")


@contextmanager
def loaded(name: str, denied: str) -> Iterator[None]:
    """Have a profile in the kernel that forbids one file, by its path in the container."""
    profile = _PROFILE.format(name=name, denied=denied)
    _parser("--replace", profile)
    try:
        yield
    finally:
        _parser("--remove", profile)


def _parser(action: str, profile: str) -> None:
    subprocess.run(["apparmor_parser", "--skip-cache", action], input=profile, text=True, check=True)
