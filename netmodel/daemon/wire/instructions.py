"""Lines of a Dockerfile, as commit and import take them, into members of an image's configuration."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from netmodel.errors import Invalid

_KNOWN = "CMD, ENTRYPOINT, ENV, EXPOSE, HEALTHCHECK, LABEL, ONBUILD, STOPSIGNAL, USER, VOLUME and WORKDIR"
_PORT = re.compile(r"(\d{1,5})(?:-(\d{1,5}))?(?:/(tcp|udp|sctp))?")
_DURATION = re.compile(r"(\d+(?:\.\d+)?)(ns|us|ms|s|m|h)")
_NANOSECONDS = {"ns": 1, "us": 10**3, "ms": 10**6, "s": 10**9, "m": 60 * 10**9, "h": 3600 * 10**9}
_CHECK_TIMES = {
    "--interval": "Interval",
    "--timeout": "Timeout",
    "--start-period": "StartPeriod",
    "--start-interval": "StartInterval",
}


def changes(instructions: Sequence[str]) -> Mapping[str, Any]:
    """What the lines change.

    Raises:
        Invalid: A line is none of those we know, or says nothing that can be.
    """
    found: dict[str, Any] = {}
    for text in instructions:
        for instruction in filter(None, map(str.strip, text.split("\n"))):
            _change(found, instruction)
    return found


def _change(found: dict[str, Any], instruction: str) -> None:
    word, _, rest = instruction.partition(" ")
    rest = rest.strip()
    match word.upper():
        case "CMD" | "ENTRYPOINT":
            found[word.capitalize()] = _argv(rest)
        case "ENV" | "LABEL":
            pairs = dict(_pairs(rest, instruction))
            if word.upper() == "LABEL":
                found.setdefault("Labels", {}).update(pairs)
            else:
                found["Env"] = [*found.get("Env", []), *(f"{key}={value}" for key, value in pairs.items())]
        case "USER":
            found["User"] = rest
        case "WORKDIR":
            found["WorkingDir"] = rest if rest.startswith("/") else f"/{rest}"
        case "STOPSIGNAL":
            found["StopSignal"] = rest
        case "EXPOSE":
            ports = (port for text in rest.split() for port in _ports(text, instruction))
            found.setdefault("ExposedPorts", {}).update({port: {} for port in ports})
        case "VOLUME":
            paths = _argv(rest) if rest.startswith("[") else rest.split()
            found.setdefault("Volumes", {}).update({path: {} for path in paths})
        case "HEALTHCHECK":
            found["Healthcheck"] = _check(rest, instruction)
        case "ONBUILD":
            found["OnBuild"] = [*found.get("OnBuild", []), rest]
        case _:
            raise Invalid(f"change {instruction!r} is not known", f"there are {_KNOWN}")


def _argv(text: str) -> list[str]:
    if text.startswith("["):
        try:
            value = json.loads(text)
        except ValueError as error:
            raise Invalid(f"{text!r} is no list of words", 'write it as ["/bin/sh", "-c"]') from error
        return [str(word) for word in value]
    return ["/bin/sh", "-c", text] if text else []


def _pairs(text: str, instruction: str) -> Iterator[tuple[str, str]]:
    if "=" not in text.split(" ")[0]:  # of old: ENV NAME all the rest
        key, _, value = text.partition(" ")
        yield key, value
        return
    for word in shlex.split(text):
        key, equals, value = word.partition("=")
        if not equals:
            raise Invalid(f"{instruction!r} has {word!r}, which is no NAME=VALUE")
        yield key, value


def _ports(text: str, instruction: str) -> Iterator[str]:
    match = _PORT.fullmatch(text.lower())
    first = int(match[1]) if match else 0
    last = int(match[2] or match[1]) if match else 0
    if match is None or not 0 < first <= last < 65536:
        raise Invalid(f"{instruction!r}: {text!r} is no port", "80, 53/udp or 8000-8010/tcp")
    for port in range(first, last + 1):
        yield f"{port}/{match[3] or 'tcp'}"


def _check(text: str, instruction: str) -> dict[str, Any]:
    """[--interval=30s --retries=3 ...] CMD COMMAND, or NONE."""
    found: dict[str, Any] = {}
    while text.startswith("--"):
        option, _, text = text.partition(" ")
        name, _, value = option.partition("=")
        if name in _CHECK_TIMES and _DURATION.sub("", value) == "" != value:
            found[_CHECK_TIMES[name]] = round(
                sum(float(n) * _NANOSECONDS[unit] for n, unit in _DURATION.findall(value))
            )
        elif name == "--retries" and value.isdigit():
            found["Retries"] = int(value)
        else:
            options = ", ".join(f"{known}=30s" for known in _CHECK_TIMES)
            raise Invalid(f"{instruction!r}: {option!r} is no option of it", f"there are {options} and --retries=3")
        text = text.strip()
    word, _, rest = text.partition(" ")
    rest = rest.strip()
    if word.upper() == "NONE" and not rest and not found:
        return {"Test": ["NONE"]}
    if word.upper() != "CMD" or not rest:
        raise Invalid(f"{instruction!r} names no command", "HEALTHCHECK CMD COMMAND, or HEALTHCHECK NONE")
    test = ["CMD", *_argv(rest)] if rest.startswith("[") else ["CMD-SHELL", rest]
    return {"Test": test, **found}
