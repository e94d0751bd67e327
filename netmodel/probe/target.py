"""What exactly is probed: an expectation's target, turned into addresses for one source."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from ipaddress import ip_address

from netmodel.probe import names, sandbox
from netmodel.probe.probe import IPAddress
from netmodel.probe.view import HOST, Attachment, Node, View
from netmodel.project import Expectation


class NoAim(Exception):
    """There is nothing to probe; says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Aim:
    """One address to probe. node is whose it is, as far as we know."""

    address: IPAddress
    node: Node | None
    name: str

    def __str__(self) -> str:
        return self.name if self.name == str(self.address) else f"{self.name} ({self.address})"


async def aims(view: View, source: Node, expectation: Expectation) -> list[Aim]:
    """All that must hold: "->" takes one address of every replica, "-/>" every address that could be meant.

    An unnamed network is the first that source and target share. Where they share none, "->" takes
    the target's first address (of IPv4, if it has one) and "-/>" all of them. A family that is not
    named is IPv4 where there is a choice for "->", and both for "-/>": an open IPv6 door is a door.

    Raises:
        NoAim: The target is nobody, does not run, or has no such address.
    """
    found = view.named(expectation.target)
    if found:
        return [
            Aim(address=address, node=node, name=node.name)
            for node in found
            for address in addresses_of(view, source, node, expectation)
        ]
    with suppress(ValueError):
        address = ip_address(expectation.target)
        return [Aim(address=address, node=_owner(view, source, address), name=expectation.target)]
    try:
        addresses = await names.resolve(source.netns, expectation.target, expectation.family, expectation.within_s)
    except names.Unresolved as error:
        raise NoAim(str(error)) from error
    chosen = addresses[:1] if expectation.reachable else addresses
    return [Aim(address=address, node=_owner(view, source, address), name=expectation.target) for address in chosen]


def _owner(view: View, source: Node, address: IPAddress) -> Node | None:
    """Whose address it is; None is a stranger's, where we can neither watch nor place a listener."""
    if address.is_loopback:
        return source
    return view.owner(address) or (HOST if sandbox.has_address(HOST.netns, address) else None)


def addresses_of(view: View, source: Node, node: Node, expectation: Expectation) -> list[IPAddress]:
    """Where the source has to probe a node: one address for "->", all that count for "-/>".

    Raises:
        NoAim: It does not run or has no such address.
    """
    if not node.running:
        raise NoAim(f"{node.name} does not run ({node.state})")
    addresses = list(_candidates(view, source, node, expectation))
    if expectation.family:
        addresses = [address for address in addresses if address.version == expectation.family]
    if not addresses:
        family = f" IPv{expectation.family}" if expectation.family else ""
        where = f" on {expectation.network}" if expectation.network else ""
        towards = f" that {source.name} could use" if node.netns is None else ""
        raise NoAim(f"{node.name} has no{family} address{where}{towards}")
    return sorted(addresses, key=lambda address: address.version)[:1] if expectation.reachable else addresses


def _candidates(view: View, source: Node, node: Node, expectation: Expectation) -> Iterator[IPAddress]:
    if node.netns is None:
        yield from _of_host(view, source, expectation)
        return
    links = node.attachments
    if expectation.network:
        links = tuple(link for link in links if link.named(expectation.network))
    elif shared := first_shared(source, node):
        links = (shared,)
    for link in links:
        yield from (address.ip for address in link.addresses)
    if not node.attachments and source.netns == node.netns:
        yield ip_address("127.0.0.1")


def _of_host(view: View, source: Node, expectation: Expectation) -> Iterator[IPAddress]:
    """The host is probed at its address on the source's network; from itself, at its loopback."""
    if source.netns is None:
        yield from (ip_address("127.0.0.1"), ip_address("::1"))
        return
    for link in source.attachments:
        segment = view.segment(link)
        if segment and (not expectation.network or link.named(expectation.network)):
            yield from segment.gateways
            return


def first_shared(source: Node, target: Node) -> Attachment | None:
    """The target's link on the first of the source's networks that it is on, too."""
    for mine in source.attachments:
        for theirs in target.attachments:
            if mine.network == theirs.network:
                return theirs
    return None
