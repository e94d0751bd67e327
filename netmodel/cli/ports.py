"""-p and --expose as the API wants them: [[ADDRESS:]HOST[-LAST]:]CONTAINER[-LAST][/PROTOCOL]."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

import click

_PUBLISH = re.compile(
    r"(?:(?:(?P<ip>\[[0-9a-fA-F:.%]+\]|[^:\[\]]*):)?(?P<host>[\d-]*):)?(?P<container>[\d-]+)(?:/(?P<protocol>\w+))?"
)


def port_maps(publish: Iterable[str], expose: Iterable[str]) -> tuple[dict[str, Any], dict[str, Any]]:
    """ExposedPorts and PortBindings."""
    exposed: dict[str, Any] = {}
    bindings: dict[str, list[dict[str, str]]] = {}
    for text in publish:
        found = _PUBLISH.fullmatch(text)
        if not found:
            raise _wrong(text)
        protocol = found["protocol"] or "tcp"
        first, last = _range(found["container"], text)
        for offset, host in enumerate(_host_ports(found["host"] or "", last - first + 1, text)):
            key = f"{first + offset}/{protocol}"
            exposed[key] = {}
            bindings.setdefault(key, []).append({"HostIp": (found["ip"] or "").strip("[]"), "HostPort": host})
    for text in expose:
        ports, _, protocol = text.partition("/")
        first, last = _range(ports, text)
        exposed.update({f"{port}/{protocol or 'tcp'}": {} for port in range(first, last + 1)})
    return exposed, bindings


def _host_ports(text: str, count: int, whole: str) -> list[str]:
    """One for each container port; a range for a single one lets the engine choose from it."""
    if not text or text == "0":  # any will do
        return [""] * count
    first, last = _range(text, whole)
    if count == 1:
        return [text]
    if last - first + 1 != count:
        raise click.UsageError(f"port {whole!r}: the two ranges differ in length")
    return [str(port) for port in range(first, last + 1)]


def _range(text: str, whole: str) -> tuple[int, int]:
    first, dash, last = text.partition("-")
    if not first.isdigit() or (dash and not last.isdigit()):
        raise _wrong(whole)
    start, end = int(first), int(last or first)
    if not 0 < start <= end <= 65535:
        raise click.UsageError(f"port {whole!r}: {text} is outside 1 to 65535")
    return start, end


def _wrong(text: str) -> click.UsageError:
    return click.UsageError(f"port {text!r} is not of the form [[ADDRESS:]HOST:]CONTAINER[/udp]")


def ranges(numbers: Iterable[int]) -> str:
    """Ports in a few words: "80,8000-8999"."""
    runs: list[list[int]] = []
    for number in sorted(numbers):
        if runs and number == runs[-1][1] + 1:
            runs[-1][1] = number
        else:
            runs.append([number, number])
    return ",".join(str(first) if first == last else f"{first}-{last}" for first, last in runs)
