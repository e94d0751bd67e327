"""Somebody changes our rules or flushes the ruleset: it is noticed, and nothing else is."""

from __future__ import annotations

import threading

import pytest

from drivers.kernel.nft import NftWorker
from drivers.kernel.nft_watch import NftWatch

pytestmark = pytest.mark.kernel


def test_changed_rules_are_noticed_and_nothing_else(nft: NftWorker) -> None:
    nft.run("add table inet ours\nadd table inet other\nadd table ip ours\nadd chain inet other c")
    changed = threading.Semaphore(0)
    watch = NftWatch("ours", changed.release)

    nft.run("add chain inet ours c\nadd set inet ours s { type ifname; }\nadd element inet ours s { lo }")
    nft.run("add rule inet other c drop\ndelete table inet other\ndelete table ip ours\nflush set inet ours s")
    assert not changed.acquire(timeout=0.05)
    for script in (
        "add rule inet ours c drop",
        "flush chain inet ours c",
        "delete chain inet ours c",
        "flush ruleset",
        "add table inet ours\ndelete table inet ours",
    ):
        nft.run(script)
        assert changed.acquire(timeout=5), script

    watch.close()
    nft.run("add table inet ours\ndelete table inet ours")
    assert not changed.acquire(timeout=0.05)
