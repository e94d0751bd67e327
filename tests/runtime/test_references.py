"""What images are called, as Docker completes it."""

from __future__ import annotations

import pytest

from runtime.images import InvalidImageName, Reference


@pytest.mark.parametrize(
    ("text", "complete", "familiar"),
    [
        ("redis", "docker.io/library/redis:latest", "redis:latest"),
        ("lab/app:2", "docker.io/lab/app:2", "lab/app:2"),
        ("docker.io/redis", "docker.io/library/redis:latest", "redis:latest"),
        ("index.docker.io/lab/app", "docker.io/lab/app:latest", "lab/app:latest"),
        ("localhost/app", "localhost/app:latest", "localhost/app:latest"),
        ("registry.lan:5000/a/b/c:V1", "registry.lan:5000/a/b/c:V1", "registry.lan:5000/a/b/c:V1"),
        ("[::1]:5000/app", "[::1]:5000/app:latest", "[::1]:5000/app:latest"),
    ],
)
def test_references_are_completed_as_docker_does(text: str, complete: str, familiar: str) -> None:
    reference = Reference.parse(text)

    assert f"{reference.repository}:{reference.tag}" == complete
    assert reference.familiar == familiar
    assert Reference.parse(complete) == reference


@pytest.mark.parametrize(
    "text", ["a@sha256:12", "a@md5:" + "0" * 32, "a:@", "/a", "a/", "a:5000/", "a/B", "0" * 64, "sha256:ab"]
)
def test_what_is_no_reference(text: str) -> None:
    with pytest.raises(InvalidImageName):
        Reference.parse(text)
