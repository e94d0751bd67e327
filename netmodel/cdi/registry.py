"""Which devices there are: the files in the directories of the Container Device Interface, read when they change."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path

from netmodel.cdi import shape
from netmodel.cdi.edits import Edits, edits_of
from netmodel.errors import Invalid

DEFAULT_DIRECTORIES = ("/etc/cdi", "/var/run/cdi")
_SUFFIXES = (".json", ".yaml")


@dataclass(frozen=True, slots=True)
class Found:
    """A device, and the file that describes it."""

    device: shape.Device
    spec: shape.Spec
    path: Path


class Registry:
    """Args:
    directories: A later one's descriptions go before those of an earlier one.
    """

    def __init__(self, directories: Sequence[str] = ()) -> None:
        self.directories = tuple(directories) or DEFAULT_DIRECTORIES
        self._lock = threading.Lock()
        self._read: dict[Path, tuple[tuple[int, ...], shape.Spec | str]] = {}

    def names(self) -> list[str]:
        """Every device that can be asked for, "vendor.com/class=name"."""
        return sorted(self._look()[0])

    def problems(self) -> list[str]:
        """What is wrong with the files, one sentence each."""
        return self._look()[1]

    def edits(self, names: Sequence[str], user: str = "") -> Edits:
        """What these devices make of a container, each file's common part once and first.

        Args:
            user: Of the container's first process; who has no other owner belongs to it, if it is a number.

        Raises:
            Invalid: There is no such device, or its description cannot be followed.
            MissingFeature: It wants what is not done here; says what.
        """
        if not names:
            return Edits()
        devices, problems = self._look()
        wanted: list[tuple[str, shape.ContainerEdits]] = []
        files: set[Path] = set()
        for name in names:
            found = devices.get(name)
            if found is None:
                raise _missing(name, list(devices), problems, self.directories)
            if found.path not in files:
                files.add(found.path)
                wanted.append((name, found.spec.container_edits))
            wanted.append((name, found.device.container_edits))
        return edits_of(wanted, user)

    def _look(self) -> tuple[dict[str, Found], list[str]]:
        with self._lock:
            return self._scan()

    def _scan(self) -> tuple[dict[str, Found], list[str]]:
        devices: dict[str, Found] = {}
        problems: list[str] = []
        seen: dict[Path, tuple[tuple[int, ...], shape.Spec | str]] = {}
        for directory in self.directories:
            here: dict[str, Found] = {}
            twice: set[str] = set()
            for path in _files(directory):
                spec = self._spec(path, seen)
                if isinstance(spec, str):
                    problems.append(f"CDI file {path}: {spec}")
                    continue
                for device in spec.devices:
                    name = f"{spec.kind}={device.name}"
                    if name in here:
                        twice.add(name)
                        problems.append(f"CDI device {name} is described by {here[name].path} and by {path}")
                    here[name] = Found(device, spec, path)
            for name in twice:  # nobody can say which one is meant
                del here[name]
                devices.pop(name, None)
            devices.update(here)
        self._read = seen
        return devices, problems

    def _spec(self, path: Path, seen: dict[Path, tuple[tuple[int, ...], shape.Spec | str]]) -> shape.Spec | str:
        """What a file says, or what is wrong with it."""
        try:
            status = path.stat()
            state = (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)
            known = self._read.get(path)
            if known is None or known[0] != state:
                known = (state, _said(path))
        except OSError as error:
            return f"cannot be read: {error.strerror}"
        seen[path] = known
        return known[1]


def _said(path: Path) -> shape.Spec | str:
    try:
        return shape.read(path)
    except shape.Mistake as mistake:
        return str(mistake)


def _files(directory: str) -> list[Path]:
    try:
        return sorted(path for path in Path(directory).iterdir() if path.suffix in _SUFFIXES)
    except OSError:
        return []  # most machines have none


def _missing(name: str, known: list[str], problems: list[str], directories: Sequence[str]) -> Invalid:
    message = f"no CDI device {name} is described in {' or '.join(directories)}"
    if problems:
        message = f"{message}; {'; '.join(problems)}"
    if not known:
        return Invalid(message, "its vendor's tools write the description, such as nvidia-ctk cdi generate")
    near = get_close_matches(name, known, 1)
    hint = f"there are: {', '.join(sorted(known))}"
    return Invalid(message, f"did you mean {near[0]}? {hint}" if near and len(known) > 1 else hint)
