"""Security options in Docker's words: `--security-opt`, `security_opt`, `HostConfig.SecurityOpt`."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from netmodel.errors import Invalid

# Source: CDI's SPEC.md, "CDI kind" and "device name".
_CDI = re.compile(r"[A-Za-z][A-Za-z0-9._-]*/[A-Za-z][A-Za-z0-9._-]*=[A-Za-z0-9][A-Za-z0-9._:-]*")
_KNOWN = "no-new-privileges, seccomp=FILE or unconfined, apparmor=PROFILE or unconfined"


@dataclass(frozen=True, slots=True, kw_only=True)
class Security:
    """As ContainerConfig has it."""

    no_new_privileges: bool = False
    seccomp: str = ""
    apparmor: str = ""


def security_options(options: Iterable[str]) -> Security:
    """Read them; a seccomp profile is given as its text, which whoever has the file puts in its place.

    Raises:
        Invalid: One is not known.
    """
    no_new_privileges, seccomp, apparmor = False, "", ""
    for option in options:
        name, value = split_option(option)
        if name == "no-new-privileges" and value in ("", "true", "false"):
            no_new_privileges = value != "false"
        elif name == "seccomp" and value:
            seccomp = "" if value == "builtin" else value
        elif name == "apparmor" and value:
            apparmor = value
        elif option not in ("label=disable", "label:disable"):  # nobody gets an SELinux label here
            raise Invalid(f"security option {option!r} is not supported", f"there are: {_KNOWN}")
    return Security(no_new_privileges=no_new_privileges, seccomp=seccomp, apparmor=apparmor)


def split_option(option: str) -> tuple[str, str]:
    """Name and value; the older form has a colon between them."""
    for mark in ("=", ":"):
        name, found, value = option.partition(mark)
        if found and name in ("no-new-privileges", "seccomp", "apparmor", "label"):
            return name, value
    return option, ""


def is_cdi(device: str) -> bool:
    """Whether it is called as the Container Device Interface calls devices: "nvidia.com/gpu=all"."""
    return _CDI.fullmatch(device) is not None


def names_a_file(name: str, value: str) -> bool:
    """Whether the option's value is the path of a profile, rather than a word or the profile itself."""
    return name == "seccomp" and value not in ("", "builtin", "unconfined") and not value.lstrip().startswith("{")
