"""Which cgroup hierarchies a container's groups are in, so that it can be shown its part of them."""

from __future__ import annotations

from collections.abc import Sequence

from runtime.launch.filesystems import CgroupView


class Hierarchies:
    """The machine's cgroup mounts, read once and again when a directory is below none of them."""

    def __init__(self) -> None:
        self._views: dict[str, CgroupView] = {}

    def views(self, directories: Sequence[str]) -> tuple[CgroupView, ...]:
        """The hierarchies of these directories; () when one of them is unknown."""
        found = [self._find(directory) for directory in directories]
        if None in found:
            self._views = _read()
            found = [self._find(directory) for directory in directories]
        return tuple(dict.fromkeys(view for view in found if view is not None))

    def _find(self, directory: str) -> CgroupView | None:
        while directory not in ("", "/"):
            view = self._views.get(directory)
            if view is not None:
                return view
            directory = directory.rpartition("/")[0]
        return None


def _read() -> dict[str, CgroupView]:
    views = {}
    with open("/proc/self/mountinfo") as table:
        for line in table:
            mount, _, filesystem = line.partition(" - ")
            kind, _, options = filesystem.strip().split(" ", 2)
            point = mount.split(" ")[4]
            if kind == "cgroup2":
                views[point] = CgroupView("" if point == "/sys/fs/cgroup" else point.rpartition("/")[2], kind)
            elif kind == "cgroup":
                names = [name for name in options.split(",") if name not in ("rw", "ro")]
                views[point] = CgroupView(point.rpartition("/")[2], kind, tuple((name, None) for name in names))
    return views
