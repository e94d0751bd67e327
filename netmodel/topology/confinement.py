"""What confines a service's containers, or loosens that: security options, devices."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from netmodel.errors import Invalid
from netmodel.model import DeviceConfig
from netmodel.security import is_cdi, names_a_file, security_options, split_option
from netmodel.topology.keys import DEVICE
from netmodel.topology.mounts import host_path
from netmodel.topology.value import Fields, Value


def read(fields: Fields, directory: Path) -> dict[str, Any]:
    """By the names of ContainerConfig's fields."""
    options = [text for item in fields.each("security_opt") if (text := _option(item, directory))]
    security = security_options(options)
    return {
        "no_new_privileges": security.no_new_privileges,
        "seccomp": security.seccomp,
        "apparmor": security.apparmor,
        "devices": tuple(device for item in fields.each("devices") if (device := _device(item)) is not None),
        "device_rules": fields.texts("device_cgroup_rules"),
        "oom_score_adj": fields.integer("oom_score_adj", -1000, 1000) or None,
    }


def _option(item: Value, directory: Path) -> str:
    """An option that is known; with the text of a profile instead of its file's name, as the engine runs elsewhere."""
    option = item.text()
    if option is None:
        return ""
    name, value = split_option(option)
    try:
        if names_a_file(name, value):
            text = Path(host_path(value, directory)).read_text()
            return f"seccomp={json.dumps(json.loads(text), separators=(',', ':'))}"
        security_options([option])
    except OSError as error:
        item.error(f"seccomp profile {value}: {error.strerror}")
        return ""
    except ValueError as error:
        item.error(f"seccomp profile {value} is not JSON: {error}")
        return ""
    except Invalid as error:
        item.error(error.message, error.hint)
        return ""
    return option


def _device(item: Value) -> DeviceConfig | None:
    if item.is_mapping:
        fields = item.fields(DEVICE)
        source, target = fields.text("source"), fields.text("target")
        permissions = fields.text("permissions", "rwm")
    else:
        source, _, rest = (item.text() or "").partition(":")
        target, _, permissions = rest.partition(":")
        if target and set(target) <= set("rwm"):
            target, permissions = "", target
        permissions = permissions or "rwm"
    if is_cdi(source):
        item.error("is a device of CDI, whose descriptions are not read here", "name the nodes that it stands for")
        return None
    if not source.startswith("/") or (target and not target.startswith("/")) or not set(permissions) <= set("rwm"):
        item.error("is not PATH[:PATH INSIDE][:rwm]", "such as /dev/net/tun, or /dev/sda:/dev/xvda:r")
        return None
    return DeviceConfig(source=source, target="" if target == source else target, permissions=permissions)
