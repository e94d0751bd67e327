"""From a container's pipes to its log, and back out of the log."""

from __future__ import annotations

import fcntl
import json
import os
import select
import signal
import sys
import termios
import threading
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from runtime import logs
from runtime.errors import RuntimeFault
from runtime.frame import frame
from runtime.logs import LogEntry, StopSignal
from runtime.spawner.audience import Audience
from runtime.spawner.log import LogFile, LogPump, timestamp
from runtime.spawner.loop import Loop
from tests.runtime.lab import Lab, read_all, shell
from tests.support.wait import eventually


@pytest.mark.kernel
def test_both_streams_with_their_times(lab: Lab) -> None:
    before = datetime.now(UTC)
    spec = lab.start(shell("echo out; echo err >&2; printf unfinished"))
    lab.ended(spec)

    entries = list(logs.read(Path(spec.log)))

    assert sorted((entry.stream, entry.log) for entry in entries) == [
        ("stderr", "err\n"),
        ("stdout", "out\n"),
        ("stdout", "unfinished"),
    ]
    moments = [datetime.fromisoformat(entry.time[:26] + "+00:00") for entry in entries]
    assert before - timedelta(seconds=1) < min(moments) <= max(moments) <= datetime.now(UTC)


@pytest.mark.kernel
def test_everything_is_in_the_log_when_the_end_is_told(lab: Lab) -> None:
    ends = threading.Event()
    seen: list[int] = []
    spec = lab.spec(shell("seq 1 20000"))

    def on_exit(_: object) -> None:
        seen.append(len(list(logs.read(Path(spec.log)))))
        ends.set()

    lab.spawner.on_exit = on_exit
    lab.spawner.create(spec)
    lab.spawner.start(spec.id)

    assert ends.wait(20)
    assert seen == [20000]
    assert lab.output(spec).split() == [str(number) for number in range(1, 20001)]


@pytest.mark.kernel
def test_a_full_disk_stops_nobody(lab: Lab) -> None:
    spec = lab.spec(shell("echo lost; exit 5"))
    Path(spec.log).symlink_to("/dev/full")

    lab.spawner.create(spec)
    lab.spawner.start(spec.id)

    assert lab.ended(spec).exit_code == 5


@pytest.mark.kernel
def test_following_ends_with_what_came_before_the_stop(lab: Lab) -> None:
    spec = lab.start(shell("for i in 1 2 3; do echo $i; sleep 0.02; done"))
    stop = StopSignal()
    lab.spawner.on_exit = lambda _: stop.set()

    text = "".join(entry.log for entry in logs.follow(Path(spec.log), stop))

    assert text == "1\n2\n3\n"
    stop.close()


@pytest.mark.kernel
def test_input_through_an_open_stdin(lab: Lab) -> None:
    spec = lab.start(shell("cat; echo end"), open_stdin=True)
    for line in (b"one\n", b"two\n"):
        fd = lab.spawner.input(spec.id)
        os.write(fd, line)
        os.close(fd)
    eventually(lambda: lab.output(spec) == "one\ntwo\n")

    lab.spawner.close_input(spec.id)

    lab.ended(spec)
    assert lab.output(spec) == "one\ntwo\nend\n"


@pytest.mark.kernel
def test_input_through_a_terminal_shows_prompts_at_once(lab: Lab) -> None:
    spec = lab.start(shell("stty -echo; printf 'name? '; read name; echo hello $name", terminal=True))
    eventually(lambda: lab.output(spec) == "name? ")
    fd = lab.spawner.input(spec.id)

    os.write(fd, b"you\n")
    os.close(fd)

    lab.ended(spec)
    assert lab.output(spec) == "name? hello you\r\n"


@pytest.mark.kernel
def test_without_an_open_stdin_there_is_none(lab: Lab) -> None:
    spec = lab.start(shell("cat; exec sleep infinity"))

    with pytest.raises(RuntimeFault, match="takes no input"):
        lab.spawner.input(spec.id)


def pump(tmp_path: Path, *writes: bytes) -> list[LogEntry]:
    """Send writes through a pipe into a log, one at a time."""
    read, write = os.pipe()
    path = tmp_path / "log"
    loop = Loop()
    pumped = LogPump(loop, LogFile(str(path)), Audience(loop))
    pumped.add("stdout", read)
    for data in writes:
        os.write(write, data)
        pumped._streams[0].pump()
    os.close(write)
    pumped.close()
    return list(logs.read(path))


def test_lines_that_come_in_parts_are_joined(tmp_path: Path) -> None:
    assert [entry.log for entry in pump(tmp_path, b"a", b"b\nc", b"\n\nd")] == ["ab\n", "c\n", "\n", "d"]


def test_long_lines_are_cut_between_characters(tmp_path: Path) -> None:
    line = "x" + "é" * 20_000
    entries = pump(tmp_path, line.encode() + b"\n")

    assert "".join(entry.log for entry in entries) == line + "\n"
    assert [len(entry.log.encode()) for entry in entries] == [16 * 1024 - 1, 16 * 1024, 7235]
    assert [entry.log.endswith("\n") for entry in entries] == [False, False, True]


def test_bytes_that_are_no_text_come_back_as_they_were(tmp_path: Path) -> None:
    line = b'\xc3\xa9\xff"\\\x01\x00\n'
    (entry,) = pump(tmp_path, line)

    assert entry.log.encode(errors="surrogateescape") == line
    assert (tmp_path / "log").read_bytes().decode()  # other programs read the file, too


@pytest.mark.kernel
def test_who_is_attached_gets_every_byte_at_once_and_in_order(lab: Lab) -> None:
    """Half a line is a prompt; neither rotation nor a log that is not kept takes anything away."""
    spec = replace(
        lab.spec(shell("printf 'n\\377? '; read a; echo err >&2; echo out; seq 20000"), open_stdin=True), log=""
    )
    descriptor, _ = lab.spawner.attach(spec.id, ["stdout", "stderr"], framed=True)
    quiet, _ = lab.spawner.attach(spec.id, ["stderr"], framed=False)
    lab.spawner.create(spec)
    lab.spawner.start(spec.id)

    prompt = frame("stdout", b"n\xff? ")
    assert os.read(descriptor, len(prompt)) == prompt
    typed = lab.spawner.input(spec.id)
    os.write(typed, b"x\n")
    os.close(typed)

    pieces = list(frames(descriptor))
    assert pieces[0] == ("stderr", b"err\n")
    assert b"".join(data for _, data in pieces[1:]) == b"out\n" + "".join(f"{n}\n" for n in range(1, 20001)).encode()
    assert read_all(quiet) == "err\n"
    for one in (descriptor, quiet):
        os.close(one)


@pytest.mark.kernel
def test_who_reads_slowly_slows_the_container_down_and_who_leaves_does_not(lab: Lab) -> None:
    spec = lab.start(shell("read a; head -c 3000000 /dev/zero; echo done >&2; exec sleep infinity"), open_stdin=True)
    descriptor, _ = lab.spawner.attach(spec.id, ["stdout"], framed=False)
    quiet, _ = lab.spawner.attach(spec.id, ["stderr"], framed=False)
    typed = lab.spawner.input(spec.id)
    os.write(typed, b"x\n")
    os.close(typed)
    eventually(lambda: pending(descriptor) > 60_000, what="a full pipe")
    assert lab.exec(spec, "true")[0] == 0  # others are served meanwhile
    assert not select.select([quiet], [], [], 0)[0]
    assert len(os.read(descriptor, 1_000_000)) > 60_000

    os.close(descriptor)

    assert os.read(quiet, 100) == b"done\n"
    os.close(quiet)


@pytest.mark.kernel
def test_what_is_left_at_the_end_still_comes(lab: Lab) -> None:
    """It has printed more than is held between it and who reads, and is gone before anybody does."""
    spec = lab.spec(shell("head -c 1000000 /dev/zero"))
    descriptor, _ = lab.spawner.attach(spec.id, ["stdout"], framed=False)
    before = lab.descriptors()
    lab.spawner.create(spec)
    lab.spawner.start(spec.id)
    eventually(lambda: pending(descriptor) > 60_000, what="a full pipe")
    lab.spawner.signal(spec.id, signal.SIGKILL)
    lab.ended(spec)

    text = read_all(descriptor)

    assert 65_536 <= len(text) < 1_000_000
    assert not text.strip("\0")
    os.close(descriptor)
    lab.spawner.forget(spec.id)
    lab.spawner.unpin(spec.sandbox)
    eventually(lambda: lab.descriptors().count("pipe") < before.count("pipe"), what="the spawner's end of the pipe")


@pytest.mark.kernel
def test_nothing_is_kept_for_who_waited_in_vain(lab: Lab) -> None:
    def pipes() -> int:
        return lab.descriptors().count("pipe")

    before = pipes()
    descriptor, _ = lab.spawner.attach("a" * 64, ["stdout"], framed=False)
    # It has a copy of its own, and closes the one that was sent after its answer.
    eventually(lambda: pipes() == before + 1, what="the spawner's end of the pipe")

    os.close(descriptor)

    eventually(lambda: pipes() == before, what="the end of it")


def frames(descriptor: int) -> Iterator[tuple[str, bytes]]:
    """The pieces that come framed, until the end."""
    data = b""
    while block := os.read(descriptor, 65536):
        data += block
        while len(data) >= 8 and len(data) >= 8 + (size := int.from_bytes(data[4:8], "big")):
            yield ("stdin", "stdout", "stderr")[data[0]], data[8 : 8 + size]
            data = data[8 + size :]
    assert not data


def pending(descriptor: int) -> int:
    """How much can be read at once."""
    return int.from_bytes(fcntl.ioctl(descriptor, termios.FIONREAD, bytes(4)), sys.byteorder)


@pytest.fixture
def written(tmp_path: Path) -> Path:
    path = tmp_path / "log"
    entries = [
        {"time": timestamp(second * 10**9 + 5), "stream": ("stdout", "stderr")[second % 2], "log": f"{second}\n"}
        for second in range(10)
    ]
    path.write_text("".join(json.dumps(entry) + "\n" for entry in entries))
    return path


@pytest.mark.parametrize("tail", [0, 1, 3, 10, 11])
def test_the_last_lines(written: Path, tail: int) -> None:
    assert [int(entry.log) for entry in logs.read(written, tail=tail)] == list(range(10))[10 - min(tail, 10) :]


def test_the_last_lines_of_a_long_log(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_text("".join(f'{{"time":"t","stream":"stdout","log":"{number}\\n"}}\n' for number in range(9000)))

    assert [int(entry.log) for entry in logs.read(path, tail=4000)] == list(range(5000, 9000))


def test_a_span_of_time_and_one_stream(written: Path) -> None:
    since, until = (datetime.fromtimestamp(second, UTC) for second in (3, 8))

    assert [int(entry.log) for entry in logs.read(written, since=since, until=until)] == [3, 4, 5, 6, 7, 8]
    assert [int(e.log) for e in logs.read(written, since=since, until=until, streams=["stderr"])] == [3, 5, 7]
    assert [int(e.log) for e in logs.read(written, tail=2, until=until, streams=["stderr"])] == [5, 7]


def test_no_log_is_an_empty_one(tmp_path: Path) -> None:
    assert list(logs.read(tmp_path / "none")) == []


def test_a_torn_line_is_skipped_and_a_half_written_one_waited_for(written: Path) -> None:
    stop = threading.Event()
    whole = written.read_bytes()
    written.write_bytes(whole[:100] + b"\n" + whole)
    with open(written, "ab") as file:
        file.write(b'{"time":"2')
        file.flush()
        seen: list[str] = []
        reader = threading.Thread(target=lambda: seen.extend(entry.log for entry in logs.follow(written, stop)))
        reader.start()
        eventually(lambda: len(seen) == 11)
        file.write(b'020-","stream":"stdout","log":"late\\n"}\n')
        file.flush()
        eventually(lambda: seen[-1] == "late\n")
    stop.set()
    reader.join(5)
    assert not reader.is_alive()
