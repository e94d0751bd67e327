"""What one sandbox may know: its networks, names that it alone has, and whether there is a world outside."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Alias:
    """A name that one sandbox alone knows: on a network, instead of it, another one is looked up.

    Args:
        network_name: Makes ALIAS.NETWORK another way to say it.
    """

    network_id: str
    alias: str
    network_name: str
    target: str

    def means(self, name: str) -> bool:
        """Say whether it is meant by a name, in any case."""
        return name.lower() in (self.alias.lower(), f"{self.alias}.{self.network_name}".lower())


@dataclass(frozen=True, slots=True)
class View:
    """What a sandbox sees: the networks it is on, in order, and whether there is a world outside.

    Args:
        forward_single_labels: Names without a dot may be the world's, too.
    """

    networks: tuple[str, ...]
    forward: bool
    forward_single_labels: bool = True
    aliases: tuple[Alias, ...] = ()

    def meant(self, name: str) -> tuple[Sequence[str], str]:
        """On which networks to look up a name, and as what."""
        for one in self.aliases:
            if one.means(name):
                return (one.network_id,), one.target
        return self.networks, name
