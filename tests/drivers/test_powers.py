"""What a driver can do beyond the contract is asked once for each class of drivers, and answered as typing would."""

from __future__ import annotations

from typing import _ProtocolMeta

import pytest

from drivers import api
from drivers.bridge import Bridge
from drivers.host import Host
from drivers.lease import OnSegment
from drivers.macvlan import Macvlan
from drivers.null import Null

POWERS = [*(one for one in vars(api).values() if type(one) is api.Power), OnSegment]
_LIKE = [kind.__new__(kind) for kind in (Bridge, Macvlan, Host, Null, object)]


@pytest.mark.parametrize("power", POWERS, ids=lambda power: power.__name__)
def test_drivers_have_the_powers_whose_members_they_have(power: api.Power) -> None:
    wanted = [_ProtocolMeta.__instancecheck__(power, driver) for driver in _LIKE]

    for _ in range(2):  # the second answer is remembered
        assert [isinstance(driver, power) for driver in _LIKE] == wanted
    assert True in wanted
    assert False in wanted
