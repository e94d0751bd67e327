"""One repository of one registry: the requests of the OCI distribution protocol, each a method.

Source: OCI distribution-spec spec.md.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import suppress
from urllib.parse import quote, urlencode, urljoin, urlsplit

from runtime.images.blobs import digest_of
from runtime.images.errors import BlobDamaged
from runtime.images.manifest import ACCEPTED
from runtime.images.registry.auth import Authorizer, Credentials
from runtime.images.registry.errors import NotAuthorized, NotInRegistry, RegistryFailed
from runtime.images.registry.transport import Body, Response, Transport

LARGEST_MANIFEST = 4 << 20
_LARGEST_ERROR = 1 << 16
_PASSING = (408, 416)  # too slow; a piece of an upload that does not fit what is there
OFFICIAL = {"docker.io": "registry-1.docker.io"}


class Repository:
    """Usable by several threads at once.

    Args:
        domain: As in a reference.
        path: Of the repository there.
        base: A mirror's URL, to be asked in place of the domain.
        write: Whether it is going to be pushed to.
    """

    def __init__(
        self,
        transport: Transport,
        domain: str,
        path: str,
        credentials: Credentials | None = None,
        *,
        base: str = "",
        write: bool = False,
    ) -> None:
        self._transport = transport
        self._base = base.rstrip("/")
        self.host = urlsplit(self._base).netloc if base else OFFICIAL.get(domain, domain)
        self.path = path
        self._scope = f"repository:{path}:{'pull,push' if write else 'pull'}"
        self._authorizer = Authorizer(transport, self.host, credentials)

    # --- pull -----------------------------------------------------------------------------------

    def manifest(self, reference: str) -> tuple[bytes, str]:
        """A manifest or an index by tag or digest, and its media type.

        Raises:
            NotInRegistry, NotAuthorized, RegistryFailed.
            BlobDamaged: It is not what its digest says.
        """
        what = f"{self.path}{'@' if reference.startswith('sha256:') else ':'}{reference}"
        with self.request("GET", f"manifests/{reference}", what, {"Accept": ", ".join(ACCEPTED)}) as response:
            content = response.whole(LARGEST_MANIFEST)
            media_type = response.headers.get("content-type", "")
            told = response.headers.get("docker-content-digest", "")
        found = digest_of(content)
        wanted = reference if reference.startswith("sha256:") else told
        if wanted.startswith("sha256:") and found != wanted:
            raise BlobDamaged(wanted, f"what registry {self.host} sent has the digest {found}", "try another registry")
        return content, media_type

    def blob(self, digest: str, offset: int = 0) -> Response:
        """The content of a blob; status 206 if it begins at the offset, 200 if at its beginning."""
        headers = {"Range": f"bytes={offset}-"} if offset else {}
        return self.request("GET", f"blobs/{digest}", f"{self.path}@{digest}", headers, accepted=(200, 206, 416))

    # --- push -----------------------------------------------------------------------------------

    def has_blob(self, digest: str) -> bool:
        try:
            self.request("HEAD", f"blobs/{digest}", digest).close()
        except NotInRegistry:
            return False
        return True

    def mount(self, digest: str, source: str) -> bool:
        """Have the registry take a blob from another repository of its own; False if it would not."""
        query = urlencode({"mount": digest, "from": source})
        with self.request("POST", f"blobs/uploads/?{query}", digest, accepted=(201, 202)) as response:
            if response.status == 201:
                return True
            location = response.headers.get("location", "")
        if location:
            with suppress(RegistryFailed, NotInRegistry, NotAuthorized):
                self.request("DELETE", self.absolute(location), digest, accepted=(200, 202, 204)).close()
        return False

    def put_manifest(self, reference: str, content: bytes, media_type: str) -> None:
        self.request(
            "PUT",
            f"manifests/{reference}",
            f"{self.path}:{reference}",
            {"Content-Type": media_type},
            content,
            accepted=(201, 202, 204),
        ).close()

    # --- both -----------------------------------------------------------------------------------

    def request(
        self,
        method: str,
        path: str,
        what: str,
        headers: Mapping[str, str] | None = None,
        body: Body = None,
        size: int = 0,
        accepted: tuple[int, ...] = (200,),
    ) -> Response:
        """Ask; who asks who we are is told once.

        Args:
            path: Below the repository, or a whole URL.
            what: Is asked for, for messages.

        Raises:
            NotInRegistry, NotAuthorized, RegistryFailed: The answer is none that is accepted.
        """
        url = path if "://" in path else self._url(path)
        asked = False
        while True:
            authorization = self._authorizer.header(self._scope) if self._is_ours(url) else ""
            sent = {**(headers or {}), **({"Authorization": authorization} if authorization else {})}
            response = self._transport.request(method, url, sent, body, size)
            if response.status in accepted:
                return response
            with response:
                text = b"" if method == "HEAD" else response.whole(_LARGEST_ERROR)
            if response.status == 401 and not asked:
                asked = True
                self._authorizer.challenged(response.headers.get("www-authenticate", ""), self._scope, f"have {what}")
                continue
            raise self._failure(response, text, what)

    def _failure(self, response: Response, text: bytes, what: str) -> Exception:
        why = _reason(text)
        status = response.status
        if status in (401, 403):
            return NotAuthorized(self.host, f"have {what}", why)
        if status == 404:
            return NotInRegistry(self.host, what)
        if status == 429:
            return RegistryFailed(
                self.host,
                f"it has had enough of us for now (HTTP 429{': ' + why if why else ''})",
                "try again later, or with credentials",
                again=True,
                after_s=_seconds(response.headers.get("retry-after", "")),
            )
        told = f": {why}" if why else ""
        return RegistryFailed(
            self.host, f"it answers HTTP {status} to {what}{told}", again=status >= 500 or status in _PASSING
        )

    def _url(self, path: str) -> str:
        base = self._base or f"{self._transport.scheme(self.host)}://{self.host}"
        return f"{base}/v2/{quote(self.path)}/{path}"

    def absolute(self, location: str) -> str:
        """Raises: RegistryFailed: There is none."""
        if not location:
            raise RegistryFailed(self.host, "it does not say where to send a blob")
        return urljoin(self._url(""), location)

    def _is_ours(self, url: str) -> bool:
        """Whether a URL is the registry's own, and not one it sends us to: those get no token."""
        return urlsplit(url).netloc == self.host


def _reason(text: bytes) -> str:
    """The registry's own words, cut to a sentence's length."""
    try:
        errors = json.loads(text)["errors"]
        words = "; ".join(str(one.get("message") or one.get("code") or "") for one in errors)
    except (ValueError, KeyError, TypeError, AttributeError):
        return ""
    return words[:300]


def _seconds(text: str) -> float:
    return min(float(text), 60.0) if text.isdigit() else 0.0
