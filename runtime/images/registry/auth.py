"""Showing a registry who we are: basic, or by a token that another host gives for it.

Source: distribution/distribution docs/spec/auth (token, OAuth2); RFC 9110 section 11.
"""

from __future__ import annotations

import base64
import json
import re
import threading
import time
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode, urlsplit

from runtime.images.registry.errors import NotAuthorized, PlainRefused, RegistryFailed
from runtime.images.registry.transport import Transport

_PARAMETER = re.compile(r'([a-zA-Z_]+)\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s,]+))')
_LARGEST = 1 << 20
_MARGIN_S = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Credentials:
    """Args:
    identity_token: In place of a password, from a registry that gives such.
    registry_token: Sent as it is.
    """

    username: str = ""
    password: str = ""
    identity_token: str = ""
    registry_token: str = ""

    @property
    def basic(self) -> str:
        return "Basic " + base64.b64encode(f"{self.username}:{self.password}".encode()).decode()


@dataclass(frozen=True, slots=True)
class _Challenge:
    scheme: str
    parameters: dict[str, str]


class Authorizer:
    """What goes into the Authorization header, for one registry; several threads share it."""

    def __init__(self, transport: Transport, host: str, credentials: Credentials | None) -> None:
        self._transport = transport
        self._host = host
        self._credentials = credentials
        self._lock = threading.Lock()
        self._challenge: _Challenge | None = None
        self._tokens: dict[str, tuple[str, float]] = {}

    def header(self, scope: str) -> str:
        """What was found to do last time; "" before anybody asked who we are."""
        with self._lock:
            credentials = self._credentials
            if credentials is not None and credentials.registry_token:
                return f"Bearer {credentials.registry_token}"
            if self._challenge is None:
                return ""
            if self._challenge.scheme == "basic":
                return credentials.basic if credentials is not None else ""
            return f"Bearer {self._token(self._challenge, scope)}"

    def challenged(self, text: str, scope: str, what: str) -> None:
        """Learn from a 401 how to ask.

        Args:
            text: Its WWW-Authenticate.
            what: We wanted to do, for messages.

        Raises:
            NotAuthorized: We have done so already, or have nothing to show.
        """
        challenge = _parse(text)
        with self._lock:
            credentials = self._credentials
            if challenge is None:
                raise NotAuthorized(self._host, what)
            if challenge.scheme == "basic" and (credentials is None or not credentials.username):
                raise NotAuthorized(self._host, what, "it wants a name and a password")
            self._challenge = challenge
            self._tokens.pop(scope, None)

    def _token(self, challenge: _Challenge, scope: str) -> str:
        token, until = self._tokens.get(scope, ("", 0.0))
        if time.monotonic() < until:
            return token
        answer = self._ask(challenge, scope)
        token = str(answer.get("token") or answer.get("access_token") or "")
        if not token:
            raise RegistryFailed(self._host, "who gives tokens for it gave none")
        lifetime_s = answer.get("expires_in")
        lifetime_s = float(lifetime_s) if isinstance(lifetime_s, int | float) and lifetime_s > 0 else 60.0
        self._tokens[scope] = token, time.monotonic() + max(lifetime_s - _MARGIN_S, lifetime_s / 2)
        return token

    def _ask(self, challenge: _Challenge, scope: str) -> dict[str, Any]:
        realm, credentials = challenge.parameters.get("realm", ""), self._credentials
        self._check_realm(realm)
        query = {"service": challenge.parameters.get("service", ""), "scope": scope}
        query = {key: value for key, value in query.items() if value}
        if credentials is not None and credentials.identity_token:
            form = {
                **query,
                "grant_type": "refresh_token",
                "client_id": "netmodel",
                "refresh_token": credentials.identity_token,
            }
            headers = {"Content-Type": "application/x-www-form-urlencoded"}
            response = self._transport.request("POST", realm, headers, urlencode(form).encode())
        else:
            headers = {}
            if credentials is not None and credentials.username:
                headers["Authorization"] = credentials.basic
                query["account"] = credentials.username
            separator = "&" if urlsplit(realm).query else "?"
            response = self._transport.request("GET", f"{realm}{separator}{urlencode(query)}", headers)
        with response:
            content = response.whole(_LARGEST)
            if response.status in (401, 403):
                what, why = f"have {scope}" if scope else "in", "name or password are wrong"
                raise NotAuthorized(self._host, what, f"{why}, or give no right to it" if scope else why)
            if response.status != 200:
                raise RegistryFailed(
                    urlsplit(realm).netloc, f"it gives no token (HTTP {response.status})", again=response.status >= 500
                )
        try:
            answer = json.loads(content)
        except ValueError:
            answer = None
        if not isinstance(answer, dict):
            raise RegistryFailed(urlsplit(realm).netloc, "its token is no JSON")
        return answer

    def _check_realm(self, realm: str) -> None:
        """Name and password go there: not in the clear, unless the registry itself is spoken to so."""
        parts = urlsplit(realm)
        if parts.scheme not in ("http", "https") or not parts.netloc:
            raise RegistryFailed(self._host, f"it sends us for a token to {realm!r}, which is no address")
        if parts.scheme == "http" and not self._transport.registries.is_insecure(parts.netloc):
            raise PlainRefused(parts.netloc, f"gives tokens for {self._host}, but in the clear")


def _parse(text: str) -> _Challenge | None:
    """The challenge we can answer, a token's before basic."""
    found: dict[str, _Challenge] = {}
    for scheme, rest in re.findall(r"(?i)\b(bearer|basic)\s+(.*?)(?=,\s*(?:bearer|basic)\s|$)", text):
        parameters = {
            key.lower(): re.sub(r"\\(.)", r"\1", quoted) if quoted else plain
            for key, quoted, plain in _PARAMETER.findall(rest)
        }
        found.setdefault(scheme.lower(), _Challenge(scheme.lower(), parameters))
    return found.get("bearer") or found.get("basic")
