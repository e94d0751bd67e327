"""Names and ids: which are allowed, and ones made up for containers that got none."""

from __future__ import annotations

import random
import re
import secrets
from collections.abc import Container as Membership

from netmodel.errors import Invalid

_NAME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]*")

# Adjectives of weather and wire, nouns of things that connect.
_ADJECTIVE_LIST = (
    "agile amber ample arctic balmy blithe bold brisk calm candid cheery clear clever cosy crisp curious dapper deft "
    "eager early earnest fair fleet fluent frank fresh gentle glad golden handy hardy humble jolly keen kind lively "
    "lucid lunar mellow merry mild misty neat nimble noble patient placid polite prime proud quick quiet ready robust "
    "rosy silent silver smooth snowy solar sound spry steady still stout sturdy sunny swift tidal tidy tranquil true "
    "upbeat vivid warm windy witty"
)
_NOUN_LIST = (
    "anchor aqueduct arcade arch atlas avenue axle bay beacon bridge buoy cable canal cape cart causeway compass "
    "corridor courier crossing delta dial dock dune estuary fathom ferry ford gantry gate glade grove harbour haven "
    "hinge inlet isthmus jetty junction kite knot lantern ledge lever lighthouse link lock loom mast meadow mill "
    "mooring oasis orbit pass path pier portal pulley quay rail relay ridge rigging river rudder sail signal spire "
    "splice spool strait thread tower trail trellis tunnel valley viaduct weir wharf"
)
_ADJECTIVES, _NOUNS = _ADJECTIVE_LIST.split(), _NOUN_LIST.split()


def new_id() -> str:
    """64 hexadecimal digits that nobody else will draw."""
    return secrets.token_hex(32)


def check_name(kind: str, name: str) -> str:
    """Return the name, without Docker's leading slash.

    Raises:
        Invalid: It has a character that names may not have.
    """
    name = name.removeprefix("/")
    if not _NAME.fullmatch(name):
        raise Invalid(
            f"{kind} name {name!r} is not allowed",
            "begin with a letter or digit; then letters, digits, '_', '.' and '-'",
        )
    return name


def made_up_name(taken: Membership[str]) -> str:
    """A name that is easy to say and not taken, such as brisk_lantern."""
    for attempt in range(100):
        name = f"{random.choice(_ADJECTIVES)}_{random.choice(_NOUNS)}"
        if attempt > 5:
            name += str(random.randrange(10 ** min(attempt // 5, 9)))
        if name not in taken:
            return name
    return f"container_{new_id()[:12]}"
