"""References: what users call an image, made complete as Docker completes it.

"redis" is docker.io/library/redis:latest; the familiar form leaves out again what was completed.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from runtime.images.errors import InvalidImageName

DEFAULT_DOMAIN = "docker.io"
_LIBRARY = "library/"
_INDEX = "index.docker.io"  # what docker.io was called; old configurations still do

# Source: the grammar of github.com/distribution/reference.
_PART = r"[a-z0-9]+(?:(?:[.]|__?|-+)[a-z0-9]+)*"
_PATH = re.compile(rf"{_PART}(?:/{_PART})*")
_LABEL = r"[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?"
_DOMAIN = re.compile(rf"(?:{_LABEL}(?:\.{_LABEL})*|\[[0-9a-fA-F:]+\])(?::[0-9]+)?")
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}")
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_LONGEST = 255


@dataclass(frozen=True, slots=True)
class Reference:
    """Args:
    domain: The registry, with its port if it has one.
    path: The repository there.
    tag: "" only beside a digest.
    digest: "sha256:..." or "".
    """

    domain: str
    path: str
    tag: str = ""
    digest: str = ""

    @classmethod
    def parse(cls, text: str) -> Reference:
        """Complete what a user wrote; no tag and no digest is the tag "latest".

        Raises:
            InvalidImageName.
        """
        rest, at, digest = text.partition("@")
        if at and not _DIGEST.fullmatch(digest):
            raise InvalidImageName(text, "what follows @ is no digest of the form sha256:<64 hexadecimal digits>")
        tag = ""
        if ":" in rest.rpartition("/")[2]:
            rest, _, tag = rest.rpartition(":")
            if not _TAG.fullmatch(tag):
                raise InvalidImageName(text, f"{tag!r} is no tag")
        domain, path = _split(rest)
        if not _DOMAIN.fullmatch(domain):
            raise InvalidImageName(text, f"{domain!r} is no registry")
        if not _PATH.fullmatch(path) or len(path) > _LONGEST:
            raise InvalidImageName(text, "it has characters or a form that names do not have")
        if re.fullmatch(r"[0-9a-f]{64}", rest):
            raise InvalidImageName(text, "it would be taken for an id")
        if rest == "sha256":
            raise InvalidImageName(text, "it would be taken for a digest")
        return cls(domain, path, tag or ("" if digest else "latest"), digest)

    @property
    def repository(self) -> str:
        """Without tag and digest, complete."""
        return f"{self.domain}/{self.path}"

    @property
    def familiar_repository(self) -> str:
        if self.domain != DEFAULT_DOMAIN:
            return self.repository
        rest = self.path.removeprefix(_LIBRARY)
        return rest if "/" not in rest else self.path

    @property
    def familiar(self) -> str:
        """As users write it, with its tag."""
        tag = f":{self.tag}" if self.tag else ""
        digest = f"@{self.digest}" if self.digest else ""
        return f"{self.familiar_repository}{tag}{digest}"

    @property
    def name(self) -> str:
        """The key under which it is kept: by digest if it has one, which says more than the tag beside it."""
        if self.digest:
            return f"{self.familiar_repository}@{self.digest}"
        return self.familiar

    def with_digest(self, digest: str) -> Reference:
        return Reference(self.domain, self.path, "", digest)

    def __str__(self) -> str:
        return self.familiar


def _split(name: str) -> tuple[str, str]:
    """Domain and path; the first part is a domain if it cannot be anything else."""
    first, slash, rest = name.partition("/")
    is_domain = slash and ("." in first or ":" in first or first == "localhost" or first.lower() != first)
    if not is_domain:
        first, rest = DEFAULT_DOMAIN, name
    if first == _INDEX:
        first = DEFAULT_DOMAIN
    if first == DEFAULT_DOMAIN and "/" not in rest:
        rest = _LIBRARY + rest
    return first, rest
