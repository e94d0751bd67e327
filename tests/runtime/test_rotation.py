"""Logs in several files: what is kept, and reading on from one to the next."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from runtime import logs
from runtime.logs import LogEntry, StopSignal
from runtime.spawner.log import LogFile
from runtime.spawner.pack import Packer
from runtime.spec import ContainerSpec
from tests.runtime.lab import Lab, process, shell
from tests.runtime.shared import host, lab
from tests.support.wait import eventually

__all__ = ["host", "lab"]


def line(number: int) -> bytes:
    return f'{{"time":"2026-01-01T00:00:{number:012.9f}Z","stream":"stdout","log":"{number:03}\\n"}}\n'.encode()


def written(path: Path, count: int, files: int, lines_each: int = 10) -> LogFile:
    file = LogFile(str(path), lines_each * len(line(0)), files)
    for number in range(count):
        file.write(line(number))
    return file


def numbers(entries: Iterator[LogEntry]) -> list[int]:
    return [int(entry.log) for entry in entries]


@pytest.mark.parametrize(("files", "kept"), [(1, range(20, 25)), (2, range(10, 25)), (3, range(25)), (5, range(25))])
def test_so_many_files_are_kept(tmp_path: Path, files: int, kept: range) -> None:
    path = tmp_path / "log.jsonl"
    written(path, 25, files).close()

    assert numbers(logs.read(path)) == list(kept)
    assert len(list(tmp_path.iterdir())) == min(files, 3)


@pytest.mark.parametrize("tail", [0, 1, 5, 6, 14, 15, 16, 24, 25, 100])
def test_the_last_lines_may_lie_in_several(tmp_path: Path, tail: int) -> None:
    path = tmp_path / "log.jsonl"
    written(path, 25, 3).close()

    assert numbers(logs.read(path, tail)) == list(range(max(25 - tail, 0), 25))


def test_a_new_life_goes_on_where_the_last_one_stopped(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    written(path, 5, 2).close()
    written(path, 6, 2).close()

    assert numbers(logs.read(path)) == [0, 1, 2, 3, 4, 0, 1, 2, 3, 4, 5]
    assert path.with_name("log.jsonl.1").exists()


@pytest.mark.parametrize("files", [1, 2, 4])
def test_a_follower_goes_on_from_file_to_file(tmp_path: Path, files: int) -> None:
    path = tmp_path / "log.jsonl"
    file = written(path, 3, files, lines_each=7)
    stop = StopSignal()
    seen: list[int] = []
    follower = threading.Thread(target=lambda: seen.extend(int(entry.log) for entry in logs.follow(path, stop)))
    follower.start()
    for number in range(3, 100):
        eventually(lambda number=number: len(seen) >= number)  # type: ignore[misc]
        file.write(line(number))
    eventually(lambda: len(seen) == 100)
    stop.set()
    follower.join(10)

    assert seen == list(range(100))
    file.close()
    stop.close()


COUNT = "i=0; while [ $i -lt 400 ]; do printf '%03d\\n' $i; i=$((i+1)); done"


def counting(lab: Lab, files: int) -> ContainerSpec:
    return lab.start(shell(COUNT), log_max_bytes=60 * 75, log_files=files, log_compressed=True)


@pytest.mark.kernel
@pytest.mark.parametrize("files", [2, 4, 10])
def test_full_files_are_compressed(lab: Lab, files: int) -> None:
    spec = counting(lab, files)
    lab.ended(spec)
    path = Path(spec.log)
    packed = [path.with_name(f"{path.name}.{number}.gz") for number in range(1, min(files, 7))]

    eventually(lambda: all(one.exists() for one in packed), what="compression")

    eventually(lambda: {*path.parent.glob("log*")} == {path, *packed})
    whole = numbers(logs.read(path))
    assert whole == list(range(whole[0], 400))
    assert (len(whole) == 400) == (files == 10)
    for tail in (0, 1, 60, 61, 150, 400):
        assert numbers(logs.read(path, tail)) == (whole[-tail:] if tail else [])


@pytest.mark.kernel
def test_a_file_that_goes_while_it_is_compressed_is_taken_for_no_other(tmp_path: Path) -> None:
    """Its inode's number may be given to the next file at once."""
    full, packer = tmp_path / "log.1", Packer()
    full.write_text("old\n")
    packer.begin(str(tmp_path / "log"))
    full.unlink()
    [pid] = packer._jobs
    assert os.waitpid(pid, 0)[1] == 0
    full.write_text("new\n")

    assert packer.ended(pid, 0)

    assert [path.name for path in tmp_path.iterdir()] == ["log.1"]
    assert full.read_text() == "new\n"


@pytest.mark.kernel
def test_a_follower_sees_each_line_once_while_files_are_compressed(lab: Lab) -> None:
    spec = lab.start(process("cat"), open_stdin=True, log_max_bytes=60 * 75, log_files=10, log_compressed=True)
    typed = lab.spawner.input(spec.id)
    stop = StopSignal()
    seen: list[int] = []
    follower = threading.Thread(
        target=lambda: seen.extend(int(entry.log) for entry in logs.follow(Path(spec.log), stop))
    )
    follower.start()

    for number in range(0, 400, 20):
        os.write(typed, "".join(f"{one:03}\n" for one in range(number, number + 20)).encode())
        eventually(lambda number=number: len(seen) >= number + 20)  # type: ignore[misc]
    stop.set()
    follower.join(10)

    assert seen == list(range(400))
    eventually(lambda: len([*Path(spec.log).parent.glob("log*.gz")]) == 6)
    os.close(typed)
    stop.close()


@pytest.mark.kernel
def test_a_reader_that_is_behind_goes_on_in_what_was_compressed(lab: Lab) -> None:
    spec = counting(lab, 10)
    lab.ended(spec)
    path = Path(spec.log)
    eventually(lambda: len([*path.parent.glob("log*.gz")]) == 6)
    oldest = path.with_name(f"{path.name}.6.gz")
    inode = int(oldest.read_bytes()[10:].partition(b"\0")[0])

    with ExitStack() as opened:
        file = logs._next_file(path, inode, opened)

        assert json.loads(file.readline())["log"] == "060\n"
