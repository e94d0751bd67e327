"""What can go wrong between a client and the engine."""

from __future__ import annotations


class ClientError(Exception):
    """Anything a user should read as one sentence and perhaps a way out.

    Args:
        hint: The way out, or "".
    """

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message, self.hint = message, hint

    @property
    def exit_code(self) -> int:
        """2: the request was wrong; 1: it failed."""
        return 1


class ApiError(ClientError):
    """The engine answered, and said no.

    Args:
        status: Of the HTTP answer.
        start_code: What a shell would report for a program that cannot be started (126, 127), else 0.
    """

    def __init__(self, status: int, message: str, hint: str = "", start_code: int = 0) -> None:
        super().__init__(message, hint)
        self.status, self.start_code = status, start_code

    @property
    def exit_code(self) -> int:
        # A program that is missing may be the image's mistake as well as the request's.
        return 2 if self.status == 400 and self.start_code not in (126, 127) else 1


class EngineUnavailable(ClientError):
    """Nothing answers at the socket, or what answers is not an engine of ours."""


class NotRoot(ClientError):
    """Namespaces, links and mounts are made by root alone."""

    def __init__(self) -> None:
        super().__init__(
            "netmodel must run as root: it makes namespaces, links, mounts and firewall rules",
            "run the same command with sudo",
        )
