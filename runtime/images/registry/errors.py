"""What registries refuse, and what goes wrong on the way to them."""

from __future__ import annotations

from runtime.errors import RuntimeFault


class RegistryFailed(RuntimeFault):
    """It did not answer, or not as registries do.

    Args:
        again: Trying once more may help.
        after_s: How long it asked to be left alone.
    """

    kind = "unavailable"

    def __init__(self, host: str, why: str, hint: str = "", *, again: bool = False, after_s: float = 0) -> None:
        super().__init__(f"registry {host}: {why}", hint)
        self.again = again
        self.after_s = after_s


class NotInRegistry(RuntimeFault):
    """It has no such image, or does not show it to us."""

    kind = "not_found"

    def __init__(self, host: str, what: str) -> None:
        hint = "check the name and the tag; a private one needs credentials"
        super().__init__(f"registry {host} has no {what}", hint)


class NotAuthorized(RuntimeFault):
    """It wants to know who asks, or that one may not."""

    kind = "forbidden"

    def __init__(self, host: str, what: str, why: str = "") -> None:
        super().__init__(
            f"registry {host} does not let us {what}" + (f": {why}" if why else ""),
            f"name and password for {host} are given by: netmodel login {host}",
        )


class PlainRefused(RuntimeFault):
    """It would mean to speak in the clear."""

    kind = "forbidden"

    def __init__(self, host: str, why: str) -> None:
        super().__init__(
            f"registry {host} {why}",
            f'if that is meant, name it in registries.json of the engine\'s root: {{"insecure": ["{host}"]}}',
        )
