"""What a program gets and does not get: identity, rights, limits, environment."""

from __future__ import annotations

import resource
import signal
from pathlib import Path
from typing import Any

import pytest

from runtime.defaults import DEFAULT_CAPABILITIES
from runtime.kernel.prctl import CAPABILITIES
from runtime.kernel.probe import missing_capabilities
from runtime.spec import Ulimit
from tests.runtime.lab import PATH, Lab, lab_in, process, shell
from tests.runtime.shared import host, lab
from tests.support.box import Box
from tests.support.wait import eventually

__all__ = ["host", "lab"]

pytestmark = pytest.mark.kernel

STATUS = "grep -E '^(Cap|NoNewPrivs|Groups)' /proc/self/status"


def run(lab: Lab, script: str, **fields: Any) -> str:
    spec = lab.start(shell(script, **fields))
    assert lab.ended(spec).exit_code == 0, lab.output(spec)
    return lab.output(spec)


def facts(text: str) -> dict[str, str]:
    return {name: value.strip() for name, _, value in (line.partition(":") for line in text.splitlines())}


def mask(*names: str) -> str:
    return f"{sum(1 << CAPABILITIES.index(name) for name in names):016x}"


def test_root_has_docker_s_capabilities_and_no_more(lab: Lab) -> None:
    found = facts(run(lab, STATUS))

    wanted = mask(*DEFAULT_CAPABILITIES)
    assert wanted == "00000000a80425fb"  # what a container of dockerd shows
    assert {found[name] for name in ("CapPrm", "CapEff", "CapBnd")} == {wanted}
    assert {found[name] for name in ("CapInh", "CapAmb")} == {mask()}


def test_another_user_has_none_but_the_bounding_set_stays(lab: Lab) -> None:
    found = facts(run(lab, STATUS, user="daemon"))

    assert (found["CapPrm"], found["CapEff"], found["CapBnd"]) == (mask(), mask(), mask(*DEFAULT_CAPABILITIES))


def test_capabilities_that_the_machine_has_not_are_not_given(lab: Lab) -> None:
    """In the host's user namespace the machine's own bounding set is the limit."""
    host = facts(Path("/proc/self/status").read_text())["CapBnd"]
    spec = lab.start(shell(STATUS, capabilities=CAPABILITIES), idmap=None)

    lab.ended(spec)
    assert facts(lab.output(spec))["CapEff"] == host


def test_no_new_privileges(lab: Lab) -> None:
    assert facts(run(lab, STATUS, no_new_privileges=True))["NoNewPrivs"] == "1"
    assert facts(run(lab, STATUS))["NoNewPrivs"] == "0"


@pytest.mark.parametrize(
    ("user", "shown"),
    [
        ("", "0 0 /root"),
        ("0", "0 0 /root"),
        ("daemon", "1 1 /usr/sbin"),
        ("1", "1 1 /usr/sbin"),
        ("daemon:adm", "1 4 /usr/sbin"),
        ("4242", "4242 0 /"),
        ("4242:4343", "4242 4343 /"),
    ],
)
def test_users_are_looked_up_in_the_container(lab: Lab, user: str, shown: str) -> None:
    assert run(lab, "echo $(id -u) $(id -g) $HOME", user=user).strip() == shown


def test_further_groups(lab: Lab) -> None:
    assert run(lab, "id -G", user="daemon", groups=("adm", "77")).split() == ["1", "4", "77"]


def test_an_unprivileged_user_can_write_to_its_standard_streams(lab: Lab) -> None:
    assert run(lab, "echo out > /dev/stdout; echo err > /dev/stderr", user="daemon").split() == ["out", "err"]


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({"user": "nobody-here"}, "user 'nobody-here' is not in /etc/passwd of the container"),
        ({"user": "0:no-group"}, "group 'no-group' is not in /etc/group of the container"),
        ({"user": "99999999"}, "cannot become user 99999999"),
        ({"working_dir": "/etc/passwd"}, "cannot make /etc/passwd the working directory: Not a directory"),
        ({"ulimits": (Ulimit(name="nofiles", soft=1, hard=1),)}, "ulimit nofiles is unknown"),
    ],
)
def test_what_cannot_be_is_told_in_a_sentence(lab: Lab, fields: dict[str, Any], sentence: str) -> None:
    fault = lab.fails(process("true", **fields))

    assert str(fault).startswith(sentence)
    assert getattr(fault, "code", None) == 128


def test_ulimits(lab: Lab) -> None:
    limits = (Ulimit(name="nofile", soft=111, hard=222), Ulimit(name="core", soft=0, hard=0))

    assert run(lab, "ulimit -Sn; ulimit -Hn; ulimit -c", ulimits=limits).split() == ["111", "222", "0"]


def test_a_ulimit_above_the_machine_s_names_the_limit(lab: Lab) -> None:
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]

    fault = lab.fails(process("true", ulimits=(Ulimit(name="nofile", soft=hard + 1, hard=hard + 1),)))

    assert f"the machine allows at most {hard}" in str(fault)


def test_the_spawner_s_own_limit_is_not_passed_on(lab: Lab) -> None:
    assert run(lab, "ulimit -Sn").strip() == str(resource.getrlimit(resource.RLIMIT_NOFILE)[0])


def test_environment_directory_umask_session(lab: Lab) -> None:
    text = run(
        lab,
        "env | grep -v ^_= | sort; pwd; umask; ps -o sid= -p $$",
        environment=(("PATH", PATH), ("A", "1=2"), ("HOME", "/h")),
        working_dir="/made/for/it",
        umask=0o077,
    )

    assert text.split() == ["A=1=2", "HOME=/h", f"PATH={PATH}", "PWD=/made/for/it", "/made/for/it", "0077", "1"]


def test_nothing_of_the_spawner_is_left_open(lab: Lab) -> None:
    assert run(lab, "ls /proc/self/fd").split() == ["0", "1", "2", "3"]  # 3 is ls's own


def test_signals_are_as_by_default(lab: Lab) -> None:
    text = run(lab, "grep -E '^Sig(Blk|Ign)' /proc/self/status")

    assert text.splitlines() == [f"SigBlk:\t{mask()}", f"SigIgn:\t{mask()}"]


def test_what_the_spawner_was_started_with_is_not_passed_on(host: Box, tmp_path: Path) -> None:
    """`nohup netmodel run` ignores SIGHUP, and a shell's background jobs SIGINT: not so its containers."""
    before = {number: signal.signal(number, signal.SIG_IGN) for number in (signal.SIGHUP, signal.SIGINT)}
    try:
        with lab_in(tmp_path) as lab:
            assert run(lab, "grep ^SigIgn /proc/self/status") == f"SigIgn:\t{mask()}\n"
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@pytest.mark.parametrize(
    ("argv", "code", "sentence"),
    [
        (("foo",), 127, 'exec: "foo": not found in PATH of the container'),
        (("/bin/foo",), 127, 'exec: "/bin/foo": no such file in the container'),
        (("/etc/passwd",), 126, 'exec: "/etc/passwd": not executable'),
        (("/etc",), 126, 'exec: "/etc": is a directory'),
    ],
)
def test_a_program_that_cannot_be_run(lab: Lab, argv: tuple[str, ...], code: int, sentence: str) -> None:
    fault = lab.fails(process(*argv))

    assert str(fault) == sentence
    assert getattr(fault, "code", None) == code


def test_a_script_without_its_interpreter(lab: Lab) -> None:
    spec = lab.spec(process("/script"))
    script = Path(spec.rootfs.upper, "script")
    script.write_text("#!/no/such/interpreter\n")
    script.chmod(0o755)
    lab.spawner.create(spec)

    with pytest.raises(Exception, match="its interpreter or loader is not in the container"):
        lab.spawner.start(spec.id)


@pytest.mark.parametrize(
    ("script", "code", "signal"),
    [("exit 0", 0, None), ("exit 42", 42, None), ("exec sleep infinity", 137, 9)],
)
def test_exit_statuses(lab: Lab, script: str, code: int, signal: int | None) -> None:
    spec = lab.start(shell(script))
    if signal:
        lab.spawner.signal(spec.id, signal)

    status = lab.ended(spec)

    assert (status.exit_code, status.signal) == (code, signal)
    assert status.started_at is not None
    assert status.finished_at is not None
    assert status.started_at <= status.finished_at


def test_a_terminal(lab: Lab) -> None:
    spec = lab.start(shell("tty; stty size; echo raw", terminal=True))

    lab.ended(spec)
    assert lab.output(spec).split() == ["/dev/pts/0", "0", "0", "raw"]
    assert {entry["stream"] for entry in lab.entries(spec)} == {"stdout"}


def test_a_terminal_has_a_size(lab: Lab) -> None:
    spec = lab.start(shell("trap 'stty size; exit' WINCH; echo ready; while :; do sleep 0.01; done", terminal=True))

    eventually(lambda: "ready" in lab.output(spec))
    lab.spawner.resize(spec.id, 40, 100)

    lab.ended(spec)
    assert lab.output(spec).split()[-2:] == ["40", "100"]


def test_the_score_that_says_whom_memory_is_taken_from(lab: Lab) -> None:
    """Of one in a new sandbox, of one in a sandbox that stands, and of one that joins; lowered where that may be."""
    score = 345 if "CAP_SYS_RESOURCE" in missing_capabilities() else -345
    sleep = process("sleep", "infinity", oom_score_adj=score)
    first = lab.start(sleep)
    second = lab.start(sleep, sandbox=first.sandbox, idmap=first.idmap)

    for spec in (first, second):
        assert Path(f"/proc/{lab.status(spec).pid}/oom_score_adj").read_text() == f"{score}\n"
        assert lab.exec(spec, "cat /proc/self/oom_score_adj", oom_score_adj=score)[1] == f"{score}\n"
