"""The configuration of an image, as OCI and Docker write it: JSON from people we do not trust, read into values."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from runtime.images.errors import BadImage
from runtime.images.image import DEFAULT_PATH, Healthcheck, ImageConfig

# Go's names. Source: OCI image-spec image-index.md.
_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64", "armv7l": "arm", "i686": "386"}
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def architecture() -> str:
    """This machine's, by the name that images have for it."""
    machine = os.uname().machine
    return _ARCHITECTURES.get(machine, machine)


def parse(content: bytes, name: str) -> dict[str, Any]:
    """The JSON of a configuration, whose form is checked as far as we use it.

    Raises:
        BadImage.
    """
    try:
        value = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise BadImage(name, f"its configuration is no JSON ({error})") from error
    if not isinstance(value, dict):
        raise BadImage(name, "its configuration is no JSON object")
    diff_ids = (value.get("rootfs") or {}).get("diff_ids") if isinstance(value.get("rootfs") or {}, dict) else None
    if diff_ids is not None and not (isinstance(diff_ids, list) and all(isinstance(one, str) for one in diff_ids)):
        raise BadImage(name, "its configuration lists layers in a form that nobody knows")
    return value


def diff_ids(config: Mapping[str, Any]) -> tuple[str, ...]:
    """The digests of its layers without compression, the lowest first."""
    return tuple((config.get("rootfs") or {}).get("diff_ids") or ())


def created(config: Mapping[str, Any]) -> datetime:
    try:
        return moment(str(config.get("created") or ""))
    except ValueError:
        return _EPOCH


def moment(text: str) -> datetime:
    """RFC 3339 with up to nanoseconds; Python keeps microseconds."""
    head, dot, fraction = text.partition(".")
    digits = fraction[: len(fraction) - len(fraction.lstrip("0123456789"))]
    if dot:
        text = f"{head}.{digits[:6].ljust(6, '0')}{fraction[len(digits) :]}"
    found = datetime.fromisoformat(text)
    return found if found.tzinfo else found.replace(tzinfo=UTC)


def values(config: Mapping[str, Any], name: str) -> ImageConfig:
    """What a container of it does.

    Raises:
        BadImage: A value has a type it cannot have.
    """
    inner = config.get("config") or {}
    if not isinstance(inner, dict):
        raise BadImage(name, "its configuration is no JSON object")
    try:
        return ImageConfig(
            entrypoint=_texts(inner.get("Entrypoint")),
            cmd=_texts(inner.get("Cmd")),
            env=tuple(_pair(text) for text in _texts(inner.get("Env"))) or (("PATH", DEFAULT_PATH),),
            working_dir=_text(inner.get("WorkingDir")),
            user=_text(inner.get("User")),
            exposed_ports=tuple(sorted(_port(port) for port in _keys(inner.get("ExposedPorts")))),
            volumes=tuple(sorted(_keys(inner.get("Volumes")))),
            stop_signal=_text(inner.get("StopSignal")),
            labels=tuple(sorted((key, _text(value)) for key, value in _object(inner.get("Labels")).items())),
            healthcheck=_healthcheck(inner.get("Healthcheck")),
        )
    except TypeError as error:
        raise BadImage(name, f"its configuration has a value of the wrong type ({error})") from error


def plain(diff_id: str, comment: str, changes: Mapping[str, Any] | None = None) -> bytes:
    """The configuration of an image made of one archive.

    Args:
        changes: Members of its "config", as CMD and ENV.
    """
    now = datetime.now(UTC).isoformat().replace("+00:00", "Z")
    inner = {**empty(), **(changes or {})}
    return dumps(
        {
            "architecture": architecture(),
            "os": "linux",
            "created": now,
            "config": inner,
            "rootfs": {"type": "layers", "diff_ids": [diff_id]},
            "history": [{"created": now, "created_by": "netmodel import", "comment": comment}],
        }
    )


def empty() -> dict[str, Any]:
    """The "config" of an image of which nothing is known."""
    return {"Env": [f"PATH={DEFAULT_PATH}"], "Cmd": ["/bin/sh"]}


def dumps(value: Any) -> bytes:
    """JSON whose bytes depend on nothing but the value."""
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode("utf-8", "surrogatepass")


def _healthcheck(value: Any) -> Healthcheck | None:
    """Times are nanoseconds; 0 is left to whoever runs it."""
    wanted = _object(value)
    test = _texts(wanted.get("Test"))
    if not test:
        return None
    seconds = {key: _number(wanted.get(key)) / 1e9 for key in ("Interval", "Timeout", "StartPeriod", "StartInterval")}
    return Healthcheck(
        test=test,
        interval_s=seconds["Interval"],
        timeout_s=seconds["Timeout"],
        start_period_s=seconds["StartPeriod"],
        start_interval_s=seconds["StartInterval"],
        retries=int(_number(wanted.get("Retries"))),
    )


def _pair(text: str) -> tuple[str, str]:
    key, _, value = text.partition("=")
    return key, value


def _port(text: str) -> str:
    return text if "/" in text else f"{text}/tcp"


def _text(value: Any) -> str:
    if value is None:
        return ""
    if not isinstance(value, str):
        raise TypeError(repr(value)[:60])
    return value


def _number(value: Any) -> float:
    if value is None:
        return 0
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(repr(value)[:60])
    return value


def _texts(value: Any) -> tuple[str, ...]:
    if value is None:
        return ()
    if isinstance(value, str):  # of old, one text was a shell's command
        return ("/bin/sh", "-c", value)
    if not isinstance(value, Sequence) or not all(isinstance(one, str) for one in value):
        raise TypeError(repr(value)[:60])
    return tuple(value)


def _object(value: Any) -> Mapping[str, Any]:
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise TypeError(repr(value)[:60])
    return value


def _keys(value: Any) -> tuple[str, ...]:
    return tuple(_object(value))
