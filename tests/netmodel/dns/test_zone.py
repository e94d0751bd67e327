"""The zone by itself, and whatever the order of its changes."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Interface

from hypothesis import given
from hypothesis import strategies as st

from netmodel.dns import Zone

ONE, TWO = IPv4Address("10.1.0.2"), IPv4Address("10.1.0.3")


def test_names_are_found_with_and_without_their_network_in_any_case() -> None:
    zone = Zone()
    zone.attach("n1", "e1", ["web", "Alias"], [IPv4Interface("10.1.0.2/24")], network_name="Front")

    for name in ("web", "WEB.", "alias", "web.front", "ALIAS.FRONT"):
        assert zone.addresses(["n1"], name) == (ONE,)
    assert zone.addresses(["n2"], "web") is None
    assert zone.addresses(["n1"], "web.back") is None
    assert zone.name_of(["n1"], ONE) == "web.front"
    assert zone.name_of(["n2"], ONE) is None


def test_the_first_network_that_knows_a_name_answers() -> None:
    zone = Zone()
    zone.attach("n1", "e1", ["web"], [ONE])
    zone.attach("n2", "e2", ["web"], [TWO])

    assert zone.addresses(["n2", "n1"], "web") == (TWO,)


def test_a_new_owner_of_an_address_outlives_the_former() -> None:
    zone = Zone()
    zone.attach("n1", "e1", ["old"], [ONE])
    zone.attach("n1", "e2", ["new"], [ONE])
    zone.detach("e1")

    assert zone.name_of(["n1"], ONE) == "new"


def test_renaming_drops_the_former_names() -> None:
    zone = Zone()
    zone.attach("n1", "e1", ["old"], [ONE])
    zone.rename("e1", ["new"])
    zone.rename("unknown", ["nobody"])

    assert zone.addresses(["n1"], "old") is None
    assert zone.addresses(["n1"], "new") == (ONE,)


CHANGES = st.tuples(
    st.sampled_from(["n1", "n2"]),
    st.sampled_from(["e1", "e2", "e3"]),
    st.lists(st.sampled_from("abc"), max_size=3),
    st.lists(st.sampled_from([ONE, TWO]), max_size=2),
    st.booleans(),
)


@given(st.lists(CHANGES, max_size=20))
def test_a_zone_holds_exactly_what_is_attached(
    changes: list[tuple[str, str, list[str], list[IPv4Address], bool]],
) -> None:
    zone = Zone()
    model: dict[str, tuple[str, set[str], set[IPv4Address]]] = {}
    for network, endpoint, names, addresses, attach in changes:
        if attach:
            zone.attach(network, endpoint, names, addresses)
            model[endpoint] = (network, set(names), set(addresses))
        else:
            zone.detach(endpoint)
            model.pop(endpoint, None)
    for network in ("n1", "n2"):
        for name in "abc":
            owners = [addresses for net, names, addresses in model.values() if net == network and name in names]
            found = zone.addresses([network], name)
            assert (found is None) == (not owners)
            assert set(found or ()) == set().union(*owners)
    for endpoint in list(model):
        zone.detach(endpoint)
    assert not zone._named
    assert not zone._addressed
    assert not zone._members
