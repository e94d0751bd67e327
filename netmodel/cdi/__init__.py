"""Devices as their vendors describe them: the Container Device Interface.

Source: cncf-tags/container-device-interface, SPEC.md 1.1.0 and pkg/cdi.
"""

from __future__ import annotations

from netmodel.cdi.edits import Edits
from netmodel.cdi.registry import DEFAULT_DIRECTORIES, Registry

__all__ = ["DEFAULT_DIRECTORIES", "Edits", "Registry"]
