"""engine.json, and what the engine does with it."""

from __future__ import annotations

import json
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path

import pytest

from ipam import DefaultPool
from netmodel.engine import Engine
from netmodel.engine.resolver import Resolver
from netmodel.engine.settings import Settings, read_settings, said, settings_of
from netmodel.errors import Invalid, NetmodelError
from netmodel.model import NetworkConfig, PoolConfig
from runtime.images.progress import Silent
from tests.netmodel.dns.nameserver import NameServer
from tests.netmodel.engine.conftest import clean_up, execute, output_of, runner
from tests.support.box import Box
from tests.support.tars import directory, docker_archive, layer

MTU = "com.docker.network.driver.mtu"


def test_without_a_file_all_is_as_usual(tmp_path: Path) -> None:
    assert read_settings(tmp_path / "engine.json") == Settings()


@pytest.mark.parametrize(
    ("text", "message", "hint"),
    [
        ("{", "not JSON", "correct it"),
        ("[]", "not a JSON object", "default-address-pools"),
        ('{"default-adress-pools": []}', "default-adress-pools: no such setting", "did you mean default-address-pools"),
        ('{"debug": true}', "debug: no such setting", "remove it"),
        ('{"default-address-pools": {}}', "not a list", '"base"'),
        ('{"default-address-pools": ["10.0.0.0/8"]}', "does not have just a base and a size", '"base"'),
        ('{"default-address-pools": [{"base": "10.0.0.0/8"}]}', "does not have just a base and a size", '"base"'),
        ('{"default-address-pools": [{"base": "10.0.0.0/8", "size": "24"}]}', "size in bits", '"base"'),
        ('{"default-address-pools": [{"base": "10.0.0.1/8", "size": 24}]}', "host bits", '"base"'),
        ('{"default-address-pools": [{"base": "10.0.0.0/24", "size": 16}]}', "no subnet of size /16 fits", '"base"'),
        ('{"default-network-opts": {"bridge": {"a": 1}}}', "not options by driver", '"bridge"'),
        ('{"icc": "false"}', 'icc: "false" is neither true nor false', "without quotes"),
        ('{"iptables": false}', "iptables: false: without rules of ours there would be no isolation", "ip-masq"),
        ('{"ip6tables": 0}', "ip6tables: 0 is neither true nor false", "without quotes"),
        ('{"ip-forward-no-drop": false}', "ip-forward-no-drop: false: what the host forwards for others", "chain user"),
        ('{"firewall-backend": "iptables"}', 'firewall-backend: "iptables": all rules are in one nft table', "leave"),
        ('{"live-restore": false}', "live-restore: false: containers run on", "netmodel stop"),
        ('{"userland-proxi": false}', "userland-proxi: no such setting", "did you mean userland-proxy"),
        ('{"userland-proxy": "no"}', 'userland-proxy: "no" is neither true nor false', "without quotes"),
        ('{"dns": "192.0.2.1"}', "dns: not a list", "192.0.2.53"),
        ('{"dns": ["ns"]}', "dns: 'ns' is not an IP address", ""),
        ('{"dns": ["10.0.0.1", "10.0.0.2", "10.0.0.3", "10.0.0.4"]}', "dns: 4 servers", "three at most"),
        ('{"dns-search": ["a b"]}', "dns-search: 'a b' is not one word", "example.org"),
        ('{"dns-opts": [1]}', "dns-opts: 1 is no text", "in quotes"),
        ('{"mtu": 67}', "mtu: 67 is not a number of bytes from 68 to 65535", "default route"),
        ('{"mtu": true}', "mtu: true is not a number of bytes", "default route"),
        ('{"bridge": "a/b"}', "bridge: 'a/b' is no name for a link", "15 bytes"),
        ('{"bip": 10}', "bip: 10 is no text", "in quotes"),
        ('{"bip": "10.0.0.1"}', "bip: '10.0.0.1' is not an IPv4 address with its prefix length", "10.200.0.1/24"),
        ('{"bip": "10.0.0.0/24"}', "bip: 10.0.0.0/24 is a subnet, not an address in one", "10.200.0.1/24"),
        ('{"bip": "fd00::1/64"}', "bip: 'fd00::1/64' is not an IPv4 address", "10.200.0.1/24"),
        ('{"bip6": "10.0.0.1/24"}', "bip6: '10.0.0.1/24' is not an IPv6 address", "fd00:200::1/64"),
        ('{"fixed-cidr": "10.0.0.1/24"}', "fixed-cidr: 10.0.0.1/24 has host bits set", "no bits beyond"),
        ('{"fixed-cidr": "fd00::/64"}', "fixed-cidr: fd00::/64 is not an IPv4 subnet", ""),
        ('{"default-gateway": "fd00::1"}', "default-gateway: 'fd00::1' is not an IPv4 address", ""),
        ('{"ip": "eth0"}', "ip: 'eth0' is not an IP address", ""),
        ('{"bridge-accept-fwmark": "5/3"}', "no packet has the mark 5/3", "0x10/0xff"),
        ('{"bridge-accept-fwmark": 2}', "bridge-accept-fwmark: 2 is no text", "in quotes"),
        ('{"cpu-rt-runtime": "1ms"}', 'cpu-rt-runtime: "1ms" is no number of microseconds', "950000"),
        ('{"cdi-spec-dirs": ["cdi"]}', "cdi-spec-dirs: 'cdi' is not absolute", "begin it with"),
        ('{"storage-driver": "zfs"}', "storage-driver: there is no storage driver 'zfs'", "overlay or copy"),
        ('{"host-gateway-ips": "10.0.0.1"}', "host-gateway-ips: not a list", "192.0.2.1"),
        ('{"host-gateway-ips": ["10.0.0.1", "10.0.0.2"]}', "two IPv4 addresses: 10.0.0.1, 10.0.0.2", "each family"),
    ],
)
def test_mistakes_name_the_file_and_the_key(tmp_path: Path, text: str, message: str, hint: str) -> None:
    path = tmp_path / "engine.json"
    path.write_text(text)

    with pytest.raises(Invalid) as refused:
        read_settings(path)

    assert str(path) in str(refused.value)
    assert message in str(refused.value)
    assert hint in refused.value.hint


def test_the_command_line_goes_before_the_file(tmp_path: Path) -> None:
    path = tmp_path / "engine.json"
    path.write_text('{"icc": false, "bip": "10.40.0.1/24", "host-gateway-ips": ["192.0.2.1"], "iptables": true}')
    file = read_settings(path)
    line = settings_of({"icc": True, "mtu": 1400, "bridge-accept-fwmark": "0x10/0xff"}, "--")

    assert said(file.overridden_by(line)) == {
        "icc": True,
        "bip": "10.40.0.1/24",
        "mtu": 1400,
        "host-gateway-ips": ["192.0.2.1"],
        "bridge-accept-fwmark": "0x10/0xff",
    }
    assert said(file.overridden_by(None)) == said(file)
    assert said(Settings()) == {}


@pytest.mark.kernel
def test_automatic_subnets_come_from_the_pools_in_the_file(host: Box, tmp_path: Path) -> None:
    """TestDaemonDefaultNetworkPools: the default network, too; a family without a pool keeps ours."""
    root = tmp_path / "root"
    root.mkdir()
    pools = [{"base": "10.30.0.0/16", "size": 24}, {"base": "10.31.0.0/23", "size": 24}]
    (root / "engine.json").write_text(json.dumps({"default-address-pools": pools}))
    engine = Engine(root)
    engine.open()

    assert engine.network("bridge").pools[0].subnet == IPv4Network("10.30.0.0/24")
    dual = engine.create_network(NetworkConfig(name="dual", enable_ipv6=True))
    assert dual.pools[0].subnet == IPv4Network("10.30.1.0/24")
    assert dual.pools[1].subnet.subnet_of(IPv6Network("fd00::/8"))  # type: ignore[arg-type]
    clean_up(engine)


@pytest.mark.kernel
def test_small_pools_run_dry_with_a_way_out(host: Box, tmp_path: Path) -> None:
    pools = (DefaultPool(ip_network("10.32.0.0/23"), 24), DefaultPool(ip_network("fd32::/48"), 64))
    engine = Engine(tmp_path / "root", Settings(default_address_pools=pools))
    engine.open()
    made = engine.create_network(NetworkConfig(name="second", enable_ipv6=True))

    assert [str(pool.subnet) for pool in made.pools] == ["10.32.1.0/24", "fd32::/64"]
    with pytest.raises(NetmodelError, match=r"no free IPv4 subnet is left in the default pools 10\.32\.0\.0/23"):
        engine.create_network(NetworkConfig(name="third"))
    engine.remove_network("second")
    engine.create_network(NetworkConfig(name="third"))
    clean_up(engine)


@pytest.mark.kernel
def test_automatic_subnets_hide_no_name_server_of_the_host(host: Box, tmp_path: Path) -> None:
    """One that is chosen may: whoever chooses it may know better."""
    lines = [line.split() for line in Path("/etc/resolv.conf").read_text().splitlines()]
    servers = [words[1] for words in lines if words[:1] == ["nameserver"] and ":" not in words[1]]
    if not servers or servers[0].startswith("127."):
        pytest.skip("missing: an IPv4 name server in /etc/resolv.conf that is not this machine")
    hidden = ip_network(f"{servers[0]}/24", strict=False)
    pools = (DefaultPool(hidden.supernet(new_prefix=22), 24),)
    engine = Engine(tmp_path / "root", Settings(default_address_pools=pools))
    engine.open()
    made = [engine.network("bridge"), *(engine.create_network(NetworkConfig(name=name)) for name in ("a", "b"))]

    assert hidden not in [network.pools[0].subnet for network in made]
    with pytest.raises(NetmodelError, match="no free IPv4 subnet"):
        engine.create_network(NetworkConfig(name="c"))
    engine.create_network(NetworkConfig(name="c", pools=(PoolConfig(subnet=hidden),)))
    clean_up(engine)


@pytest.mark.kernel
def test_name_servers_search_list_and_options_instead_of_the_hosts(host: Box, tmp_path: Path) -> None:
    """Asked from the host, so a server on its loopback does; what a container says itself goes before."""
    root = tmp_path / "root"
    root.mkdir()
    told = {"dns": ["127.0.0.153"], "dns-search": ["example"], "dns-opts": ["ndots:0", "timeout:3"]}
    (root / "engine.json").write_text(json.dumps(told))
    server = NameServer(host, "127.0.0.153", records={"world.example.": ["192.0.2.1"]})
    try:
        with Engine(root, Settings(resolver=Resolver(options=("ndots:1",)))) as engine:
            assert engine.info().settings == {**told, "dns-opts": ["ndots:1"]}
            engine.create_network(NetworkConfig(name="lan"))
            engine.create_network(NetworkConfig(name="inner", internal=True))
            run = runner(engine)
            run("usual", "lan")
            run("other", "lan", dns_search=("elsewhere",), dns_options=("ndots:0",))
            run("shut", "inner")

            assert "search example\noptions ndots:1\n" in output_of(engine, "usual", "cat", "/etc/resolv.conf")
            assert "search elsewhere\noptions ndots:0\n" in output_of(engine, "other", "cat", "/etc/resolv.conf")
            assert "192.0.2.1" in output_of(engine, "usual", "getent", "ahostsv4", "world")
            assert "192.0.2.1" in output_of(engine, "other", "getent", "ahostsv4", "world.example")
            assert execute(engine, "shut", "getent", "ahostsv4", "world.example")[0] == 2
            for name in ("usual", "other", "shut"):
                engine.remove(name, force=True)
    finally:
        server.close()


@pytest.mark.kernel
def test_new_networks_have_the_options_in_the_file(host: Box, tmp_path: Path) -> None:
    """Those of their driver, unless they say otherwise; the predefined ones have none, as in Docker."""
    root = tmp_path / "root"
    root.mkdir()
    defaults = {"bridge": {MTU: "1400"}, "p2p": {}}
    (root / "engine.json").write_text(json.dumps({"default-network-opts": defaults}))
    with Engine(root, Settings(default_address_pools=(DefaultPool(ip_network("10.30.0.0/16"), 24),))) as engine:
        usual = engine.create_network(NetworkConfig(name="usual"))
        other = engine.create_network(NetworkConfig(name="other", options={MTU: "1300"}))

        assert (usual.config.options, other.config.options) == ({MTU: "1400"}, {MTU: "1300"})
        assert engine.network("bridge").config.options == {}
        assert "mtu 1400" in host.run("ip", "link", "show", f"br-{usual.id[:12]}").stdout
        assert usual.pools[0].subnet.subnet_of(IPv4Network("10.30.0.0/16"))  # type: ignore[arg-type]

    (root / "engine.json").write_text('{"default-network-opts": {"bridge": {"speed": "9"}}}')
    with pytest.raises(NetmodelError, match=r"engine\.json: default-network-opts: .*speed"):
        Engine(root).open()


@pytest.mark.kernel
def test_a_pool_that_no_container_can_use_keeps_the_engine_from_starting(host: Box, tmp_path: Path) -> None:
    settings = Settings(default_address_pools=(DefaultPool(ip_network("127.0.0.0/8"), 24),))

    with pytest.raises(NetmodelError, match=r"127\.0\.0\.0/8, the loopback range"):
        Engine(tmp_path / "root", settings).open()


@pytest.mark.kernel
def test_the_storage_driver_is_that_of_the_file_while_there_are_no_images(host: Box, tmp_path: Path) -> None:
    root = tmp_path / "root"
    root.mkdir()

    def start(driver: str) -> tuple[str, tuple[str, ...]]:
        (root / "engine.json").write_text(json.dumps({"storage-driver": driver}))
        with Engine(root) as engine:
            engine.images.load(docker_archive([layer(directory("etc")), layer(directory("srv"))]), Silent)
            info = engine.info()
            assert len(engine.images.details("lab/app:1").image.layers) == (1 if info.storage_driver == "copy" else 2)
            return info.storage_driver, info.warnings

    with Engine(root) as engine:  # has chosen by itself, and kept nothing
        assert engine.info().storage_driver == "overlay"
    assert start("vfs") == ("copy", ())
    kept, (warning,) = start("overlay2")
    assert (kept, "storage-driver=overlay waits" in warning) == ("copy", True)
