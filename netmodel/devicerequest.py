"""Device requests in Docker's words, `--gpus` among them, as names of the Container Device Interface.

Source: moby daemon/devices_nvidia_linux.go, which asks that interface for nvidia.com/gpu, too.
"""

from __future__ import annotations

from collections.abc import Sequence

from netmodel.errors import Invalid
from netmodel.security import is_cdi

CDI = "cdi"
ALL = -1  # as a count
_KINDS = {"": "nvidia.com/gpu", "nvidia": "nvidia.com/gpu", "amd": "amd.com/gpu"}
# What a GPU may be asked to be able to do; its vendor's description is not told of it.
_CAPABILITIES = frozenset(["gpu", "nvidia", "amd", "compute", "compat32", "graphics", "utility", "video", "display"])


def device_names(
    driver: str, count: int, ids: Sequence[str], capabilities: Sequence[Sequence[str]] = ()
) -> tuple[str, ...]:
    """Which devices are meant.

    Args:
        count: How many of those that there are; ALL of them; 0 where they are named.
        ids: Names of the interface, or what follows its kind of GPUs: "0".
        capabilities: Lists of which one at least has to fit as a whole.

    Raises:
        Invalid: Nobody knows of such devices, or too much was said.
    """
    if count and ids:
        raise Invalid("a device request has both a count and ids", "leave out one of them")
    if driver == CDI:
        if count:
            raise Invalid("a device request of driver cdi takes no count", "name the devices")
        for name in ids:
            if not is_cdi(name):
                raise Invalid(f"device {name!r} is not of the form vendor.com/class=name")
        return tuple(ids)
    wanted = [set(names) for names in capabilities]
    gpus = any("gpu" in names and names <= _CAPABILITIES for names in wanted) or (bool(driver) and not wanted)
    if driver not in _KINDS or not gpus:
        what = " or ".join("+".join(sorted(names)) for names in wanted)
        raise Invalid(
            f"devices of driver {driver or 'any'}{f' that can {what}' if what else ''} cannot be had",
            "there are GPUs of drivers nvidia and amd, and whatever has a name: --device vendor.com/class=name",
        )
    found = ids or (["all"] if count < 0 else [str(number) for number in range(count)])
    return tuple(one if is_cdi(one) else f"{_KINDS[driver]}={one}" for one in found)
