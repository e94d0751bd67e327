"""What confines containers on this machine."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from netmodel.doctor.finding import Finding
from netmodel.engine import apparmor
from runtime.images.host import NAME, PLACES, off_root
from runtime.seccomp import SeccompUnavailable, profile_of
from runtime.seccomp.compile import compile_filter


def confinement(root: Path) -> Iterator[Finding]:
    """Filters of system calls, AppArmor, and what image host shows of the machine."""
    yield _seccomp()
    yield _apparmor()
    place = next((place for place in (f"{root}/veil", *PLACES) if off_root(str(Path(place).parent))), None)
    yield Finding(
        area="security",
        feature=f"image {NAME} without secrets",
        ok=place is not None,
        detail=f"covered by a layer in {place}" if place else "no file system but the root's own for the layer",
        cost="" if place else "containers of it can read the machine's password hashes and private keys: mount a /run",
    )


def _seccomp() -> Finding:
    try:
        profile = profile_of("")
        assert profile is not None
        size = len(compile_filter(profile, ())) // 8
        kernel = Path("/proc/sys/kernel/seccomp/actions_avail").exists()
    except SeccompUnavailable as error:
        return Finding(
            area="security", feature="default filter", ok=False, detail=str(error), cost=error.hint, needed=True
        )
    cost = "" if kernel else "containers start only with --security-opt seccomp=unconfined"
    detail = f"the default filter takes {size} instructions" if kernel else "the kernel has none"
    return Finding(area="security", feature="default filter", ok=kernel, detail=detail, cost=cost, needed=True)


def _apparmor() -> Finding:
    """Not whether the engine's profiles are loaded: they are when a container needs one."""
    enabled = apparmor.enabled()
    ok = enabled and (apparmor.parser() is not None or apparmor.DOCKERS in apparmor.profiles())
    if not enabled:
        detail = "not running on this machine"
    elif apparmor.parser() is None:
        detail = f"{apparmor.PARSER} is missing" + (f", but {apparmor.DOCKERS} is loaded" if ok else "")
    else:
        detail = f"{apparmor.PARSER} loads the profile of containers that name none"
    cost = "containers run without an AppArmor profile; all else confines them still"
    if enabled and not ok:
        cost += f": apt install apparmor, for its {apparmor.PARSER}"
    return Finding(area="security", feature="AppArmor", ok=ok, detail=detail, cost="" if ok else cost)
