"""Our values as JSON and back: the store's and the wire's one format for frozen dataclasses.

Addresses are strings, times RFC 3339, fields that hold their default may be left out. Encoding is
msgspec's; decoding is our own, because msgspec refuses unions of two foreign types and our
IPAddress is IPv4Address | IPv6Address.
"""

from __future__ import annotations

import dataclasses
import functools
import ipaddress
import types
import typing
from collections.abc import Callable, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any, TypeVar

import msgspec

T = TypeVar("T")
Decoder = Callable[[Any], Any]

_PARSERS: dict[frozenset[type], Decoder] = {
    frozenset({ipaddress.IPv4Address, ipaddress.IPv6Address}): ipaddress.ip_address,
    frozenset({ipaddress.IPv4Interface, ipaddress.IPv6Interface}): ipaddress.ip_interface,
    frozenset({ipaddress.IPv4Network, ipaddress.IPv6Network}): ipaddress.ip_network,
}
_SIMPLE: dict[type, Decoder] = {
    datetime: datetime.fromisoformat,
    Path: Path,
    ipaddress.IPv4Address: ipaddress.IPv4Address,
    ipaddress.IPv6Address: ipaddress.IPv6Address,
    ipaddress.IPv4Interface: ipaddress.IPv4Interface,
    ipaddress.IPv6Interface: ipaddress.IPv6Interface,
    ipaddress.IPv4Network: ipaddress.IPv4Network,
    ipaddress.IPv6Network: ipaddress.IPv6Network,
}


class BadJson(ValueError):
    """The JSON does not fit the value it should become; says where."""

    kind = "invalid"
    hint = ""


def dumps(value: object) -> bytes:
    """Encode a dataclass, or a container of them, as JSON."""
    return _ENCODER.encode(value)


def loads(kind: type[T], data: bytes | str) -> T:
    """Decode JSON into the dataclass it was made from.

    Raises:
        BadJson: It is not JSON, or a field is missing, unknown or of the wrong type.
    """
    try:
        plain = msgspec.json.decode(data)
    except msgspec.DecodeError as error:
        raise BadJson(f"not JSON: {error}") from error
    return from_plain(kind, plain)


def from_plain(kind: type[T], plain: object) -> T:
    """Build a dataclass out of dicts, lists and strings, as loads() does."""
    return typing.cast(T, _decoder(typing.cast(Any, kind))(plain))


def _foreign(value: object) -> object:
    if isinstance(value, Mapping):
        return dict(value)
    return str(value)  # addresses and paths


_ENCODER = msgspec.json.Encoder(enc_hook=_foreign)


@functools.cache
def _decoder(hint: Any) -> Decoder:
    """The function that decodes one type; built once, so that reading a large store is quick."""
    if dataclasses.is_dataclass(hint):
        return _dataclass_decoder(typing.cast(type, hint))
    if hint in _SIMPLE:
        return _guarded(_SIMPLE[hint], hint)
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is typing.Union or origin is types.UnionType:
        return _union_decoder(arguments)
    if origin is typing.Literal:
        return _literal_decoder(arguments)
    if origin is tuple:
        element = _decoder(arguments[0])
        return lambda plain: tuple(map(element, _expect(list, plain)))
    if origin is not None and isinstance(origin, type) and issubclass(origin, Mapping):
        value = _decoder(arguments[1])
        return lambda plain: {key: value(item) for key, item in _expect(dict, plain).items()}
    if hint is float:
        return lambda plain: float(_expect((int, float), plain))
    if hint in (str, int, bool):
        return lambda plain: _expect(hint, plain)
    if hint is Any or hint is object:
        return lambda plain: plain
    raise TypeError(f"no decoder for {hint!r}")


def _dataclass_decoder(kind: type) -> Decoder:
    hints = typing.get_type_hints(kind)
    # Built on first use of the field: types may refer to each other.
    fields = {field.name: hints[field.name] for field in dataclasses.fields(kind)}
    decoders: dict[str, Decoder] = {}

    def decode(plain: Any) -> Any:
        values = {}
        for name, item in _expect(dict, plain).items():
            decoder = decoders.get(name)
            if decoder is None:
                if name not in fields:
                    raise BadJson(f"{kind.__name__} has no field {name!r}")
                decoder = decoders[name] = _decoder(fields[name])
            try:
                values[name] = decoder(item)
            except BadJson as error:
                raise BadJson(f"{name}: {error}") from error
        try:
            return kind(**values)
        except TypeError as error:
            raise BadJson(f"{kind.__name__}: {error}") from error

    return decode


def _union_decoder(arguments: tuple[Any, ...]) -> Decoder:
    some = tuple(argument for argument in arguments if argument is not types.NoneType)
    parser = _PARSERS.get(frozenset(some)) if len(some) > 1 else None
    inner = _guarded(parser, some) if parser is not None else _decoder(some[0])
    if len(some) == len(arguments):
        return inner
    return lambda plain: None if plain is None else inner(plain)


def _literal_decoder(choices: tuple[Any, ...]) -> Decoder:
    def decode(plain: Any) -> Any:
        if plain not in choices:
            raise BadJson(f"{plain!r} is none of {', '.join(map(repr, choices))}")
        return plain

    return decode


def _guarded(parse: Decoder, what: object) -> Decoder:
    def decode(plain: Any) -> Any:
        try:
            return parse(_expect(str, plain))
        except BadJson:
            raise
        except ValueError as error:
            raise BadJson(str(error)) from error

    return decode


def _expect(kind: Any, plain: Any) -> Any:
    if not isinstance(plain, kind) or (isinstance(plain, bool) and kind is not bool):
        wanted = kind.__name__ if isinstance(kind, type) else "number"
        raise BadJson(f"expected {wanted}, got {plain!r}")
    return plain
