"""Further processes in a running container."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor

import pytest

from runtime.client import ExecFds
from runtime.errors import NoSuchContainer, RuntimeFault, StartFailed
from tests.runtime.lab import Lab, process, read_all, shell
from tests.runtime.shared import host, lab
from tests.runtime.test_launch import KINDS
from tests.support.wait import eventually

__all__ = ["host", "lab"]

pytestmark = pytest.mark.kernel


def test_it_is_in_every_namespace_of_the_container(lab: Lab) -> None:
    spec = lab.start(shell("readlink " + " ".join(f"/proc/self/ns/{kind}" for kind in KINDS) + "; exec sleep infinity"))

    code, printed, _ = lab.exec(spec, "readlink " + " ".join(f"/proc/self/ns/{kind}" for kind in KINDS))

    assert code == 0
    assert printed == eventually(lambda: len(lab.entries(spec)) == len(KINDS) and lab.output(spec))


def test_streams_and_exit_code(lab: Lab) -> None:
    spec = lab.sleeper()

    assert lab.exec(spec, "echo out; echo err >&2; exit 7") == (7, "out\n", "err\n")


def test_input_through_a_pipe(lab: Lab) -> None:
    spec = lab.sleeper()

    with lab.spawner.exec(spec.id, process("cat")) as handle:
        assert handle.stdin is not None
        assert handle.stdout is not None
        os.write(handle.stdin, b"through\n")
        handle.close_stdin()
        assert read_all(handle.stdout) == "through\n"
        assert handle.wait(10) == 0


def test_descriptors_of_the_caller_s_own(lab: Lab) -> None:
    spec = lab.sleeper()
    read, write = os.pipe()
    null = os.open("/dev/null", os.O_RDWR)

    handle = lab.spawner.exec(spec.id, process("echo", "mine"), ExecFds(null, write, null))
    os.close(write)

    assert handle.wait(10) == 0
    assert handle.stdout is None
    assert read_all(read) == "mine\n"
    os.close(read)
    os.close(null)


def test_a_terminal_out_of_the_container(lab: Lab) -> None:
    spec = lab.sleeper()

    with lab.spawner.exec(spec.id, shell("tty; stty size; exit 3", terminal=True)) as handle:
        assert handle.terminal is not None
        handle.resize(40, 100)
        assert read_all(handle.terminal).split()[0] == "/dev/pts/0"
        assert handle.wait(10) == 3


def test_it_has_its_own_user_rights_environment_and_directory(lab: Lab) -> None:
    spec = lab.sleeper()

    code, printed, complaint = lab.exec(
        spec,
        "id -un; pwd; echo $A; grep CapEff /proc/self/status; ls /proc/self/fd",
        user="daemon",
        working_dir="/tmp",
        environment=(("PATH", "/usr/bin:/bin"), ("A", "b")),
    )

    assert (code, complaint) == (0, "")
    assert printed.split() == ["daemon", "/tmp", "b", "CapEff:", "0000000000000000", "0", "1", "2", "3"]


@pytest.mark.parametrize(("argv", "code"), [(("foo",), 127), (("/etc/passwd",), 126)])
def test_a_program_that_cannot_be_run(lab: Lab, argv: tuple[str, ...], code: int) -> None:
    spec = lab.sleeper()

    with pytest.raises(StartFailed) as caught:
        lab.spawner.exec(spec.id, process(*argv))

    assert caught.value.code == code


def test_a_directory_that_is_missing_is_not_made(lab: Lab) -> None:
    spec = lab.sleeper()

    with pytest.raises(StartFailed, match="working directory /missing is not in the container") as caught:
        lab.spawner.exec(spec.id, process("true", working_dir="/missing"))

    assert caught.value.code == 127
    assert lab.exec(spec, "test ! -e /missing")[0] == 0


def test_it_ends_with_the_container(lab: Lab) -> None:
    spec = lab.sleeper()
    handle = lab.spawner.exec(spec.id, process("sleep", "infinity"))

    lab.spawner.signal(spec.id, 9)

    assert handle.wait(10) == 137
    handle.close()


def test_only_in_a_container_that_runs(lab: Lab) -> None:
    spec = lab.start(process("true"))
    lab.ended(spec)

    with pytest.raises(RuntimeFault, match="is not running"):
        lab.spawner.exec(spec.id, process("true"))
    with pytest.raises(RuntimeFault, match="no container") as caught:
        lab.spawner.exec("f" * 64, process("true"))
    assert caught.value.kind == NoSuchContainer.kind


def test_many_at_once_each_get_their_own_answer(lab: Lab) -> None:
    specs = [lab.sleeper(hostname=f"box{number}") for number in range(4)]

    def ask(number: int) -> tuple[int, str, str]:
        return lab.exec(specs[number % 4], f"hostname; exit {number}")

    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(ask, range(32)))

    assert answers == [(number, f"box{number % 4}\n", "") for number in range(32)]


def test_nothing_is_left_of_it(lab: Lab) -> None:
    spec = lab.sleeper()
    lab.exec(spec, "true")
    before = lab.descriptors(), lab.children()

    for _ in range(5):
        lab.exec(spec, "true")
        with pytest.raises(StartFailed):
            lab.spawner.exec(spec.id, process("foo"))

    eventually(lambda: (lab.descriptors(), lab.children()) == before)
