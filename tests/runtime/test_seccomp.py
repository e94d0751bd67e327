"""Filters of system calls: what the default policy forbids, profiles in Docker's form, and the compact program."""

from __future__ import annotations

import json
import random
import struct
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from runtime.defaults import DEFAULT_CAPABILITIES
from runtime.seccomp import BadProfile, Filters, Profile, profile_of
from runtime.seccomp import compile as compiling
from runtime.seccomp.compact import compact
from tests.runtime.lab import Lab, process, shell
from tests.runtime.shared import host, lab
from tests.support.wait import eventually

__all__ = ["host", "lab"]

pytestmark = pytest.mark.kernel

# Says the name of the error that a raw system call ends with, or "done".
CALL = """
import ctypes, errno, sys
libc = ctypes.CDLL(None, use_errno=True)
for words in sys.stdin.read().split(";"):
    result = libc.syscall(*(ctypes.c_long(int(word, 0)) for word in words.split()))
    print("done" if result >= 0 else errno.errorcode[ctypes.get_errno()])
"""
UNSHARE, KEYCTL, CLONE3, MOUNT, SOCKET, PERSONALITY, MKDIR, GETPPID = 272, 250, 435, 165, 41, 135, 83, 110
IO_URING_SETUP, OPEN_BY_HANDLE_AT, BPF, NOT_YET_INVENTED, REMOVEXATTRAT = 425, 304, 321, 600, 466


@pytest.fixture
def filters(tmp_path: Path) -> Filters:
    return Filters(tmp_path / "seccomp")


def default_filter(filters: Filters, capabilities: Sequence[str] = DEFAULT_CAPABILITIES) -> str:
    profile = profile_of("")
    assert profile is not None
    return filters.path(profile, capabilities)


def called(lab: Lab, *calls: Sequence[int], **fields: Any) -> list[str]:
    """What comes of system calls, each a number and its arguments, in a container."""
    words = "; ".join(" ".join(str(word) for word in call) for call in calls)
    spec = lab.start(shell(f"exec python3 -c '{CALL}' <<'E'\n{words}\nE", **fields))
    assert lab.ended(spec).exit_code == 0, lab.output(spec)
    return lab.output(spec).split()


@pytest.mark.whole_kernel
def test_default_policy_refuses_what_leads_out_of_a_container(lab: Lab, filters: Filters) -> None:
    answers = called(
        lab,
        (UNSHARE, 0x10000000),
        (KEYCTL, 0, 0, 0),
        (MOUNT, 0, 0, 0, 0, 0),
        (IO_URING_SETUP, 1, 0),
        (OPEN_BY_HANDLE_AT, 0, 0, 0),
        (BPF, 0, 0, 0),
        seccomp=default_filter(filters),
    )

    assert answers == ["EPERM"] * 6


def test_calls_that_a_libc_tries_first_look_like_not_there(lab: Lab, filters: Filters) -> None:
    """EPERM would make it give up; from ENOSYS it falls back to an older call."""
    answers = called(lab, (CLONE3, 0, 0), (NOT_YET_INVENTED, 0), seccomp=default_filter(filters))

    assert answers == ["ENOSYS", "ENOSYS"]


def test_calls_newer_than_libseccomp_are_allowed_by_their_number(lab: Lab, filters: Filters) -> None:
    call = (REMOVEXATTRAT, -1, 0, 0, 0)

    # An older kernel has no such call, with and without a filter.
    assert called(lab, call, seccomp=default_filter(filters)) == called(lab, call)


@pytest.mark.parametrize(
    ("call", "answer"),
    [
        ((SOCKET, 1, 1, 0), "done"),
        ((SOCKET, 16, 3, 0), "done"),  # netlink
        ((SOCKET, 38, 5, 0), "EPERM"),  # AF_ALG
        ((SOCKET, 40, 1, 0), "EPERM"),  # AF_VSOCK
        ((PERSONALITY, 0xFFFFFFFF), "done"),
        ((PERSONALITY, 0x40000), "EPERM"),  # ADDR_NO_RANDOMIZE
    ],
)
def test_arguments_decide_where_the_policy_says_so(
    lab: Lab, filters: Filters, call: tuple[int, ...], answer: str
) -> None:
    assert called(lab, call, seccomp=default_filter(filters)) == [answer]


def test_policy_depends_on_the_capabilities(lab: Lab, filters: Filters) -> None:
    """Who was given CAP_SYS_ADMIN may mount; the filter does not stand in the way."""
    capabilities = (*DEFAULT_CAPABILITIES, "CAP_SYS_ADMIN")

    spec = lab.start(
        shell(
            "mkdir /m; mount -t tmpfs none /m; unshare -m true; echo ok",
            capabilities=capabilities,
            seccomp=default_filter(filters, capabilities),
        )
    )

    assert lab.ended(spec).exit_code == 0, lab.output(spec)


@pytest.mark.whole_kernel
@pytest.mark.parametrize("fields", [{}, {"user": "65534:65534"}, {"no_new_privileges": True}, {"terminal": True}])
def test_every_kind_of_process_is_filtered(lab: Lab, filters: Filters, fields: dict[str, Any]) -> None:
    """First one and further one, whoever they are."""
    path = default_filter(filters)
    spec = lab.start(shell("grep Seccomp: /proc/self/status; sleep infinity", seccomp=path, **fields))
    code, printed, _ = lab.exec(spec, "grep -E '^(Seccomp|CapPrm):' /proc/self/status", seccomp=path, user="65534")

    assert (code, printed.split()) == (0, ["CapPrm:", "0000000000000000", "Seccomp:", "2"])
    eventually(lambda: "Seccomp:\t2" in lab.output(spec), what="first process to say so")


def test_capabilities_of_another_user_do_not_outlive_the_filter(lab: Lab, filters: Filters) -> None:
    """They are kept until the filter is in place, and only so long."""
    spec = lab.start(
        process(
            "grep", "-E", "^Cap(Prm|Eff|Inh|Amb)", "/proc/self/status", user="65534", seccomp=default_filter(filters)
        )
    )
    lab.ended(spec)

    assert set(lab.output(spec).split()[1::2]) == {"0000000000000000"}


def custom(filters: Filters, *syscalls: dict[str, Any], default: str = "SCMP_ACT_ALLOW") -> str:
    text = json.dumps({"defaultAction": default, "syscalls": list(syscalls)})
    profile = profile_of(text)
    assert profile is not None
    return filters.path(profile, DEFAULT_CAPABILITIES)


@pytest.mark.whole_kernel
def test_profile_of_ones_own_forbids_what_it_names(lab: Lab, filters: Filters) -> None:
    path = custom(filters, {"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 28})

    spec = lab.start(shell("mkdir /x", seccomp=path))

    assert lab.ended(spec).exit_code == 1
    assert "No space left" in lab.output(spec)


def test_profile_may_forbid_what_starting_it_took(lab: Lab, filters: Filters) -> None:
    """The filter comes last, so our own last steps need not be on anybody's list."""
    calls = ["setresuid", "setgroups", "recvmsg", "recvfrom", "poll", "sendmsg", "umask", "setsid", "chdir", "dup2"]
    path = custom(filters, {"names": calls, "action": "SCMP_ACT_KILL_PROCESS"})

    spec = lab.start(process("/bin/echo", "fine", seccomp=path, user="65534"))

    assert lab.ended(spec).exit_code == 0
    assert lab.output(spec) == "fine\n"


def test_conditions_on_one_argument_are_alternatives(lab: Lab, filters: Filters) -> None:
    args = [{"index": 0, "value": family, "op": "SCMP_CMP_EQ"} for family in (1, 2)]
    path = custom(filters, {"names": ["socket"], "action": "SCMP_ACT_ERRNO", "errnoRet": 1, "args": args})

    assert called(lab, (SOCKET, 1, 1, 0), (SOCKET, 2, 1, 0), (SOCKET, 16, 3, 0), seccomp=path) == [
        "EPERM",
        "EPERM",
        "done",
    ]


@pytest.mark.parametrize(
    ("profile", "complaint"),
    [
        ("[", "it is not JSON"),
        ("[]", "it must be an object"),
        ({"syscalls": [{"names": ["x"], "action": "SCMP_ACT_ALLOW"}]}, "defaultAction: it is missing"),
        ({"defaultAction": "ALLOW"}, "defaultAction: ALLOW is not known"),
        ({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"action": "SCMP_ACT_ALLOW"}]}, r"syscalls\[0\].names"),
        (
            {
                "defaultAction": "SCMP_ACT_ALLOW",
                "syscalls": [{"names": ["x"], "action": "SCMP_ACT_ERRNO", "args": [{"index": 6}]}],
            },
            r"syscalls\[0\].args\[0\].index: a system call has arguments 0 to 5",
        ),
        ({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": {}}, "syscalls: it must be a list"),
    ],
)  # fmt: skip
def test_mistakes_in_a_profile_are_named(profile: object, complaint: str) -> None:
    text = profile if isinstance(profile, str) else json.dumps(profile)

    with pytest.raises(BadProfile, match=complaint):
        profile_of(text)


def test_empty_profile_filters_nothing() -> None:
    assert profile_of("{}") is None
    assert profile_of("unconfined") is None


def test_filters_are_made_once_and_differ_only_where_capabilities_matter(filters: Filters) -> None:
    plain = default_filter(filters)

    assert default_filter(filters, (*DEFAULT_CAPABILITIES, "CAP_NET_ADMIN")) == plain
    assert default_filter(filters, (*DEFAULT_CAPABILITIES, "CAP_SYS_TIME")) != plain
    assert len(list(Path(plain).parent.iterdir())) == 2


# --- the compact program decides as libseccomp's own ---------------------------------------------

STEP = struct.Struct("=HBBI")
Program = list[tuple[int, int, int, int]]


def verdict(program: Program, data: bytes) -> int:
    """What a program answers: an interpreter of classic BPF, as far as filters use it."""
    at = value = 0
    while True:
        op, yes, no, k = program[at]
        at += 1
        if op == 0x06:
            return k
        if op == 0x20:
            (value,) = struct.unpack_from("=I", data, k)
        elif op == 0x54:
            value &= k
        elif op == 0x05:
            at += k
        else:
            holds = {0x15: value == k, 0x25: value > k, 0x35: value >= k, 0x45: bool(value & k)}[op]
            at += yes if holds else no


@pytest.mark.parametrize("capabilities", [(), DEFAULT_CAPABILITIES, (*DEFAULT_CAPABILITIES, "CAP_SYS_ADMIN")])
def test_compact_program_decides_the_same(monkeypatch: pytest.MonkeyPatch, capabilities: tuple[str, ...]) -> None:
    """Every call of every architecture, with arguments on both sides of each condition."""
    profile = profile_of("")
    assert isinstance(profile, Profile)
    monkeypatch.setattr(compiling, "compact", lambda program: program)
    whole = compiling.compile_filter(profile, capabilities)
    small = compact(whole)
    assert len(small) < len(whole) / 2
    before, after = list(STEP.iter_unpack(whole)), list(STEP.iter_unpack(small))
    choose = random.Random(4)
    telling = [0, 1, 8, 11, 12, 13, 38, 40, 0x20008, 0xFFFFFFFF, 1 << 32, 0x10000000, 0x01200011, 1 << 63]
    for architecture in (0xC000003E, 0x40000003, 0xC00000B7, 0):
        for number in (*range(600), *range(0x40000000, 0x40000000 + 600), 0xFFFFFFFF):
            for _ in range(4):
                arguments = choose.choices(telling, k=6)
                data = struct.pack("=IIQ6Q", number, architecture, 0, *arguments)
                assert verdict(before, data) == verdict(after, data), (architecture, number, arguments)


def test_program_that_is_not_understood_is_left_alone() -> None:
    odd = b"".join(
        STEP.pack(*step) for step in ((0x20, 0, 0, 0), (0x54, 0, 0, 1), (0x15, 0, 1, 1), (6, 0, 0, 1), (6, 0, 0, 2))
    )

    assert compact(odd) == odd
