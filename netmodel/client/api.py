"""The engine's API as Python calls: JSON in, JSON out, streams as iterators."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Iterator
from typing import Any

from netmodel import __version__
from netmodel.client import http
from netmodel.client.address import DEFAULT_HOST, DEFAULT_ROOT, connect, socket_path
from netmodel.client.errors import ApiError, EngineUnavailable, NotRoot

# How long the engine may think before it is asked whether it still is there, and how long it may take to say so.
_PATIENCE_S = 10.0
_PING_S = 10.0

Parameter = str | int | bool | dict[str, list[str]] | None


class Client:
    """An engine, reached over its socket.

    Args:
        host: Path of the socket; "" is $NETMODEL_HOST or the usual place.
        root: State root the engine must have; "" is $NETMODEL_ROOT, or any (the usual one for a new engine).
        start: Start an engine when none answers.
    """

    def __init__(self, host: str = "", root: str = "", *, start: bool = True) -> None:
        self.host = socket_path(host or os.environ.get("NETMODEL_HOST") or DEFAULT_HOST)
        asked = root or os.environ.get("NETMODEL_ROOT") or ""
        self.root = os.path.realpath(asked or DEFAULT_ROOT)
        self._headers = {"Netmodel-Client": __version__}
        if asked:
            # The engine refuses a request meant for another root: two roots must not be mixed up silently.
            self._headers["Netmodel-Root"] = http.quote(self.root, b"/")
        self._start = start

    def get(self, path: str, **parameters: Parameter) -> Any:
        return self._whole("GET", path, None, parameters)

    def post(self, path: str, body: Any = None, **parameters: Parameter) -> Any:
        return self._whole("POST", path, body, parameters)

    def delete(self, path: str, **parameters: Parameter) -> Any:
        return self._whole("DELETE", path, None, parameters)

    def stream(
        self, method: str, path: str, body: Any = None, headers: dict[str, str] | None = None, **parameters: Parameter
    ) -> Iterator[Any]:
        """Yield one JSON value a line, each as soon as it arrives."""
        with self._send(method, path, body, parameters, headers or {}) as response:
            for line in response.lines():
                if line.strip():
                    yield json.loads(line)

    def open(self, method: str, path: str, body: Any = None, **parameters: Parameter) -> http.Response:
        """Send a request; the body of the answer is the caller's to read, and the response to close.

        Raises:
            ApiError: The engine refused.
            EngineUnavailable: There is none, or it is not one of ours.
        """
        return self._send(method, path, body, parameters, {})

    def hijack(self, path: str, body: Any = None, **parameters: Parameter) -> tuple[socket.socket, bytes]:
        """POST, then turn the connection into a raw two-way stream; the second value arrived already."""
        upgrade = {"Connection": "Upgrade", "Upgrade": "tcp"}
        return self._send("POST", path, body, parameters, upgrade).hijack()

    def _whole(self, method: str, path: str, body: Any, parameters: dict[str, Parameter]) -> Any:
        text = self._send(method, path, body, parameters, {"Connection": "close"}).read()
        return json.loads(text) if text.strip() else None

    def _send(
        self, method: str, path: str, body: Any, parameters: dict[str, Parameter], headers: dict[str, str]
    ) -> http.Response:
        ready = body is None or isinstance(body, bytes) or hasattr(body, "read")
        encoded = body if ready else json.dumps(body).encode()
        target = http.target(http.quote(path, b"/"), _query(parameters))
        connection = self._connect()
        try:
            patience = _PATIENCE_S, self._ping
            response = http.send(connection, method, target, {**self._headers, **headers}, encoded, patience)
            self._check(response)
        except ConnectionError as error:
            connection.close()
            raise EngineUnavailable(f"the engine at {self.host} went away: {error.strerror}") from error
        except BaseException:
            connection.close()
            raise
        return response

    def _connect(self) -> socket.socket:
        if os.geteuid() != 0:
            raise NotRoot
        try:
            return connect(self.host)
        except (FileNotFoundError, NotADirectoryError, ConnectionRefusedError) as error:
            if not self._start:
                raise EngineUnavailable(
                    f"no engine is running at {self.host}", "start one with: netmodel engine start"
                ) from error
        except OSError as error:
            raise EngineUnavailable(f"cannot reach an engine at {self.host}: {error.strerror}") from error
        from netmodel.client.start import start_engine  # rarely needed, and not free to import

        start_engine(self.root, self.host)
        return connect(self.host)

    def _ping(self) -> None:
        """Make sure that somebody is at work there: an answer may take its time, an engine that hangs takes for ever.

        Raises:
            EngineUnavailable: It takes connections, and answers none.
        """
        try:
            connection = connect(self.host)
        except OSError:
            return  # nobody new is let in any more, but what was asked before may still be answered
        with connection:
            connection.settimeout(_PING_S)
            try:
                http.send(connection, "GET", "/_ping", self._headers, None)
            except TimeoutError:
                raise EngineUnavailable(
                    f"what listens at {self.host} takes requests, but answers none",
                    "if it is an engine that hangs, end its process and try again: containers run on",
                ) from None

    def _check(self, response: http.Response) -> None:
        if "netmodel-version" not in response.headers:
            raise EngineUnavailable(
                f"what listens at {self.host} is not a netmodel engine", "choose another socket with --host"
            )
        if response.status < 400:
            return
        text = response.read()
        try:
            answer = json.loads(text)
            message, hint, code = answer["message"], answer.get("hint", ""), answer.get("start_code", 0)
        except (ValueError, KeyError, TypeError):
            message, hint, code = text.decode(errors="replace") or f"HTTP status {response.status}", "", 0
        raise ApiError(response.status, message, hint, code)


def _query(parameters: dict[str, Parameter]) -> dict[str, str]:
    return {
        name.rstrip("_"): json.dumps(value) if isinstance(value, dict) else str(int(value) if value is True else value)
        for name, value in parameters.items()
        if value not in (None, False, "", {})
    }
