"""Files of other tools, told apart, so that the message says what one has in hands."""

from __future__ import annotations

from collections.abc import Mapping

from netmodel.topology.value import Value


def looks_like(root: Mapping[str, Value]) -> str:
    """What kind of file these top-level keys belong to, in words that fit after "this looks like"; "" if unknown."""
    if "services" in root:
        return ""
    if "topology" in root:
        inside = root["topology"].pairs() if root["topology"].is_mapping else {}
        if "networks" in inside:
            return "a munet topology"
        return "a containerlab topology"
    if "apiVersion" in root and "kind" in root:
        return "a Kubernetes manifest"
    if "links" in root or "nodes" in root or {"provider", "validate"} <= root.keys():
        return "a netlab topology"
    if "network" in root and root["network"].is_mapping and "version" in root["network"].pairs():
        return "a netplan configuration"
    if root and all(value.is_mapping and {"image", "build"} & value.pairs().keys() for value in root.values()):
        return "a Compose file of version 1, whose services belong under services: today"
    return ""
