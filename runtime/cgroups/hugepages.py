"""The sizes of huge pages, by the names that the hugetlb controller has for them."""

from __future__ import annotations

from pathlib import Path

_PAGES = Path("/sys/kernel/mm/hugepages")


def page_sizes() -> list[str]:
    """ "2MB" and "1GB" on most machines, the smallest first.

    Source: Linux mm/hugetlb_cgroup.c, mem_fmt(); the directories are called hugepages-2048kB.
    """
    try:
        names = [entry.name for entry in _PAGES.iterdir()]
    except OSError:
        return []
    sizes = sorted(int(name.removeprefix("hugepages-").removesuffix("kB")) for name in names)
    return [
        f"{size >> 20}GB" if size >= 1 << 20 else f"{size >> 10}MB" if size >= 1 << 10 else f"{size}KB"
        for size in sizes
    ]
