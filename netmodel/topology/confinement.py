"""What confines a service's containers, or loosens that: security options, devices."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from netmodel.devicerequest import ALL, CDI, device_names
from netmodel.errors import Invalid
from netmodel.model import DeviceConfig
from netmodel.security import is_cdi, names_a_file, security_options, split_option
from netmodel.topology.keys import DEPLOY, DEVICE, DEVICE_REQUEST, RESERVATIONS, RESOURCES
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
        "cdi_devices": (*(device for device in devices if isinstance(device, str)), *_requested(fields)),
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


def _requested(fields: Fields) -> Iterator[str]:
    """Devices by their vendors' names in the other places that Compose has for them."""
    deploy = fields["deploy"].fields(DEPLOY) if "deploy" in fields else Fields(fields.section)
    resources = deploy["resources"].fields(RESOURCES) if "resources" in deploy else Fields(fields.section)
    reserved = resources["reservations"].fields(RESERVATIONS) if "reservations" in resources else Fields(fields.section)
    for item in reserved.each("devices"):
        yield from _request(item, ())
    gpus = fields.get("gpus")
    if gpus is not None and gpus.is_scalar:
        if gpus.text() == "all":
            yield from device_names("", ALL, (), [["gpu"]])
        else:
            gpus.error("is neither all nor a list", "such as [{driver: nvidia, count: 1}]")
        return
    for item in fields.each("gpus"):
        yield from _request(item, ("gpu",))


def _count(text: str) -> int:
    if text != "all" and not text.isdigit():
        raise ValueError(f'"{text}" is neither all nor a number')
    return ALL if text == "all" else int(text)


def _request(item: Value, capabilities: tuple[str, ...]) -> tuple[str, ...]:
    """Args:
    capabilities: Unless it says which.
    """
    wanted = item.fields(DEVICE_REQUEST)
    driver, ids = wanted.text("driver"), wanted.texts("device_ids")
    count = wanted.parsed("count", _count)
    asked = wanted.texts("capabilities") or capabilities
    if count is None:
        count = 0 if ids or driver == CDI else ALL
    try:
        return device_names(driver, count, ids, [asked] if asked else ())
    except Invalid as error:
        item.error(error.message, error.hint)
        return ()


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
