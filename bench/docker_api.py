"""The Docker Engine API, as much of it as is measured: the same requests to dockerd and to netmodel."""

from __future__ import annotations

import http.client
import json
import socket
from collections.abc import Sequence
from pathlib import Path
from typing import Any


class Refused(Exception):
    """The engine answered with an error."""


class _Connection(http.client.HTTPConnection):
    def __init__(self, path: Path) -> None:
        super().__init__("localhost", timeout=120)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.connect(str(self._path))


class DockerApi:
    """One kept connection, as a client library has."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._kept = _Connection(path)

    def answers(self) -> bool:
        try:
            self._ask(_Connection(self._path), "GET", "/_ping")
        except (OSError, Refused):
            return False
        return True

    def run(self, name: str, image: str, ports: Sequence[int] = (), **host: object) -> str:
        """Create and start a container that sleeps, on the default bridge, ports published as themselves.

        Args:
            host: More of HostConfig, in Docker's words.
        """
        exposed: dict[str, object] = {f"{port}/tcp": {} for port in ports}
        bindings = {f"{port}/tcp": [{"HostPort": str(port)}] for port in ports}
        body = {
            "Image": image,
            "Cmd": ["/bin/sleep", "100000"],
            "ExposedPorts": exposed,
            "HostConfig": {"PortBindings": bindings, **host},
        }
        container: str = self.ask("POST", f"/containers/create?name={name}", body)["Id"]
        self.ask("POST", f"/containers/{container}/start")
        return container

    def remove(self, container: str) -> None:
        self.ask("DELETE", f"/containers/{container}?force=1")

    def exec_true(self, container: str) -> None:
        """Run true and wait for its end."""
        made = self.ask("POST", f"/containers/{container}/exec", {"Cmd": ["/bin/true"], "AttachStdout": True})
        # The answer's end is the program's; it ends with the connection.
        connection = _Connection(self._path)
        self._ask(connection, "POST", f"/exec/{made['Id']}/start", {"Detach": False, "Tty": False}, raw=True)
        connection.close()
        code = self.ask("GET", f"/exec/{made['Id']}/json")["ExitCode"]
        if code != 0:
            raise Refused(f"exec true exited with {code}")

    def create_network(self, name: str) -> str:
        network: str = self.ask("POST", "/networks/create", {"Name": name, "Driver": "bridge"})["Id"]
        return network

    def remove_network(self, network: str) -> None:
        self.ask("DELETE", f"/networks/{network}")

    def connect(self, network: str, container: str) -> None:
        self.ask("POST", f"/networks/{network}/connect", {"Container": container})

    def disconnect(self, network: str, container: str) -> None:
        self.ask("POST", f"/networks/{network}/disconnect", {"Container": container})

    def ask(self, method: str, path: str, body: object = None) -> Any:
        return self._ask(self._kept, method, path, body)

    def ask_lines(self, method: str, path: str, body: object = None) -> list[Any]:
        """For answers that are an object a line."""
        data = self._ask(self._kept, method, path, body, raw=True)
        return [json.loads(line) for line in data.splitlines() if line.strip()]

    def _ask(self, connection: _Connection, method: str, path: str, body: object = None, *, raw: bool = False) -> Any:
        encoded = b"" if body is None else json.dumps(body).encode()
        connection.request(method, path, encoded, {"Content-Type": "application/json"})
        response = connection.getresponse()
        data = response.read()
        if response.status >= 400:
            raise Refused(f"{method} {path}: {response.status} {data.decode(errors='replace')[:200]}")
        if raw or not data.strip().startswith((b"{", b"[")):
            return data
        return json.loads(data)
