"""Reading JSON that a client sent: unknown keys are tolerated as Docker does, wrong types are not."""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from typing import Any, TypeVar

import msgspec
from msgspec import inspect

from netmodel.errors import Invalid
from netmodel.model import IPAddress, IPNetwork

T = TypeVar("T")


class Body(msgspec.Struct, rename="pascal"):
    """Base of what Docker's clients send; keys are CamelCase, and null is the same as absent."""


def decode(kind: type[T], data: bytes) -> T:
    """Decode a request's body; an empty one is an empty object.

    Raises:
        Invalid: It is not JSON, or a value has the wrong type; says which.
    """
    data = data or b"{}"
    try:
        try:
            return msgspec.json.decode(data, type=kind)
        except msgspec.ValidationError:  # rare, so that what is right is read but once
            return msgspec.convert(_without_nulls(msgspec.json.decode(data), inspect.type_info(kind)), kind)
    except msgspec.DecodeError as error:
        raise Invalid(f"the request's body is wrong: {error}") from error


def _without_nulls(value: Any, kind: inspect.Type) -> Any:
    """Leave out the fields that are null, which says nothing in Go; an entry of a mapping counts by its key."""
    for one in kind.types if isinstance(kind, inspect.UnionType) else (kind,):
        if isinstance(value, dict) and isinstance(one, inspect.StructType):
            fields = {field.encode_name: field.type for field in one.fields}
            return {
                name: _without_nulls(each, fields[name])
                for name, each in value.items()
                if name in fields and each is not None
            }
        if isinstance(value, dict) and isinstance(one, inspect.DictType):
            return {name: _without_nulls(each, one.value_type) for name, each in value.items()}
        if isinstance(value, list) and isinstance(one, inspect.ListType):
            return [_without_nulls(each, one.item_type) for each in value]
    return value


def refuse(unsupported: Sequence[tuple[str, object]]) -> None:
    """Refuse the first value that is set and that we could not honour.

    Raises:
        Invalid: Names it.
    """
    for name, value in unsupported:
        if value:
            raise Invalid(f"{name} is not supported", "leave it out")


def address(text: str, what: str) -> IPAddress:
    try:
        return ip_address(text)
    except ValueError as error:
        raise Invalid(f"{what}: {text!r} is not an address") from error


def ipv4(text: str | None, what: str) -> IPv4Address | None:
    if not text:
        return None
    value = address(text, what)
    if not isinstance(value, IPv4Address):
        raise Invalid(f"{what}: {text!r} is not an IPv4 address")
    return value


def ipv6(text: str | None, what: str) -> IPv6Address | None:
    if not text:
        return None
    value = address(text, what)
    if not isinstance(value, IPv6Address):
        raise Invalid(f"{what}: {text!r} is not an IPv6 address")
    return value


def network(text: str, what: str) -> IPNetwork:
    """Parse a subnet in CIDR notation.

    Raises:
        Invalid: It is none, or has bits set to the right of its prefix; says which subnet was meant.
    """
    try:
        return ip_network(text)
    except ValueError as error:
        try:
            meant = ip_network(text, strict=False)
        except ValueError:
            raise Invalid(f"{what}: {text!r} is not a subnet in CIDR notation") from error
        raise Invalid(f"{what}: {text!r} has host bits set", f"write {meant}") from error
