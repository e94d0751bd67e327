"""The options of `run` and `create`, and the request they make: Docker's words, Docker's meaning."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any, TypeVar

import click

from netmodel.cli.life import healthcheck, life_body, life_options
from netmodel.cli.limits import limit_options_at_creation, limits_body
from netmodel.cli.mounts import binds, declared_mounts, tmpfs
from netmodel.cli.names import CONTAINER, NETWORK
from netmodel.cli.networks import endpoints
from netmodel.cli.pairs import environment, lines, pairs
from netmodel.cli.ports import port_maps
from netmodel.cli.security import security_body, security_options
from netmodel.cli.units import Size

F = TypeVar("F", bound=Callable[..., Any])

_OPTIONS = (
    click.option("--name", default="", help="Its name"),
    click.option("--network", "--net", "networks", multiple=True, type=NETWORK,
                 help="Network to join; may be repeated: NAME or name=NAME[,ip=,ip6=,alias=,mac-address=,interface=,gw-priority=]"),  # noqa: E501
    click.option("--ip", default="", help="IPv4 address on its first network"),
    click.option("--ip6", default="", help="IPv6 address on its first network"),
    click.option("--link-local-ip", "link_local_ips", multiple=True, help="Further address there, of the link alone"),
    click.option("--network-alias", "--net-alias", "aliases", multiple=True, help="Further name on its first network"),
    click.option("--link", "links", multiple=True, help="Another name for another container, for this one alone: NAME[:ALIAS]"),  # noqa: E501
    click.option("--mac-address", default="", help="MAC address on its first network"),
    click.option("-p", "--publish", multiple=True, help="Publish a port: [[ADDRESS:]HOST:]CONTAINER[/udp]"),
    click.option("-P", "--publish-all", is_flag=True, help="Publish all exposed ports"),
    click.option("--expose", multiple=True, help="Say that it listens on a port"),
    click.option("--dns", multiple=True, help="Name server to forward to"),
    click.option("--dns-search", multiple=True, help="Domain to search"),
    click.option("--dns-option", "--dns-opt", "dns_options", multiple=True, help="Option of the resolver"),
    click.option("--add-host", multiple=True, help="Line of /etc/hosts: NAME:ADDRESS"),
    click.option("-h", "--hostname", default="", help="Its host name"),
    click.option("--domainname", default="", help="Its NIS domain name"),
    click.option("-e", "--env", multiple=True, help="Environment variable: NAME=VALUE, or NAME to pass ours on"),
    click.option("--env-file", multiple=True, type=click.Path(), help="File of environment variables"),
    click.option("-w", "--workdir", default="", help="Working directory"),
    click.option("-u", "--user", default="", help="User: name or id, and [:group]"),
    click.option("--group-add", multiple=True, help="Further group"),
    click.option("--entrypoint", default=None, help="Program to run instead of the image's"),
    click.option("-v", "--volume", multiple=True, help="Mount: SOURCE:TARGET[:ro] (path or volume), or TARGET"),
    click.option("--mount", multiple=True, help="Mount: type=bind|volume|tmpfs,source=,target=[,readonly]..."),
    click.option("--volumes-from", multiple=True, type=CONTAINER, help="Mount what another one mounts: CONTAINER[:ro]"),
    click.option("--tmpfs", multiple=True, help="Memory as a directory: TARGET[:size=64m,mode=1777]"),
    click.option("--shm-size", type=Size(), default=0, help="Size of /dev/shm"),
    click.option("--storage-opt", multiple=True, help="How much it may write into its root: size=10g"),
    click.option("--read-only", is_flag=True, help="Make its root read-only"),
    click.option("--ulimit", multiple=True, help="Resource limit: NAME=SOFT[:HARD]"),
    click.option("--sysctl", multiple=True, help="Kernel parameter of its namespaces: NAME=VALUE"),
    click.option("-l", "--label", multiple=True, help="Label: NAME=VALUE"),
    click.option("--label-file", multiple=True, type=click.Path(), help="File of labels"),
    click.option("--stop-signal", default="", help="Signal that asks it to stop [SIGTERM]"),
    click.option("--stop-timeout", type=int, default=None, help="Seconds before it is killed [10]"),
    click.option("--rm", "auto_remove", is_flag=True, help="Remove it when it ends"),
    click.option("-i", "--interactive", is_flag=True, help="Keep its input open"),
    click.option("-t", "--tty", is_flag=True, help="Give it a terminal"),
)  # fmt: skip


def container_options(function: F) -> F:
    for option in reversed(_OPTIONS):
        function = option(function)
    return limit_options_at_creation(security_options(life_options(function)))


def create_body(image: str, command: tuple[str, ...], o: dict[str, Any]) -> dict[str, Any]:
    """The body of POST /containers/create.

    Args:
        o: The values of container_options by name.

    Raises:
        click.UsageError: An option's value is wrong.
    """
    mode, settings = endpoints(o)
    exposed, bindings = port_maps(o["publish"], o["expose"])
    short, anonymous = binds(o["volume"])
    return {
        "Image": image_ref(image),
        "Cmd": list(command) or None,
        "Entrypoint": None if o["entrypoint"] is None else [o["entrypoint"]],
        "Env": environment(o["env"], o["env_file"]),
        "WorkingDir": o["workdir"],
        "User": o["user"],
        "Hostname": o["hostname"],
        "Domainname": o["domainname"],
        "Labels": pairs([*lines(o["label_file"], "label"), *o["label"]], "label"),
        "StopSignal": o["stop_signal"],
        "StopTimeout": o["stop_timeout"],
        "Tty": o["tty"],
        "OpenStdin": o["interactive"],
        "StdinOnce": o["interactive"],
        "ExposedPorts": exposed,
        "Volumes": anonymous,
        "Healthcheck": healthcheck(o),
        "HostConfig": {
            "AutoRemove": o["auto_remove"],
            "NetworkMode": mode,
            "PortBindings": bindings,
            "PublishAllPorts": o["publish_all"],
            "Binds": short,
            "Mounts": declared_mounts(o["mount"]),
            "VolumesFrom": list(o["volumes_from"]),
            "StorageOpt": pairs(o["storage_opt"], "storage option"),
            "Tmpfs": tmpfs(o["tmpfs"]),
            "ShmSize": o["shm_size"],
            "ReadonlyRootfs": o["read_only"],
            "Ulimits": [_ulimit(text) for text in o["ulimit"]],
            "Sysctls": pairs(o["sysctl"], "sysctl"),
            "GroupAdd": list(o["group_add"]),
            "Dns": list(o["dns"]),
            "DnsSearch": list(o["dns_search"]),
            "DnsOptions": list(o["dns_options"]),
            "Links": list(o["links"]),
            "ExtraHosts": [_extra_host(text) for text in o["add_host"]],
            **limits_body(o),
            **security_body(o),
            **life_body(o),
        },
        "NetworkingConfig": {"EndpointsConfig": settings},
    }


def image_ref(image: str) -> str:
    """An image's name as the engine knows it: a relative path means ours, not the engine's."""
    if image in (".", "..") or image.startswith(("./", "../")):
        return os.path.abspath(image)
    return image


def _extra_host(text: str) -> str:
    """Docker's newer form is NAME=ADDRESS, where an IPv6 address needs no care."""
    name, equals, address = text.partition("=")
    return f"{name}:{address}" if equals else text


def _ulimit(text: str) -> dict[str, Any]:
    name, _, values = text.partition("=")
    soft, colon, hard = values.partition(":")
    try:
        return {"Name": name, "Soft": int(soft), "Hard": int(hard if colon else soft)}
    except ValueError as error:
        raise click.UsageError(f"ulimit {text!r} is not of the form NAME=SOFT[:HARD]") from error
