"""What a driver cannot do, and the way out."""

from __future__ import annotations

from typing import Literal

Kind = Literal["not_found", "conflict", "invalid", "unavailable", "forbidden", "internal", "missing_feature"]


class DriverError(Exception):
    """A driver's refusal; kind and hint are for whoever tells the user."""

    kind: Kind = "internal"
    hint: str = ""

    def __init__(self, message: str, *, kind: Kind | None = None, hint: str | None = None) -> None:
        super().__init__(message)
        self.kind = kind or self.kind
        self.hint = self.hint if hint is None else hint


class InvalidOption(DriverError):
    """A network option that the driver does not know, or whose value does not fit."""

    kind = "invalid"


class LinkTaken(DriverError):
    """A link of the name we need exists and is not ours."""

    kind = "conflict"

    def __init__(self, link: str, what: str, hint: str) -> None:
        super().__init__(f"link {link} exists already and is {what}", hint=hint)
        self.link = link


class MissingLinkKind(DriverError):
    """A kind of link that this kernel does not have."""

    kind = "missing_feature"

    def __init__(self, what: str, option: str) -> None:
        super().__init__(f"this kernel has no {what} links")
        self.hint = f"it would need {option}; `netmodel doctor` shows what it has"


class MissingBridgeFeature(DriverError):
    """What an option asks of the kernel's bridges, and they cannot do.

    Args:
        what: After "the bridges of this kernel".
        needs: After "it would need".
    """

    kind = "missing_feature"

    def __init__(self, what: str, needs: str) -> None:
        super().__init__(f"the bridges of this kernel {what}")
        self.hint = f"it would need {needs}; `netmodel doctor` shows what it has"


class NoServer(DriverError):
    """A network on which no DHCP server could be reached."""

    kind = "invalid"

    def __init__(self, why: str, hint: str) -> None:
        super().__init__(f"no DHCP server could be reached: {why}", hint=hint)


class BridgeGone(DriverError):
    """The link that is a network, which nobody but us should delete."""

    kind = "unavailable"
    hint = "`netmodel engine stop`: the engine makes it anew when the next command starts it"

    def __init__(self, network: str, link: str) -> None:
        super().__init__(f"bridge {link} of network {network} is gone: something else has deleted it")


class NetworkFull(DriverError):
    """A network with as many endpoints as it can have.

    Args:
        most: 1,023 is the kernel's limit of ports on one bridge.
    """

    kind = "unavailable"
    hint = "spread the containers over several networks"

    def __init__(self, network: str, most: int = 1023) -> None:
        why = "the kernel allows 1,023 ports on one bridge" if most == 1023 else f"it has {most} endpoints at most"
        super().__init__(f"network {network} is full: {why}")


class PortInUse(DriverError):
    """A host port that another process, or another container, holds.

    Args:
        port: As a user writes it: "0.0.0.0:80/tcp".
        holder: Who holds it ("nginx, pid 812"), or "" where it cannot be known.
        endpoint: Id of the endpoint it is published for, where it is one of ours.
    """

    kind = "conflict"

    def __init__(self, port: str, holder: str = "", endpoint: str = "") -> None:
        super().__init__(f"host port {port} is in use" + (f" by {holder}" if holder else ""))
        self.hint = "publish another host port" + (", or stop what holds this one" if holder else "")
        self.port, self.holder, self.endpoint = port, holder, endpoint


class TooManyPorts(DriverError):
    """More ports at once than the engine can hold: each takes one of its descriptors.

    Args:
        free: How many more it could hold.
        limit: Of descriptors, as setrlimit(2) has it.
    """

    kind = "unavailable"
    hint = "publish fewer, or raise the engine's limit of open files (ulimit -n, LimitNOFILE=)"

    def __init__(self, wanted: int, free: int, limit: int) -> None:
        super().__init__(f"cannot hold {wanted} host ports: the engine may open {limit} files, and has {free} left")


class CannotPublish(DriverError):
    """A port binding that no rule of the kernel can serve."""

    kind = "invalid"
