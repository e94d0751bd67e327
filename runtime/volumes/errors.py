"""What volumes refuse."""

from __future__ import annotations

from runtime.errors import RuntimeFault


class InvalidVolumeName(RuntimeFault):
    """A name that cannot be given to a volume."""

    kind = "invalid"
    hint = "begin with a letter or digit, then letters, digits, _ . and -"

    def __init__(self, name: str) -> None:
        super().__init__(f"a volume cannot be called {name!r}")


class InvalidVolumeOption(RuntimeFault):
    """An option that the local driver does not know, or a value it has no use for."""

    kind = "invalid"
    hint = (
        "the local driver takes type, device and o as mount(8) does: type=tmpfs with o=size=..., type=none with o=bind "
        "and device=/a/directory, type=nfs with device=:/export and o=addr=..."
    )

    def __init__(self, option: str, why: str, hint: str = "") -> None:
        super().__init__(f"volume option {option}: {why}", hint)


class VolumeExists(RuntimeFault):
    """There is one of that name with other options."""

    kind = "conflict"
    hint = "remove it first, or choose another name"

    def __init__(self, name: str) -> None:
        super().__init__(f"volume {name} exists with other options")


class VolumeNotFound(RuntimeFault):
    """No volume of that name."""

    kind = "not_found"

    def __init__(self, name: str) -> None:
        super().__init__(f"there is no volume {name}")


class VolumeUnusable(RuntimeFault):
    """The volume is declared, but what it is made of is not there."""

    kind = "unavailable"

    def __init__(self, name: str, why: str, hint: str = "", *, kind: str = "") -> None:
        super().__init__(f"volume {name} cannot be used: {why}", hint, kind=kind)
