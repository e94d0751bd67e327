"""What was put in place but may not have reached the disk yet.

A name must never stand for half a layer, not even after a power cut; yet bringing hundreds of megabytes
to the disk takes seconds that nobody should wait. So before something is renamed into place a note says
so, a thread brings the file system to the disk, and then the note goes. A note that an earlier boot left
means that the power went first: what it names is not trusted.

File systems with a journal keep the order of names (note before rename), which is all this needs.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from runtime.kernel.beneath import sync_file_system


class Settling:
    """Args:
    directory: Of the notes, each called <boot>.<kind>.<name>.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._more = False

    def doubtful(self) -> Iterator[tuple[str, str]]:
        """Kind and name of what an earlier boot left unsettled; its note goes once the caller has dealt with it."""
        for note in self._notes():
            boot, kind, name = note.split(".", 2)
            if boot != self._boot:
                yield kind, name
                (self._directory / note).unlink(missing_ok=True)
        if self._notes():
            self.settle()

    def expect(self, kind: str, name: str) -> None:
        """Note what is about to be put in place."""
        path = self._directory / f"{self._boot}.{kind}.{name}"
        try:
            descriptor = os.open(path, os.O_CREAT | os.O_WRONLY | os.O_CLOEXEC, 0o600)
        except FileNotFoundError:
            os.makedirs(self._directory, 0o700, exist_ok=True)
            descriptor = os.open(path, os.O_CREAT | os.O_WRONLY | os.O_CLOEXEC, 0o600)
        os.close(descriptor)

    def settle(self) -> None:
        """Have everything that is in place by now brought to the disk, soon."""
        with self._lock:
            self._more = True
            if self._thread is None:
                self._thread = threading.Thread(target=self._work, name="settling", daemon=True)
                self._thread.start()

    def drain(self) -> None:
        """Wait until nothing is unsettled."""
        while (thread := self._thread) is not None:
            thread.join()

    def _work(self) -> None:
        while True:
            with self._lock:
                if not self._more:
                    self._thread = None
                    return
                self._more = False
            with suppress(OSError):  # the notes stay, and the next time or the next start sees to them
                self._bring_to_disk()

    def _bring_to_disk(self) -> None:
        notes = self._notes()
        if not notes:
            return
        descriptor = os.open(self._directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            sync_file_system(descriptor)
        finally:
            os.close(descriptor)
        for note in notes:
            (self._directory / note).unlink(missing_ok=True)

    def _notes(self) -> list[str]:
        try:
            return os.listdir(self._directory)
        except FileNotFoundError:
            return []
