"""What confines a service's containers, or loosens that: security options, devices."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from netmodel.errors import Invalid
from netmodel.model import DeviceConfig
from netmodel.security import is_cdi, names_a_file, security_options, split_option
from netmodel.topology.keys import DEPLOY, DEVICE, RESERVATIONS, RESERVED_DEVICE, RESOURCES
from netmodel.topology.mounts import host_path
from netmodel.topology.value import Fields, Value


def read(fields: Fields, directory: Path) -> dict[str, Any]:
    """By the names of ContainerConfig's fields."""
    options = [text for item in fields.each("security_opt") if (text := _option(item, directory))]
    security = security_options(options)
    devices = [_device(item) for item in fields.each("devices")]
    return {
        "no_new_privileges": security.no_new_privileges,
        "seccomp": security.seccomp,
        "apparmor": security.apparmor,
        "devices": tuple(device for device in devices if isinstance(device, DeviceConfig)),
        "cdi_devices": (*(device for device in devices if isinstance(device, str)), *_reserved(fields)),
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


def _reserved(fields: Fields) -> Iterator[str]:
    """Devices by their vendors' names in the other place that Compose has for them."""
    deploy = fields["deploy"].fields(DEPLOY) if "deploy" in fields else Fields(fields.section)
    resources = deploy["resources"].fields(RESOURCES) if "resources" in deploy else Fields(fields.section)
    if "reservations" not in resources:
        return
    for item in resources["reservations"].fields(RESERVATIONS).each("devices"):
        wanted = item.fields(RESERVED_DEVICE)
        if wanted.text("driver") != "cdi":
            item.warn("only devices of driver cdi can be had, so this has no effect", "driver: cdi, device_ids: [...]")
            continue
        for name in wanted.texts("device_ids"):
            if is_cdi(name):
                yield name
            else:
                item.error(f"{name} is not of the form vendor.com/class=name")


def _device(item: Value) -> DeviceConfig | str | None:
    """One of the host's by its path, or the name of one that its vendor describes."""
    if item.is_mapping:
        fields = item.fields(DEVICE)
        source, target = fields.text("source"), fields.text("target")
        permissions = fields.text("permissions", "rwm")
    else:
        text = item.text() or ""
        if is_cdi(text):
            return text
        source, _, rest = text.partition(":")
        target, _, permissions = rest.partition(":")
        if target and set(target) <= set("rwm"):
            target, permissions = "", target
        permissions = permissions or "rwm"
    if is_cdi(source):
        return source
    if not source.startswith("/") or (target and not target.startswith("/")) or not set(permissions) <= set("rwm"):
        item.error(
            "is neither PATH[:PATH INSIDE][:rwm] nor vendor.com/class=name",
            "such as /dev/net/tun, or /dev/sda:/dev/xvda:r",
        )
        return None
    return DeviceConfig(source=source, target="" if target == source else target, permissions=permissions)
