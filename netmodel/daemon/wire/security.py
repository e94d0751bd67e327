"""What Docker's API says about a container's confinement: security options, devices, paths of /proc and /sys."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from msgspec import field

from netmodel.daemon.wire.decode import Body
from netmodel.daemon.wire.resources import Resources
from netmodel.devicerequest import device_names
from netmodel.errors import Invalid
from netmodel.model import ContainerConfig, DeviceConfig
from netmodel.security import is_cdi, security_options


class Device(Body):
    path_on_host: str
    path_in_container: str = ""
    cgroup_permissions: str = "rwm"


class DeviceRequest(Body):
    driver: str = ""
    count: int = 0
    device_ids: list[str] | None = field(default=None, name="DeviceIDs")
    capabilities: list[list[str]] | None = None
    options: dict[str, str] | None = None


class Confining(Resources):
    """These fields of a HostConfig, beside the limits."""

    security_opt: list[str] | None = None
    devices: list[Device] | None = None
    device_requests: list[DeviceRequest] | None = None
    device_cgroup_rules: list[str] | None = None
    masked_paths: list[str] | None = None
    readonly_paths: list[str] | None = None
    oom_score_adj: int | None = None


def confinement(wanted: Confining) -> dict[str, Any]:
    """By the names of ContainerConfig's fields.

    Raises:
        Invalid: An option is not known.
    """
    security = security_options(wanted.security_opt or ())
    return {
        "no_new_privileges": security.no_new_privileges,
        "seccomp": security.seccomp,
        "apparmor": security.apparmor,
        "cdi_devices": tuple(_described(wanted)),
        "devices": tuple(
            DeviceConfig(
                source=one.path_on_host,
                target="" if one.path_in_container == one.path_on_host else one.path_in_container,
                permissions=one.cgroup_permissions or "rwm",
            )
            for one in wanted.devices or ()
            if not is_cdi(one.path_on_host)
        ),
        "device_rules": tuple(wanted.device_cgroup_rules or ()),
        "masked_paths": None if wanted.masked_paths is None else tuple(wanted.masked_paths),
        "readonly_paths": None if wanted.readonly_paths is None else tuple(wanted.readonly_paths),
        "oom_score_adj": wanted.oom_score_adj or None,
    }


def _described(wanted: Confining) -> Iterator[str]:
    """The devices of the Container Device Interface; clients that do not know it have them among the others.

    Raises:
        Invalid: Another way to ask for devices.
    """
    for request in wanted.device_requests or ():
        if request.options:
            raise Invalid("options of device requests have no effect here", "leave them out")
        yield from device_names(request.driver, request.count, request.device_ids or (), request.capabilities or ())
    for one in wanted.devices or ():
        if is_cdi(one.path_on_host):
            yield one.path_on_host


def shape(config: ContainerConfig, masked: tuple[str, ...], readonly: tuple[str, ...]) -> dict[str, Any]:
    """These fields of a container's HostConfig.

    Args:
        masked, readonly: What the container has that said nothing.
    """
    options = [
        *(["no-new-privileges"] if config.no_new_privileges else []),
        *([f"seccomp={config.seccomp}"] if config.seccomp else []),
        *([f"apparmor={config.apparmor}"] if config.apparmor else []),
    ]
    return {
        "SecurityOpt": options or None,
        "Devices": [
            {
                "PathOnHost": one.source,
                "PathInContainer": one.target or one.source,
                "CgroupPermissions": one.permissions,
            }
            for one in config.devices
        ],
        "DeviceRequests": [
            {"Driver": "cdi", "Count": 0, "DeviceIDs": list(config.cdi_devices), "Capabilities": None, "Options": None}
        ]
        if config.cdi_devices
        else None,
        "DeviceCgroupRules": list(config.device_rules) or None,
        "MaskedPaths": list(masked if config.masked_paths is None else config.masked_paths),
        "ReadonlyPaths": list(readonly if config.readonly_paths is None else config.readonly_paths),
        "OomScoreAdj": config.oom_score_adj or 0,
    }
