"""Somebody flushes the ruleset: it is noticed, and nothing else is."""

from __future__ import annotations

import threading

import pytest

from drivers.kernel.nft import NftWorker
from drivers.kernel.nft_watch import NftWatch

pytestmark = pytest.mark.kernel


def test_a_deleted_table_is_noticed_and_nothing_else(nft: NftWorker) -> None:
    nft.run("add table inet ours\nadd table inet other\nadd table ip ours")
    gone = threading.Semaphore(0)
    watch = NftWatch("ours", gone.release)

    nft.run("add chain inet ours c\ndelete table inet other\ndelete table ip ours\ndelete chain inet ours c")
    assert not gone.acquire(timeout=0.05)
    nft.run("flush ruleset")
    assert gone.acquire(timeout=5)
    nft.run("add table inet ours\ndelete table inet ours")
    assert gone.acquire(timeout=5)

    watch.close()
    nft.run("add table inet ours\ndelete table inet ours")
    assert not gone.acquire(timeout=0.05)
