"""Transactions that we pack ourselves: all or nothing, and no wait for an answer that does not come."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable

import pytest

from drivers.kernel.conntrack import NETLINK_NETFILTER
from drivers.kernel.errors import KernelError
from drivers.kernel.netlink import Netlink
from drivers.kernel.nft import NftWorker
from drivers.kernel.nft_message import accept, add_output_chain, add_rule, add_table
from tests.support.box import Box

pytestmark = pytest.mark.kernel


def test_a_refused_one_leaves_nothing(nft: NftWorker, box: Callable[[str], Box]) -> None:
    a = box("a")
    good = [add_table("t"), add_output_chain("t", "c"), add_rule("t", "c", accept())]

    with Netlink(a.path, NETLINK_NETFILTER) as firewall:
        with pytest.raises(KernelError, match="add a rule to ip t missing") as refused:
            firewall.transact([*good, add_rule("t", "missing", accept())])
        assert refused.value.errno == errno.ENOENT
        assert nft.run("list ruleset\n", a.path) == ""

        firewall.transact(good)  # and what was left to say of the refused one is not taken for an answer

    assert "accept" in nft.run("list ruleset\n", a.path)


def test_one_that_may_not_be_begun_is_refused_at_once(box: Callable[[str], Box]) -> None:
    with Netlink(box("a").path, NETLINK_NETFILTER) as firewall:
        child = os.fork()
        if child == 0:
            try:
                os.setuid(65534)
                firewall.transact([add_table("t")])
            except KernelError as error:
                os._exit(error.errno)
            finally:
                os._exit(0)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == errno.EPERM
