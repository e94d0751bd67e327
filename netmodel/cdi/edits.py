"""What devices of the Container Device Interface make of a container: nodes, mounts, variables, groups.

Of hooks those that finish a container's root are run (createContainer), in its namespaces and by the rights of its
root; others would be programs with the host's rights, and are refused by name. So are links of the host (netDevices),
which a network of driver macvlan or ipvlan gives, and cache allocation (intelRdt).
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, cast

from netmodel.cdi import shape
from netmodel.errors import Invalid, MissingFeature
from runtime.spec import BindMount, ContainerSpec, DeviceNode, Hook, Mount, TmpfsMount

_KINDS = {stat.S_IFCHR: "c", stat.S_IFBLK: "b", stat.S_IFIFO: "p"}
_HOOK = "createContainer"
_MODE = 0o666  # as OCI runtimes have it where nothing is said
_ATTRIBUTES = ("nosuid", "nodev", "noexec")
_PROPAGATION = ("private", "rprivate", "slave", "rslave", "shared", "rshared")
# What a bind is anyhow.
_USUAL = ("bind", "rbind", "ro", "rro", "rw", "suid", "dev", "exec", "relatime", "defaults")


@dataclass(frozen=True, slots=True, kw_only=True)
class Edits:
    """Args:
    rules: Of the devices controller, "c 10:229 rw".
    """

    environment: tuple[tuple[str, str], ...] = ()
    nodes: tuple[DeviceNode, ...] = ()
    rules: tuple[str, ...] = ()
    mounts: tuple[Mount, ...] = ()
    hooks: tuple[Hook, ...] = ()
    groups: tuple[str, ...] = ()

    def applied(self, spec: ContainerSpec) -> ContainerSpec:
        """A container with them: what the vendor says goes before what was there."""
        if self == Edits():
            return spec
        taken = {os.path.normpath(mount.target) for mount in self.mounts}
        kept = tuple(mount for mount in spec.mounts if os.path.normpath(mount.target) not in taken)
        process = replace(
            spec.process,
            environment=tuple({**dict(spec.process.environment), **dict(self.environment)}.items()),
            groups=(*spec.process.groups, *self.groups),
        )
        return replace(spec, process=process, nodes=self.nodes, mounts=(*kept, *self.mounts), hooks=self.hooks)


def edits_of(wanted: Sequence[tuple[str, shape.ContainerEdits]], user: str) -> Edits:
    """All of them together; of two that name one path the later one counts.

    Args:
        wanted: Each with the device that it is for.
        user: See Registry.edits().
    """
    environment: dict[str, str] = {}
    nodes: dict[str, DeviceNode] = {}
    rules: list[str] = []
    mounts: dict[str, Mount] = {}
    hooks: list[Hook] = []
    groups: list[str] = []
    for name, edits in wanted:
        _refuse(name, edits)
        environment.update(_variables(name, edits.env))
        for one in edits.device_nodes:
            node = _node(name, one, user)
            nodes[node.path] = node
            if node.kind != "p" and one.permissions != "none":
                rules.append(f"{node.kind} {node.major}:{node.minor} {one.permissions or 'rwm'}")
        for each in edits.mounts:
            mounts[each.container_path] = _mount(name, each)
        hooks += [_hook(name, hook) for hook in edits.hooks]
        groups += [str(gid) for gid in edits.additional_gids if gid]
    return Edits(
        environment=tuple(environment.items()),
        nodes=tuple(nodes.values()),
        rules=tuple(dict.fromkeys(rules)),
        mounts=tuple(mounts.values()),
        hooks=tuple(dict.fromkeys(hooks)),
        groups=tuple(dict.fromkeys(groups)),
    )


def _refuse(name: str, edits: shape.ContainerEdits) -> None:
    others = dict.fromkeys(f"{hook.hook_name} {hook.path}" for hook in edits.hooks if hook.hook_name != _HOOK)
    if others:
        raise MissingFeature(
            f"CDI device {name} wants hooks that are not run here: {', '.join(others)}",
            f"those of kind {_HOOK} are; describe it without the others, or name its nodes: --device /dev/NAME",
        )
    if edits.net_devices:
        link = edits.net_devices[0].host_interface_name
        raise MissingFeature(
            f"CDI device {name} wants the host's link {link}, which is not moved into a container here",
            f"use a network: --driver macvlan -o parent={link}",
        )
    if edits.intel_rdt is not None:
        raise MissingFeature(f"CDI device {name} wants intelRdt, which is not set here", "describe it without")


def _variables(name: str, lines: Iterable[str]) -> dict[str, str]:
    found = {}
    for line in lines:
        variable, equals, value = line.partition("=")
        if not variable or not equals:
            raise Invalid(f"CDI device {name}: {line!r} is no variable", "write it as NAME=VALUE")
        found[variable] = value
    return found


def _hook(name: str, wanted: shape.Hook) -> Hook:
    if not wanted.path.startswith("/") or not os.access(wanted.path, os.X_OK):
        raise Invalid(
            f"CDI device {name}: its hook {wanted.path} is no program of this machine",
            "install it, or correct the path",
        )
    return Hook(
        path=wanted.path,
        argv=wanted.args,
        environment=tuple(_variables(name, wanted.env).items()),
        timeout_s=wanted.timeout or 0,
    )


def _node(name: str, wanted: shape.Node, user: str) -> DeviceNode:
    """Source: pkg/cdi/container-edits_unix.go, fillMissingInfo(): the host's node says what is left out."""
    path = os.path.normpath(wanted.path)
    if not path.startswith("/dev/"):
        raise Invalid(f"CDI device {name}: its node {wanted.path} is not below /dev", "that is where nodes can be")
    if set(wanted.permissions) - set("rwm") and wanted.permissions != "none":
        raise Invalid(f"CDI device {name}: permissions {wanted.permissions!r} are none", 'letters of "rwm", or "none"')
    kind, major, minor = {"u": "c"}.get(wanted.type, wanted.type), wanted.major, wanted.minor
    if kind not in ("", "b", "c", "p"):
        raise Invalid(f"CDI device {name}: its node {path} is of no type {wanted.type!r}", "c, b or p")
    if not kind or (not major and kind != "p"):
        found, device = _on_host(name, wanted.host_path or wanted.path)
        if kind not in ("", found):
            raise Invalid(
                f"CDI device {name}: {wanted.host_path or wanted.path} is of type {found}, not {kind}",
                "correct the description",
            )
        kind, major, minor = found, major or os.major(device), minor if major else os.minor(device)
    uid, gid = _numbers(user)
    return DeviceNode(
        path=path,
        kind=cast(Literal["b", "c", "p"], kind),
        major=major,
        minor=minor,
        mode=_MODE if wanted.file_mode is None else stat.S_IMODE(wanted.file_mode),
        uid=uid if wanted.uid is None else wanted.uid,
        gid=gid if wanted.gid is None else wanted.gid,
    )


def _on_host(name: str, path: str) -> tuple[str, int]:
    try:
        status = os.stat(path)
    except OSError as error:
        raise Invalid(
            f"CDI device {name}: {path}: {(error.strerror or '').lower()}", "its description may be out of date"
        ) from error
    kind = _KINDS.get(stat.S_IFMT(status.st_mode))
    if kind is None:
        raise Invalid(f"CDI device {name}: {path} is not a device node", "correct the description")
    return kind, status.st_rdev


def _numbers(user: str) -> tuple[int, int]:
    """Ids of a user given as such; a name is known inside alone, and stands for root here."""
    uid, _, gid = user.partition(":")
    return int(uid) if uid.isdigit() else 0, int(gid) if gid.isdigit() else 0


def _mount(name: str, wanted: shape.Mount) -> Mount:
    if not wanted.container_path.startswith("/"):
        raise Invalid(f"CDI device {name}: {wanted.container_path} is no place for a mount", "an absolute path")
    if wanted.type == "tmpfs":
        return _tmpfs(wanted)
    if wanted.type not in ("", "bind", "none"):
        raise MissingFeature(f"CDI device {name} wants a mount of type {wanted.type}", "bind and tmpfs can be had")
    options: dict[str, Any] = {}
    attributes: list[str] = []
    for option in wanted.options:
        if option in _ATTRIBUTES:
            attributes.append(option)
        elif option in _PROPAGATION:
            options["propagation"] = option
        elif option not in _USUAL:
            raise MissingFeature(
                f"CDI device {name} wants {wanted.container_path} mounted with {option}", "leave it out"
            )
    return BindMount(
        source=wanted.host_path,
        target=wanted.container_path,
        read_only=not {"ro", "rro"}.isdisjoint(wanted.options),
        recursive="bind" not in wanted.options,
        attributes=tuple(attributes),
        **options,
    )


def _tmpfs(wanted: shape.Mount) -> TmpfsMount:
    """Options go to the file system as they are; its own mode is what it has unless one of them says otherwise."""
    modes = [option.removeprefix("mode=") for option in wanted.options if option.startswith("mode=")]
    others = tuple(option for option in wanted.options if not option.startswith("mode="))
    return TmpfsMount(target=wanted.container_path, mode=int(modes[-1], 8) if modes else 0o1777, options=others)
