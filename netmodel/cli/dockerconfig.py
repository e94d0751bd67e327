"""Docker's config.json, where names and passwords for registries are, and the programs it names that keep them.

Source: docs.docker.com, "docker login", credential stores; docker/docker-credential-helpers.
"""

from __future__ import annotations

import base64
import json
import os
import subprocess
from typing import Any

from netmodel.client import ClientError

Entry = dict[str, str]
_INDEX = "https://index.docker.io/v1/"  # as which docker.io is known to all who keep credentials
_OFFICIAL = (_INDEX, "index.docker.io", "docker.io", "registry-1.docker.io")
_NONE = "credentials not found"
_TOKEN = "<token>"
_LONGEST_S = 30


class DockerConfig:
    """Raises ClientError if the file is there and is wrong, or a program it names fails."""

    def __init__(self) -> None:
        directory = os.environ.get("DOCKER_CONFIG") or os.path.expanduser("~/.docker")
        self.path = os.path.join(directory, "config.json")
        self._value = self._read()

    def get(self, registry: str) -> Entry:
        """What is kept for a registry, in the words of Docker's API; {} if there is nothing."""
        helper = self._helper(registry)
        found = _ask(helper, registry) if helper else {}
        return found or self._from_file(registry)

    def put(self, registry: str, entry: Entry) -> str:
        """Keep it in place of what there was; returns where."""
        key = _key(registry)
        helper = self._helper(registry)
        auths = self._section("auths")
        if helper:
            username, secret = (entry.get(name, "") for name in ("username", "password"))
            if entry.get("identitytoken"):
                username, secret = _TOKEN, entry["identitytoken"]
            _run(helper, "store", json.dumps({"ServerURL": key, "Username": username, "Secret": secret}))
            auths[key] = {}  # so that who reads the file knows of it
        else:
            both = f"{entry.get('username', '')}:{entry.get('password', '')}"
            token = {"identitytoken": entry["identitytoken"]} if entry.get("identitytoken") else {}
            auths[key] = {"auth": base64.b64encode(both.encode()).decode(), **token}
        self._value["auths"] = auths
        self._write()
        return f"docker-credential-{helper}" if helper else self.path

    def forget(self, registry: str) -> bool:
        """Whether there was anything to forget."""
        helper, auths = self._helper(registry), self._section("auths")
        found = [key for key in auths if _is_of(key, registry)]
        known = bool(found)
        if helper:
            known = bool(_ask(helper, registry)) or known
            _run(helper, "erase", _key(registry))
        for key in found:
            del auths[key]
        if found:
            self._value["auths"] = auths
            self._write()
        return known

    # --- the file ---------------------------------------------------------------------------------

    def _read(self) -> dict[str, Any]:
        try:
            with open(self.path) as file:
                value = json.load(file)
        except FileNotFoundError:
            return {}
        except (OSError, ValueError) as error:
            raise ClientError(f"{self.path} cannot be used: {error}") from error
        if not isinstance(value, dict):
            raise ClientError(f"{self.path} cannot be used: it is no JSON object")
        return value

    def _section(self, name: str) -> dict[str, Any]:
        section = self._value.get(name) or {}
        if not isinstance(section, dict):
            raise ClientError(f"{self.path} cannot be used: {name} is no object")
        return section

    def _write(self) -> None:
        """Replace it in one step, readable by its owner alone."""
        directory = os.path.dirname(self.path)
        fresh = f"{self.path}.{os.getpid()}"
        try:
            os.makedirs(directory, 0o700, exist_ok=True)
            descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            with open(descriptor, "w") as file:
                json.dump(self._value, file, indent="\t")
            os.replace(fresh, self.path)
        except OSError as error:
            raise ClientError(f"{self.path} cannot be written: {error.strerror}") from error

    def _helper(self, registry: str) -> str:
        """The program that keeps a registry's credentials, by its name behind docker-credential-."""
        for key, name in self._section("credHelpers").items():
            if _is_of(key, registry):
                return str(name)
        return str(self._value.get("credsStore") or "")

    def _from_file(self, registry: str) -> Entry:
        for key, entry in self._section("auths").items():
            if isinstance(entry, dict) and _is_of(key, registry):
                return _entry(entry, registry)
        return {}


def _key(registry: str) -> str:
    return _INDEX if registry in _OFFICIAL else registry


def _is_of(key: str, registry: str) -> bool:
    """Whether a key of the file, with a scheme and a path or without, means this registry."""
    names = _OFFICIAL if registry in _OFFICIAL else (registry,)
    bare = key.removeprefix("https://").removeprefix("http://").partition("/")[0]
    return key in names or bare in names


def _entry(entry: dict[str, Any], registry: str) -> Entry:
    found: Entry = {}
    if entry.get("auth"):
        try:
            username, _, password = base64.b64decode(str(entry["auth"]), validate=True).decode().partition(":")
        except ValueError as error:
            raise ClientError(f"the credentials for {registry} in config.json are no base64") from error
        found |= {"username": username, "password": password.rstrip("\0")}
    for key in ("username", "password", "identitytoken", "registrytoken"):
        if entry.get(key):
            found[key] = str(entry[key])
    return found


# --- the programs ---------------------------------------------------------------------------------


def _ask(helper: str, registry: str) -> Entry:
    text = _run(helper, "get", _key(registry))
    if not text:
        return {}
    try:
        answer = json.loads(text)
        username, secret = str(answer["Username"]), str(answer["Secret"])
    except (ValueError, KeyError, TypeError) as error:
        raise ClientError(f"docker-credential-{helper} answers what nobody understands") from error
    if username == _TOKEN:
        return {"identitytoken": secret}
    return {"username": username, "password": secret}


def _run(helper: str, verb: str, text: str) -> str:
    """What it prints; "" if it has nothing."""
    program = f"docker-credential-{helper}"
    try:
        done = subprocess.run([program, verb], input=text, capture_output=True, text=True, timeout=_LONGEST_S)
    except FileNotFoundError as error:
        raise ClientError(
            f"{program} is not here, and config.json says that it keeps the credentials",
            f"install it, or take {helper} out of credsStore and credHelpers",
        ) from error
    except (OSError, subprocess.TimeoutExpired) as error:
        raise ClientError(f"{program} {verb} failed: {error}") from error
    if done.returncode == 0:
        return done.stdout
    words = (done.stdout + done.stderr).strip()
    if _NONE in words:
        return ""
    raise ClientError(f"{program} {verb} failed: {words or f'exit code {done.returncode}'}")
