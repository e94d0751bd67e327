"""What is wrong with a seccomp profile, or with the machine that is to enforce it."""

from __future__ import annotations

from runtime.errors import RuntimeFault


class BadProfile(RuntimeFault):
    """A profile is not one in Docker's JSON form."""

    kind = "invalid"
    hint = "see https://docs.docker.com/engine/security/seccomp/ for the form, or say seccomp=unconfined"

    def __init__(self, where: str, fact: str) -> None:
        super().__init__(f"seccomp profile: {where}: {fact}" if where else f"seccomp profile: {fact}")


class SeccompUnavailable(RuntimeFault):
    """Filters cannot be made here."""

    kind = "missing_feature"
    hint = "install libseccomp2, or run without a filter: --security-opt seccomp=unconfined"

    def __init__(self, why: str) -> None:
        super().__init__(f"the container's system calls cannot be filtered: {why}")
