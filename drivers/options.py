"""Reading a driver's options, which arrive as text under Docker's keys."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Mapping
from ipaddress import IPv4Address, IPv6Address, ip_address

from drivers.errors import InvalidOption

_WORDS = {"1": True, "t": True, "true": True, "0": False, "f": False, "false": False}


def refuse_unknown(driver: str, options: Mapping[str, str], known: Collection[str]) -> None:
    """Raise InvalidOption for the first option that is not known, with what may have been meant."""
    for key in options:
        if key in known:
            continue
        close = difflib.get_close_matches(key, known, n=1, cutoff=0.6) or [
            one for one in known if one.rpartition(".")[2] == key.rpartition(".")[2]
        ]
        hint = f"did you mean {close[0]}?" if close else _list(driver, known)
        raise InvalidOption(f"driver {driver} knows no option {key}", hint=hint)


def flag(options: Mapping[str, str], key: str, default: bool) -> bool:
    text = options.get(key)
    if text is None:
        return default
    value = _WORDS.get(text.lower())
    if value is None:
        raise InvalidOption(f"option {key}: {text!r} is neither true nor false")
    return value


def number(options: Mapping[str, str], key: str, default: int, low: int, high: int) -> int:
    text = options.get(key)
    if text is None:
        return default
    if not text.isascii() or not text.isdigit() or not low <= int(text) <= high:
        raise InvalidOption(f"option {key}: {text!r} is not a number from {low} to {high}")
    return int(text)


def address(options: Mapping[str, str], key: str, version: int = 0) -> IPv4Address | IPv6Address | None:
    """An IP address; of the version, where one is given."""
    text = options.get(key)
    if text is None:
        return None
    try:
        found = ip_address(text)
    except ValueError:
        found = None
    if found is None or version not in (0, found.version):
        raise InvalidOption(f"option {key}: {text!r} is not an IP{f'v{version}' if version else ''} address")
    return found


def ipv4(options: Mapping[str, str], key: str) -> IPv4Address | None:
    found = address(options, key, 4)
    assert not isinstance(found, IPv6Address)
    return found


def ipv6(options: Mapping[str, str], key: str) -> IPv6Address | None:
    found = address(options, key, 6)
    assert not isinstance(found, IPv4Address)
    return found


def choice(options: Mapping[str, str], key: str, default: str, choices: Collection[str]) -> str:
    text = options.get(key, default)
    if text not in choices:
        close = difflib.get_close_matches(text, choices, n=1)
        hint = f"did you mean {close[0]}?" if close else ""
        raise InvalidOption(f"option {key}: {text!r} is none of {', '.join(choices)}", hint=hint)
    return text


def mask(options: Mapping[str, str], key: str, forbidden: int, limit: int = 0xFFFF) -> int:
    """A set of bits, in decimal or with 0x in hexadecimal."""
    text = options.get(key, "0")
    try:
        found = int(text, 16 if text.lower().startswith("0x") else 10)
    except ValueError:
        found = -1
    if not 0 <= found <= limit or found & forbidden:
        allowed = f"0 to {limit:#x}" + (f", without the bits {forbidden:#x}" if forbidden else "")
        raise InvalidOption(f"option {key}: {text!r} is not a mask of {allowed}")
    return found


def ranges(options: Mapping[str, str], key: str, low: int, high: int) -> tuple[tuple[int, int], ...]:
    """Numbers and ranges of them, like "20,30-40", each as its first and last."""
    found = []
    for part in options[key].split(",") if key in options else ():
        first, dash, last = part.strip().partition("-")
        numbers = [int(one) if one.isascii() and one.isdigit() else 0 for one in (first, last if dash else first)]
        if not low <= numbers[0] <= numbers[1] <= high:
            raise InvalidOption(
                f"option {key}: {part!r} is neither a number from {low} to {high} nor a range of such",
                hint="write it like 20,30-40",
            )
        found.append((numbers[0], numbers[1]))
    return tuple(found)


def link_names(options: Mapping[str, str], key: str, separator: str) -> tuple[str, ...]:
    """Names of links in one text."""
    text = options.get(key, "")
    names = [name for name in text.split(separator) if name]
    return tuple(link_name({key: name}, key, "") for name in dict.fromkeys(names))


def link_name(options: Mapping[str, str], key: str, default: str, limit: int = 15) -> str:
    """A name the kernel takes for a link (net/core/dev.c, dev_valid_name())."""
    text = options.get(key)
    if text is None:
        return default
    odd = not text or text in (".", "..") or any(c in "/:" or c.isspace() for c in text)
    if odd or len(text.encode()) > limit:
        raise InvalidOption(
            f"option {key}: {text!r} is no name for a link", hint=f"1 to {limit} bytes, without space, / or :"
        )
    return text


def _list(driver: str, known: Collection[str]) -> str:
    return "it knows " + ", ".join(sorted(known)) if known else f"driver {driver} has no options"
