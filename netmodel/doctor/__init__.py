"""What this kernel and machine can and cannot do for containers, found out by trying.

Every probe does what the engine would do, in namespaces that are thrown away at once; nothing of the
machine is changed (a kernel that loads modules on demand may load one). Versions are not compared.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from netmodel.doctor.containers import cgroups, namespaces_and_storage
from netmodel.doctor.finding import Finding
from netmodel.doctor.firewall import firewall
from netmodel.doctor.machine import disk, limits, rights
from netmodel.doctor.network import network
from netmodel.doctor.security import confinement
from netmodel.doctor.settings import settings

__all__ = ["Finding", "examine"]


def examine(root: Path) -> list[Finding]:
    """Look at everything, in under a second.

    Args:
        root: The engine's state directory; need not exist.
    """
    existing = next(path for path in (root, *root.absolute().parents) if path.is_dir())
    # What waits for other processes, side by side.
    parts: tuple[Callable[[], list[Finding]], ...] = (
        lambda: [*rights(), *limits(), *cgroups(), *disk(existing), *confinement(root), *settings(root)],
        lambda: list(namespaces_and_storage(existing)),
        lambda: list(network()),
        lambda: list(firewall()),
    )
    with ThreadPoolExecutor(len(parts), thread_name_prefix="doctor") as pool:
        return [finding for part in pool.map(lambda part: part(), parts) for finding in part]
