"""Containers with networks of their own that share a PID or an IPC namespace, and with it the user namespace."""

from __future__ import annotations

import os
from typing import Any

import pytest

from runtime.errors import RuntimeFault
from runtime.spec import ContainerSpec
from tests.runtime.lab import Lab, process

pytestmark = pytest.mark.kernel


@pytest.fixture
def lab(lab: Lab) -> Lab:
    lab.warm_up()
    return lab


def namespace(lab: Lab, spec: ContainerSpec, kind: str) -> str:
    return os.readlink(f"/proc/{lab.status(spec).pid}/ns/{kind}")


def sharer(lab: Lab, owner: ContainerSpec, **fields: Any) -> ContainerSpec:
    lent = {"users_of": owner.id} if owner.idmap is not None else {}
    return lab.sleeper(idmap=owner.idmap, **lent, **fields)


@pytest.mark.parametrize("mapped", [True, False], ids=["own users", "the host's users"])
@pytest.mark.parametrize("network", ["own", "host"])
def test_memory_and_queues_are_shared_and_nothing_else(lab: Lab, mapped: bool, network: str) -> None:
    fields: dict[str, Any] = {} if mapped else {"idmap": None}
    if network == "host":
        fields["sandbox"] = "host"
    owner = lab.sleeper(ipc="shareable", shm_bytes=1 << 20, **fields)
    other = sharer(lab, owner, ipc="shareable", ipc_of=owner.id)

    assert lab.exec(owner, "echo hello > /dev/shm/mark; ipcmk -Q > /dev/null")[0] == 0

    code, printed, complaint = lab.exec(
        other, "cat /dev/shm/mark; ipcs -q | grep -c 0x; echo back >> /dev/shm/mark; df -k --output=size /dev/shm"
    )
    assert (code, printed.split(), complaint) == (0, ["hello", "1", "1K-blocks", "1024"], "")
    assert namespace(lab, other, "ipc") == namespace(lab, owner, "ipc")
    for kind in ("net", "mnt", "pid", "uts"):
        assert namespace(lab, other, kind) != namespace(lab, owner, kind), kind
    assert namespace(lab, other, "user") == namespace(lab, owner, "user")
    assert lab.exec(other, "mkdir /dev/mqueue/x 2>/dev/null || touch /dev/mqueue/q; ls /dev/mqueue")[1] == "q\n"
    assert lab.exec(owner, "ls /dev/mqueue")[1] == "q\n"


def test_memory_outlives_either_side(lab: Lab) -> None:
    owner = lab.sleeper(ipc="shareable")
    other = sharer(lab, owner, ipc="shareable", ipc_of=owner.id)
    lab.exec(owner, "echo one > /dev/shm/mark")
    before = namespace(lab, owner, "ipc")

    for spec in (owner, other):
        lab.spawner.signal(spec.id, 9)
        lab.ended(spec)
        lab.spawner.create(spec)
        lab.spawner.start(spec.id)
        assert lab.exec(spec, "cat /dev/shm/mark")[1] == "one\n"
        assert namespace(lab, spec, "ipc") == before
        assert namespace(lab, spec, "user") == namespace(lab, owner, "user")


@pytest.mark.parametrize("mapped", [True, False], ids=["own users", "the host's users"])
def test_processes_are_shared(lab: Lab, mapped: bool) -> None:
    owner = lab.sleeper(**({} if mapped else {"idmap": None}))
    other = sharer(lab, owner, private_pids=False, pids_of=owner.id)

    assert namespace(lab, other, "pid") == namespace(lab, owner, "pid")
    assert namespace(lab, other, "net") != namespace(lab, owner, "net")
    assert lab.exec(other, "ps -e -o comm= | grep -c sleep")[1] == "2\n"
    lab.spawner.signal(owner.id, 9)
    assert lab.ended(other).exit_code == 137


def test_nothing_is_kept_once_it_is_let_go(lab: Lab) -> None:
    before = lab.descriptors()
    owner = lab.sleeper(ipc="shareable")
    other = sharer(lab, owner, ipc="shareable", ipc_of=owner.id)

    for spec in (other, owner):
        lab.spawner.signal(spec.id, 9)
        lab.ended(spec)
        lab.spawner.forget(spec.id)
        lab.spawner.unpin(spec.id)

    assert lab.spawner.pins() == []
    assert lab.descriptors() == before


def test_memory_of_one_that_lends_none(lab: Lab) -> None:
    owner = lab.sleeper()
    other = lab.spec(process("true"), idmap=owner.idmap, users_of=owner.id, ipc="shareable", ipc_of=owner.id)

    with pytest.raises(RuntimeFault, match="no IPC namespace to share"):
        lab.spawner.create(other)


def test_users_of_one_that_is_gone(lab: Lab) -> None:
    other = lab.spec(process("true"), users_of="0" * 64)

    with pytest.raises(RuntimeFault, match="is not there any more"):
        lab.spawner.create(other)
