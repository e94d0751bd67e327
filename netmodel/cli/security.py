"""The options that confine a container, or loosen what confines it."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from typing import Any, TypeVar

import click

from netmodel.cli.names import DEVICE

F = TypeVar("F", bound=Callable[..., Any])

_NOTHING_HIDDEN = ("systempaths=unconfined", "systempaths:unconfined")
_OPTIONS = (
    click.option("--cap-add", multiple=True, help="Add a capability"),
    click.option("--cap-drop", multiple=True, help="Drop a capability, or ALL"),
    click.option("--privileged", is_flag=True, help="All capabilities, all devices, the host's user namespace"),
    click.option(
        "--security-opt",
        multiple=True,
        help="no-new-privileges, seccomp=FILE|unconfined, apparmor=PROFILE|unconfined, systempaths=unconfined",
    ),
    click.option(
        "--device",
        "devices",
        multiple=True,
        type=DEVICE,
        help="Device of the host: PATH[:PATH INSIDE][:rwm], or as its vendor calls it: vendor.com/class=name (CDI)",
    ),
    click.option("--gpus", default="", help="GPUs by the same names: all, how many, or device=ID[,ID]"),
    click.option("--device-cgroup-rule", "device_rules", multiple=True, help="Further devices: 'c 42:* rmw'"),
    click.option(
        "--oom-score-adj",
        type=click.IntRange(-1000, 1000),
        default=0,
        help="How readily the kernel kills it when memory is short",
    ),
    click.option(
        "--userns",
        default="",
        help="host: none of its own; keep-id[:uid=N,gid=N]: one id stays; auto:size=N: so many ids",
    ),
    click.option("--uidmap", multiple=True, help="Ids of its own choice: ID:HOST-ID[:HOW-MANY]"),
    click.option("--gidmap", multiple=True, help="The same for groups [as --uidmap]"),
)


def security_options(function: F) -> F:
    for option in reversed(_OPTIONS):
        function = option(function)
    return function


def security_body(o: dict[str, Any]) -> dict[str, Any]:
    """Their part of a HostConfig.

    Args:
        o: The options' values by name.
    """
    options = [option for option in o["security_opt"] if option not in _NOTHING_HIDDEN]
    body: dict[str, Any] = {
        "CapAdd": list(o["cap_add"]),
        "CapDrop": list(o["cap_drop"]),
        "Privileged": o["privileged"],
        "SecurityOpt": [_with_profile(option) for option in options],
        "Devices": [_device(text) for text in o["devices"] if not _is_cdi(text)],
        "DeviceRequests": [*_described([text for text in o["devices"] if _is_cdi(text)]), *_gpus(o["gpus"])],
        "DeviceCgroupRules": list(o["device_rules"]),
        "OomScoreAdj": o["oom_score_adj"],
        "UsernsMode": _userns(o["userns"], o["uidmap"], o["gidmap"]),
    }
    if len(options) < len(o["security_opt"]):
        body["MaskedPaths"] = body["ReadonlyPaths"] = []
    return body


def _userns(mode: str, uidmaps: tuple[str, ...], gidmaps: tuple[str, ...]) -> str:
    """Ours is the id that keep-id keeps; the engine does not know who asks."""
    if mode == "keep-id":
        mode = f"keep-id:uid={os.getuid()},gid={os.getgid()}"
    if not uidmaps and not gidmaps:
        return mode
    if mode not in ("", "auto", "private"):
        raise click.UsageError(f"--userns {mode} and a map of one's own exclude each other")
    return "private:" + ",".join([*(f"uidmap={line}" for line in uidmaps), *(f"gidmap={line}" for line in gidmaps)])


def _with_profile(option: str) -> str:
    """The engine runs elsewhere: it gets a profile's text, not the name of our file."""
    from netmodel.security import names_a_file, split_option

    name, value = split_option(option)
    if not names_a_file(name, value):
        return option
    try:
        with open(value, encoding="utf-8") as file:
            return f"seccomp={json.dumps(json.load(file), separators=(',', ':'))}"
    except OSError as error:
        raise click.UsageError(f"seccomp profile {value}: {error.strerror}") from error
    except ValueError as error:
        raise click.UsageError(f"seccomp profile {value} is not JSON: {error}") from error


def _is_cdi(text: str) -> bool:
    from netmodel.security import is_cdi

    return is_cdi(text)


def _described(names: list[str]) -> list[dict[str, Any]]:
    return [{"Driver": "cdi", "DeviceIDs": names}] if names else []


def _gpus(text: str) -> list[dict[str, Any]]:
    """As Docker's command line has them; quotes around a list are for shells that would part it."""
    if not text:
        return []
    request: dict[str, Any] = {"Capabilities": [["gpu"]]}
    name, equals, ids = text.strip('"').partition("=")
    if equals and name == "device" and ids:
        return [request | {"DeviceIDs": ids.split(",")}]
    if text != "all" and not text.isdigit():
        raise click.UsageError(f"gpus {text!r} are neither all, nor a number, nor device=ID[,ID]")
    return [request | {"Count": -1 if text == "all" else int(text)}]


def _device(text: str) -> dict[str, str]:
    source, *rest = text.split(":")
    permissions = rest.pop() if rest and rest[-1] and set(rest[-1]) <= set("rwm") else "rwm"
    if len(rest) > 1 or not source.startswith("/"):
        raise click.UsageError(f"device {text!r} is neither PATH[:PATH INSIDE][:rwm] nor vendor.com/class=name")
    return {"PathOnHost": source, "PathInContainer": rest[0] if rest else source, "CgroupPermissions": permissions}
