"""What each key of a service becomes."""

# ruff: noqa: E501 - a case a line

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from pathlib import Path

import pytest

from netmodel.model import EndpointConfig, MountConfig, PortConfig, RouteConfig, UlimitConfig, VolumeConfig
from netmodel.topology import TopologyError
from tests.netmodel.topology.support import config, load_text, project, told


@pytest.mark.parametrize(
    ("keys", "field", "value"),
    [
        ("command: python3 -m http.server '80 80'", "command", ("python3", "-m", "http.server", "80 80")),
        ("command: [a, 'b c']", "command", ("a", "b c")),
        ("command: []", "command", ()),
        ("command: ''", "command", ()),
        ("command:", "command", None),
        ("entrypoint: sh -c 'a && b'", "entrypoint", ("sh", "-c", "a && b")),
        ("environment: {A: 1, B: true, C: 'x', D: 1.10, E: yes}", "environment", {"A": "1", "B": "true", "C": "x", "D": "1.10", "E": "yes"}),
        ("environment: [A=1, 'B=a=b', C=]", "environment", {"A": "1", "B": "a=b", "C": ""}),
        ("environment: {HOME: , NOT_SET: }", "environment", {"HOME": "/root"}),
        ("environment: [HOME, NOT_SET]", "environment", {"HOME": "/root"}),
        ("working_dir: /srv", "working_dir", "/srv"),
        ("user: 1000:1000", "user", "1000:1000"),
        ("user: 1000", "user", "1000"),
        ("hostname: meet.jitsi", "hostname", "meet.jitsi"),
        ("domainname: example.org", "domainname", "example.org"),
        ("stop_signal: usr1", "stop_signal", "SIGUSR1"),
        ("stop_grace_period: 1m1.5s", "stop_timeout_s", 62),
        ("tty: true", "tty", True),
        ("tty: yes", "tty", True),
        ("tty: '${NO:-off}'", "tty", False),
        ("stdin_open: true", "open_stdin", True),
        ("privileged: true", "privileged", True),
        ("read_only: true", "read_only", True),
        ("security_opt: ['no-new-privileges:true']", "no_new_privileges", True),
        ("userns_mode: host", "userns_mode", "host"),
        ("userns_mode: auto:size=4096", "userns_mode", "auto:size=4096"),
        ("cap_add: [NET_ADMIN, CAP_SYS_TIME, all]", "cap_add", ("NET_ADMIN", "SYS_TIME", "ALL")),
        ("cap_drop: [NET_RAW]", "cap_drop", ("NET_RAW",)),
        ("sysctls: {net.ipv4.ip_forward: 1}", "sysctls", {"net.ipv4.ip_forward": "1"}),
        ("sysctls: [net.ipv4.ip_forward=1]", "sysctls", {"net.ipv4.ip_forward": "1"}),
        ("ulimits: {nofile: {soft: 10, hard: 20}}", "ulimits", (UlimitConfig(name="nofile", soft=10, hard=20),)),
        ("ulimits: {memlock: -1}", "ulimits", (UlimitConfig(name="memlock", soft=-1, hard=-1),)),
        ("mem_limit: 1.5g", "memory_bytes", 3 * 512 * 1024 * 1024),
        ("mem_limit: 1048576", "memory_bytes", 1048576),
        ("mem_limit: '64mb'", "memory_bytes", 64 * 1024 * 1024),
        ("memswap_limit: -1", "memory_swap_bytes", -1),
        ("cpus: 0.5", "cpus", 0.5),
        ("cpus: '1.5'", "cpus", 1.5),
        ("cpu_shares: 512", "cpu_shares", 512),
        ("pids_limit: 20", "pids_limit", 20),
        ("pids_limit: -1", "pids_limit", -1),
        ("deploy: {resources: {limits: {memory: 64m}}}", "memory_bytes", 64 * 1024 * 1024),
        ("deploy: {resources: {limits: {cpus: '0.25'}}}", "cpus", 0.25),
        ("deploy: {resources: {limits: {pids: 9}}}", "pids_limit", 9),
        ("shm_size: 8m", "shm_bytes", 8 * 1024 * 1024),
        ("network_mode: host", "network_mode", "host"),
        ("network_mode: none", "network_mode", "none"),
        ("network_mode: bridge", "networks", ()),
        ("network_mode: container:other", "network_mode", "container:other"),
        ("dns: 1.1.1.1", "dns", (ip_address("1.1.1.1"),)),
        ("dns: [1.1.1.1, '2606::1']", "dns", (ip_address("1.1.1.1"), ip_address("2606::1"))),
        ("dns_search: lab.test", "dns_search", ("lab.test",)),
        ("dns_opt: ['ndots:2']", "dns_options", ("ndots:2",)),
        ("extra_hosts: ['a:10.0.0.1', 'b=::1', 'c:[::2]', 'a:fd00::1']", "extra_hosts", {"a": "10.0.0.1,fd00::1", "b": "::1", "c": "::2"}),
        ("extra_hosts: {a: 10.0.0.1, b: [10.0.0.2, '::1']}", "extra_hosts", {"a": "10.0.0.1", "b": "10.0.0.2,::1"}),
        ("group_add: [mail, 20]", "group_add", ("mail", "20")),
        ("image: ./rootfs", "image", "DIR/rootfs"),
        ("image: ../x.tar", "image", "PARENT/x.tar"),
        ("image: /srv/rootfs", "image", "/srv/rootfs"),
    ],
)  # fmt: skip
def test_key(tmp_path: Path, keys: str, field: str, value: object) -> None:
    text = "services:\n  web:\n    " + ("" if keys.startswith("image") else "image: host\n    ") + keys + "\n"
    if isinstance(value, str):
        value = value.replace("DIR", str(tmp_path)).replace("PARENT", str(tmp_path.parent))

    found = project(tmp_path, text, {"HOME": "/root"}).containers[0].config

    assert getattr(found, field) == value


@pytest.mark.parametrize(
    ("text", "ports"),
    [
        ("80", [(80, "tcp", None, 0, 0)]),
        ("8080:80", [(80, "tcp", None, 8080, 0)]),
        ("22:22", [(22, "tcp", None, 22, 0)]),
        ("53:53/udp", [(53, "udp", None, 53, 0)]),
        ("127.0.0.1:8001:81", [(81, "tcp", "127.0.0.1", 8001, 0)]),
        ("127.0.0.1::81", [(81, "tcp", "127.0.0.1", 0, 0)]),
        ("'[::1]:8001:81'", [(81, "tcp", "::1", 8001, 0)]),
        ("'::1:8001:81'", [(81, "tcp", "::1", 8001, 0)]),
        ("6005-6015:80", [(80, "tcp", None, 6005, 6015)]),
        ("9090-9091:8080-8081", [(8080, "tcp", None, 9090, 0), (8081, "tcp", None, 9091, 0)]),
        ("3000-3002", [(3000, "tcp", None, 0, 0), (3001, "tcp", None, 0, 0), (3002, "tcp", None, 0, 0)]),
        ("{target: 80}", [(80, "tcp", None, 0, 0)]),
        ("{target: 80, published: '8080', protocol: udp, host_ip: 127.0.0.1, mode: host}", [(80, "udp", "127.0.0.1", 8080, 0)]),
        ("{target: 80, published: 8080-8090}", [(80, "tcp", None, 8080, 8090)]),
    ],
)  # fmt: skip
def test_ports(tmp_path: Path, text: str, ports: list[tuple[int, str, str | None, int, int]]) -> None:
    found = config(tmp_path, f"ports:\n  - {text}").ports

    assert found == tuple(
        PortConfig(
            container_port=port,
            protocol="udp" if protocol == "udp" else "tcp",
            host_address=ip_address(address) if address else None,
            host_port=first,
            host_port_end=last,
        )
        for port, protocol, address, first, last in ports
    )


def test_links(tmp_path: Path) -> None:
    """On each of its networks, and after whom it is linked to; on the engine's default network, to a container."""
    text = """
services:
  web: {image: host, networks: [a, b], links: [db, "db:store"], external_links: ["old_db_1:old"]}
  plain: {image: host, network_mode: bridge, links: ["db:store"], external_links: [old_db_1]}
  db: {image: host, networks: [a]}
networks: {a: , b: }
"""
    found = project(tmp_path, text)
    by_service = {one.service: one for one in found.containers}

    wanted = (("db", "db"), ("db", "store"), ("old_db_1", "old"))
    for endpoint in by_service["web"].config.networks:
        assert tuple((link.target, link.alias) for link in endpoint.links) == wanted
    [default] = by_service["plain"].config.networks
    assert default.network == "bridge"
    assert [link.target for link in default.links] == [f"{found.name}-db-1", "old_db_1"]
    assert [one.depends_on for one in (by_service["web"], by_service["plain"], by_service["db"])] == [
        ("db",),
        ("db",),
        (),
    ]


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ("links: [nobody]", 'there is no service "nobody"'),
        ("links: ['x:']", '"x:" is not NAME or NAME:ALIAS'),
        ("external_links: ['x:a/b']", '"a/b" is no host name'),
        ("network_mode: host\nexternal_links: [x]", "makes no sense with network_mode host"),
    ],
)
def test_links_that_cannot_be(tmp_path: Path, keys: str, message: str) -> None:
    with pytest.raises(TopologyError, match=message):
        config(tmp_path, keys)


def test_volumes_from(tmp_path: Path) -> None:
    text = """
services:
  user: {image: host, volumes_from: [store, "other:ro", "container:old", "container:older:ro"]}
  other: {image: host}
  store: {image: host}
"""
    [user] = [one for one in project(tmp_path, text).containers if one.service == "user"]

    assert [(one.container, one.read_only) for one in user.config.volumes_from] == [
        ("service:store", False),
        ("service:other", True),
        ("old", False),
        ("older", True),
    ]
    assert user.depends_on == ("store", "other")


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ("nobody", 'there is no service "nobody"'),
        ("x:loud", 'unknown mode "loud"; use ro or rw'),
        ("container:", "names nobody"),
        ("x", "a cycle"),
    ],
)
def test_volumes_from_whom_there_is_not(tmp_path: Path, entry: str, message: str) -> None:
    with pytest.raises(TopologyError, match=message):
        project(tmp_path, f"services:\n  x: {{image: host, volumes_from: ['{entry}']}}\n")


def test_link_local_addresses(tmp_path: Path) -> None:
    text = "networks:\n  default: {link_local_ips: [169.254.7.1, 'fe80::7']}"

    assert config(tmp_path, text).networks[0].link_local_ips == (ip_address("169.254.7.1"), ip_address("fe80::7"))
    with pytest.raises(TopologyError, match="no link-local address"):
        config(tmp_path, text.replace("169.254", "10.254"))


def test_a_port_has_the_names_that_services_are_found_by(tmp_path: Path) -> None:
    [found] = config(tmp_path, "ports:\n  - {target: 8443, name: admin, app_protocol: https}").ports

    assert found == PortConfig(container_port=8443, names=("admin", "https"))


def test_expose(tmp_path: Path) -> None:
    found = config(tmp_path, "expose: [80, '53/udp', 7000-7001]").exposed_ports

    assert [(port.container_port, port.protocol) for port in found] == [
        (80, "tcp"),
        (53, "udp"),
        (7000, "tcp"),
        (7001, "tcp"),
    ]


@pytest.mark.parametrize(
    ("text", "mount"),
    [
        ("./data:/data", MountConfig(type="bind", source="DIR/data", target="/data", create_source=True)),
        ("/etc:/host-etc:ro,rslave", MountConfig(type="bind", source="/etc", target="/host-etc", create_source=True, read_only=True, propagation="rslave")),
        ("data:/data:nocopy", MountConfig(type="volume", source="lab_data", target="/data", nocopy=True)),
        ("kept:/data", MountConfig(type="volume", source="mine", target="/data")),
        ("/data", MountConfig(type="volume", source="", target="/data")),
        ("./a:/a:z,delegated", MountConfig(type="bind", source="DIR/a", target="/a", create_source=True)),
        ("{type: bind, source: ./a, target: /a, bind: {propagation: shared, create_host_path: false}}", MountConfig(type="bind", source="DIR/a", target="/a", propagation="shared")),
        ("{type: bind, source: a, target: /a, read_only: true}", MountConfig(type="bind", source="DIR/a", target="/a", read_only=True, create_source=True)),
        ("{type: volume, source: data, target: /a, volume: {nocopy: true}}", MountConfig(type="volume", source="lab_data", target="/a", nocopy=True)),
        ("{type: volume, source: data, target: /a, volume: {subpath: db/one}}", MountConfig(type="volume", source="lab_data", target="/a", subpath="db/one")),
        ("{type: volume, target: /a, volume: {labels: {of: x}}}", MountConfig(type="volume", target="/a", volume=VolumeConfig(labels={"of": "x"}))),
        ("{type: bind, source: ./a, target: /a, read_only: true, bind: {recursive: readonly}}", MountConfig(type="bind", source="DIR/a", target="/a", read_only=True, create_source=True, recursive="readonly")),
        ("{type: image, source: lab/app, target: /a, image: {subpath: srv}}", MountConfig(type="image", source="lab/app", target="/a", read_only=True, subpath="srv")),
        ("{type: tmpfs, target: /t, tmpfs: {size: 16m, mode: 0750}}", MountConfig(type="tmpfs", target="/t", tmpfs_size_bytes=16 << 20, tmpfs_mode=0o750)),
    ],
)  # fmt: skip
def test_volumes(tmp_path: Path, text: str, mount: MountConfig) -> None:
    found = config(tmp_path, f"volumes:\n  - {text}", rest="volumes: {data: , kept: {name: mine}}\n").mounts

    assert [replace(one, source=one.source.replace(str(tmp_path), "DIR")) for one in found] == [mount]


def test_tmpfs(tmp_path: Path) -> None:
    found = config(tmp_path, "tmpfs:\n  - /run:size=16M,mode=1750,ro,rw\n  - /tmp\n  - /x:exec,uid=5").mounts

    assert found == (
        MountConfig(type="tmpfs", target="/run", tmpfs_size_bytes=16 << 20, tmpfs_mode=0o1750, read_only=True),
        MountConfig(type="tmpfs", target="/tmp"),
        MountConfig(type="tmpfs", target="/x", tmpfs_options=("exec", "uid=5")),
    )


def test_networks_keep_the_files_order_and_know_the_service(tmp_path: Path) -> None:
    found = project(
        tmp_path,
        """
        services:
          web:
            image: host
            networks:
              zeta: {aliases: [www, web], priority: 5, gw_priority: 7, interface_name: front0}
              alpha: {ipv4_address: 10.1.0.9, ipv6_address: 'fd00:1::9', mac_address: 02-00-00-00-00-0A}
              beta:
            mac_address: 02:00:00:00:00:01
        networks:
          alpha: {ipam: {config: [{subnet: 10.1.0.0/24}, {subnet: 'fd00:1::/64'}]}}
          zeta: {name: the-zeta}
          beta: {external: true, name: others}
        """,
    )

    assert found.containers[0].config.networks == (
        EndpointConfig(
            network="the-zeta",
            aliases=("web", "www"),
            priority=5,
            gw_priority=7,
            interface_name="front0",
            mac_address="02:00:00:00:00:01",
        ),
        EndpointConfig(
            network="lab_alpha",
            aliases=("web",),
            ipv4_address=IPv4Address("10.1.0.9"),
            ipv6_address=IPv6Address("fd00:1::9"),
            mac_address="02:00:00:00:00:0a",
        ),
        EndpointConfig(network="others", aliases=("web",)),
    )


def test_a_service_without_networks_joins_the_default_one(tmp_path: Path) -> None:
    found = project(tmp_path, "services: {a: {image: host}, b: {image: host, networks: []}}")

    assert [network.config.name for network in found.networks] == ["lab_default"]
    assert [one.config.networks[0].network for one in found.containers] == ["lab_default"] * 2


def test_nobody_on_the_default_network_means_there_is_none(tmp_path: Path) -> None:
    found = project(tmp_path, "services: {a: {image: host, network_mode: host}}")

    assert found.networks == ()


def test_the_default_network_can_be_configured(tmp_path: Path) -> None:
    found = project(tmp_path, "services: {a: {image: host}}\nnetworks: {default: {name: own, internal: true}}")

    assert [(one.config.name, one.config.internal) for one in found.networks] == [("own", True)]
    assert found.containers[0].config.networks[0].network == "own"


def test_env_files_come_first_and_may_be_absent_if_marked_so(tmp_path: Path) -> None:
    (tmp_path / "a.env").write_text("A=file\nB=file-$OUTSIDE\n")
    (tmp_path / "b.env").write_text("B='two'\n")

    found = config(
        tmp_path,
        """
        env_file: [a.env, {path: ./b.env, format: raw}, {path: none.env, required: false}]
        environment: {A: own}
        """,
        {"OUTSIDE": "x"},
    )

    assert found.environment == {"A": "own", "B": "'two'"}


def test_dotenv_beside_the_file_fills_in_variables(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("TAG=file\nOTHER=file\n")

    found = config(tmp_path, "command: echo $TAG $OTHER $COMPOSE_PROJECT_NAME", {"TAG": "mine"})

    assert found.command == ("echo", "mine", "file", "lab")


def test_replicas_are_alike_but_for_name_and_number(tmp_path: Path) -> None:
    found = project(
        tmp_path, "services: {n: {image: host, deploy: {replicas: 3}}, m: {image: host, scale: 0}}"
    ).containers

    assert [(one.name, one.number) for one in found] == [("lab-n-1", 1), ("lab-n-2", 2), ("lab-n-3", 3)]
    assert [one.config.labels["com.docker.compose.container-number"] for one in found] == ["1", "2", "3"]
    assert len({one.config.labels["com.docker.compose.config-hash"] for one in found}) == 1


def test_labels_are_composes_and_the_users(tmp_path: Path) -> None:
    labels = config(tmp_path, "labels: [a=b, c]\ncontainer_name: nm").labels

    assert labels["a"] == "b"
    assert labels["c"] == ""
    assert labels["com.docker.compose.project"] == "lab"
    assert labels["com.docker.compose.service"] == "web"
    assert labels["com.docker.compose.project.config_files"] == str(tmp_path / "lab.yaml")


def test_what_starts_first(tmp_path: Path) -> None:
    found = project(
        tmp_path,
        """
        services:
          db: {image: host, container_name: database}
          app: {image: host, depends_on: {db: {condition: service_started}, gone: {condition: service_started, required: false}}}
          side: {image: host, network_mode: 'service:app'}
          other: {image: host, network_mode: 'container:database'}
        """,
    ).containers

    assert {one.service: one.depends_on for one in found} == {
        "db": (),
        "app": ("db",),
        "side": ("app",),
        "other": ("db",),
    }


def test_routes(tmp_path: Path) -> None:
    found = config(
        tmp_path,
        "x-routes: [default via 10.1.0.1, 10.3.0.0/24 via 10.0.12.2 dev eth1, 10.9.0.0/16 dev eth1, default via fe80::1 dev eth0, 10.8.0.1 via 10.1.0.1, blackhole 10.7.0.0/16]",
    )

    assert found.routes == (
        RouteConfig(destination=ip_network("0.0.0.0/0"), via=ip_address("10.1.0.1")),
        RouteConfig(destination=ip_network("10.3.0.0/24"), via=ip_address("10.0.12.2"), dev="eth1"),
        RouteConfig(destination=ip_network("10.9.0.0/16"), dev="eth1"),
        RouteConfig(destination=ip_network("::/0"), via=ip_address("fe80::1"), dev="eth0"),
        RouteConfig(destination=ip_network("10.8.0.1/32"), via=ip_address("10.1.0.1")),
        RouteConfig(destination=ip_network("10.7.0.0/16"), blackhole=True),
    )


def test_keys_of_later_warn_by_name_and_once(tmp_path: Path) -> None:
    loaded = load_text(
        tmp_path,
        """
        version: "3"
        services:
          a: {image: host, runtime: runc, isolation: x, x-mine: 5}
          b: {build: ., runtime: runc, x-nat: {}}
        networks: {lan: {x-impair: {}}}
        secrets: {}
        x-expects: []
        """,
    )

    assert [str(warning).split("lab.yaml:")[1] for warning in loaded.warnings] == [
        "4:20: services.a.runtime: not supported yet; ignored (here and in 1 more place)",
        "4:35: services.a.isolation: not supported yet; ignored",
        "5:7: services.b.build: not supported yet; ignored",
        "5:32: services.b.x-nat: not supported yet; ignored",
        "6:18: networks.lan.x-impair: not supported yet; ignored",
        "7:1: secrets: not supported yet; ignored",
        '8:1: x-expects: "x-expects" means nothing here (did you mean "x-expect"?)',
    ]


def test_ports_that_nobody_will_reach_are_warned_of(tmp_path: Path) -> None:
    loaded = load_text(
        tmp_path,
        """
        services:
          a: {image: host, ports: ["80"], networks: [inner, cable]}
          b: {image: host, ports: ["80"], networks: [cable, outer]}
          c: {image: host, ports: ["80"], networks: [local]}
          d: {image: host, ports: ["80"], networks: [elsewhere]}
          e: {image: host, networks: [inner]}
        networks:
          inner: {internal: true}
          local: {internal: true, driver_opts: {netmodel.bridge.publish_to_host: "true"}}
          cable: {x-link: p2p, ipam: {config: [{subnet: 10.0.0.0/30}]}}
          outer: {}
          elsewhere: {external: true}
        """,
    )

    [warning] = loaded.warnings
    assert (
        str(warning).partition("lab.yaml:")[2].startswith('3:20: services.a.ports: has no effect on "inner", "cable"')
    )


def test_two_of_the_same_mac_address_are_warned_of(tmp_path: Path) -> None:
    loaded = load_text(
        tmp_path,
        """
        services:
          a: {image: host, networks: {lan: {mac_address: 02:00:00:00:00:0A}, other: {mac_address: 02:00:00:00:00:0a}}}
          b: {image: host, networks: {lan: {mac_address: 02:00:00:00:00:0a}}}
        networks: {lan: {}, other: {}}
        """,
    )

    [warning] = loaded.warnings
    assert "services.b.networks.lan.mac_address: 02:00:00:00:00:0a is another one's there (line 3)" in str(warning)


def test_an_unset_variable_is_told_once(tmp_path: Path) -> None:
    loaded = load_text(tmp_path, "services: {a: {image: host, command: 'x $NO $NO', environment: {A: $NO}}}")

    assert [warning.message for warning in loaded.warnings] == ["the variable NO is not set; it becomes an empty text"]


def test_anchors_and_merge_keys(tmp_path: Path) -> None:
    found = project(
        tmp_path,
        """
        x-base: &base
          image: host
          environment: &env {A: base}
        services:
          a: {<<: *base, command: x}
          b:
            <<: *base
            environment: {<<: *env, B: own}
        """,
    ).containers

    assert [one.config.environment for one in found] == [{"A": "base"}, {"A": "base", "B": "own"}]
    assert found[0].config.command == ("x",)


def test_volumes_get_names_and_labels(tmp_path: Path) -> None:
    found = project(
        tmp_path,
        "volumes: {data: , kept: {name: mine, labels: {a: b}, driver_opts: {o: 1}}, there: {external: true}}",
    ).volumes

    assert [(one.key, one.config.name, one.external) for one in found] == [
        ("data", "lab_data", False),
        ("kept", "mine", False),
        ("there", "there", True),
    ]
    assert found[1].config.options == {"o": "1"}
    assert found[1].config.labels["com.docker.compose.volume"] == "kept"


def test_nothing_is_left_of_a_file_with_mistakes(tmp_path: Path) -> None:
    assert told(tmp_path, "services: {a: {image: host}}") == []
