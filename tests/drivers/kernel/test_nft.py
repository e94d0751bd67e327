"""The nft worker: transactions, namespaces, and its own death."""

from __future__ import annotations

import errno
import os
import signal
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from drivers.kernel.errors import KernelError
from drivers.kernel.nft import NftWorker
from tests.support.box import Box
from tests.support.wait import eventually

pytestmark = pytest.mark.kernel


def test_a_script_is_one_transaction(nft: NftWorker) -> None:
    with pytest.raises(KernelError) as refusal:
        nft.run("add table inet t\nadd rule inet t nowhere accept\n", asked="write the rules")

    assert str(refusal.value) == "write the rules: No such file or directory"
    assert refusal.value.errno == errno.ENOENT
    assert nft.list_table("inet t") == ""


def test_nonsense_is_refused_and_the_worker_goes_on(nft: NftWorker) -> None:
    worker = nft.pid
    with pytest.raises(KernelError, match="syntax error"):
        nft.run("bogus {{{")

    nft.run("add table inet t")

    assert nft.list_table("inet t") == "table inet t {\n}\n"
    assert nft.pid == worker


def test_a_script_may_run_in_another_namespace(nft: NftWorker, box: Callable[[str], Box]) -> None:
    a = box("a")

    nft.run("add table inet there", a.path)
    nft.run("add table inet here")

    assert nft.list_table("inet there") == ""
    assert nft.list_table("inet there", a.path) != ""
    assert nft.list_table("inet here", a.path) == ""
    with pytest.raises(KernelError, match="open the network namespace /missing"):
        nft.run("add table inet t", Path("/missing"))
    with pytest.raises(KernelError):
        nft.run("add table inet t", Path("/dev/null"))
    assert nft.list_table("inet here") != ""


def test_the_worker_is_started_again_when_it_has_died(nft: NftWorker) -> None:
    nft.run("add table inet t")
    first = nft.pid
    os.kill(first, signal.SIGKILL)

    nft.run("add chain inet t c")

    assert "chain c" in nft.list_table("inet t")
    assert nft.pid != first


def test_death_in_the_middle_is_told_because_nobody_knows(nft: NftWorker) -> None:
    nft.run("add table inet t\nadd set inet t s { type ipv4_addr; }")
    elements = ", ".join(f"10.{n >> 16}.{n >> 8 & 255}.{n & 255}" for n in range(300_000))
    worker = nft.pid
    thread = threading.Thread(target=lambda: (_wait_until_busy(worker), os.kill(worker, signal.SIGKILL)))
    thread.start()

    with suppress(KernelError):  # it may have been faster than we
        nft.run(f"add element inet t s {{ {elements} }}")
    thread.join()

    assert "table inet t" in eventually(lambda: nft.list_table("inet t"))


def _wait_until_busy(pid: int) -> None:
    def resident_kb() -> int:
        status = Path(f"/proc/{pid}/status").read_text()
        return int(status.split("VmRSS:")[1].split()[0])

    idle = resident_kb()
    eventually(lambda: resident_kb() > idle + 20_000)


def test_several_threads_share_the_worker(nft: NftWorker) -> None:
    def work(name: str) -> None:
        for number in range(10):
            nft.run(f"add table inet {name}\nadd chain inet {name} c{number}")

    threads = [threading.Thread(target=work, args=(f"t{number}",)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    for number in range(4):
        assert nft.list_table(f"inet t{number}").count("chain") == 10


def test_it_works_past_descriptor_1024(nft: NftWorker, box: Callable[[str], Box]) -> None:
    """The reason for the worker: libnftables itself would abort here."""
    taken = [os.open("/dev/null", os.O_RDONLY) for _ in range(1100)]
    try:
        os.kill(nft.pid, signal.SIGKILL)
        nft.run("add table inet t")  # its new socket is past 1024
        nft.run("add table inet t", box("a").path)
        assert nft.list_table("inet t") != ""
    finally:
        for descriptor in taken:
            os.close(descriptor)


def test_closing_ends_the_worker(host: Box) -> None:
    worker = NftWorker()
    pid = worker.pid
    worker.close()

    assert not Path(f"/proc/{pid}").exists()
    assert worker.pid == 0
    worker.close()
