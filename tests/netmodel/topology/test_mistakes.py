"""Mistakes: each with its place, in plain words, with the way out; all at once."""

# ruff: noqa: E501 - a case a line

from __future__ import annotations

from pathlib import Path

import pytest

from netmodel.topology import TopologyError, load
from tests.netmodel.topology.support import mistakes, told

LAN = "networks: {lan: {ipam: {config: [{subnet: 10.1.0.0/24}]}}}\n"


def test_all_at_once_in_the_order_of_the_file(tmp_path: Path) -> None:
    assert told(
        tmp_path,
        """\
        services:
          web:
            imge: host
            ports: 80
            networks: [lna]
          db:
            image: 5
            network_mode: hots
            depends_on: [webb]
        networks:
          lan:
            ipam: {config: [{subnet: 10.1.0.1/24}]}
            internl: true
        """,
    ) == [
        '3:5: services.web.imge: unknown key "imge" (did you mean "image"?)',
        "4:12: services.web.ports: must be a list, not a number",
        '5:16: services.web.networks[0]: there is no network "lna" under networks: (did you mean "lan"?)',
        '7:12: services.db.image: must be text, not a number (write it in quotes: "5")',
        '8:19: services.db.network_mode: unknown network mode "hots" (use bridge, host, none, "service:NAME" or "container:NAME"; other networks are joined with networks:)',
        '9:18: services.db.depends_on[0]: there is no service "webb" (did you mean "web"?)',
        "12:30: networks.lan.ipam.config[0].subnet: 10.1.0.1/24 has bits set after its prefix; the subnet is 10.1.0.0/24",
        '13:5: networks.lan.internl: unknown key "internl" (did you mean "internal"?)',
    ]


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ("networks: 5", "networks: must be a list or a mapping, not a number"),
        ("environment: x", "environment: must be a list or a mapping, not text"),
        ("environment: [1]", 'environment[0]: must be text, not a number (write it in quotes: "1")'),
        ("environment: [=x]", 'environment[0]: "=x" has no name before "="'),
        ("command: {a: b}", "command: must be text or a list, not a mapping"),
        ("command: [sleep, 5]", 'command[1]: must be text, not a number (write it in quotes: "5")'),
        ("command: 'a \"b'", "command: cannot be split into words: no closing quotation"),
        ("privileged: 5", "privileged: must be true or false, not a number"),
        ("privileged: maybe", 'privileged: must be true or false, not "maybe"'),
        ("mem_limit: lots", 'mem_limit: "lots" is no size'),
        ("cpus: -1", "cpus: must be positive"),
        ("cpus: many", 'cpus: must be a number, not "many"'),
        ("cpus: .inf", 'cpus: must be a number, not ".inf"'),
        ("pids_limit: 1.5", 'pids_limit: must be a whole number, not "1.5"'),
        ("scale: -1", "scale: must be at least 0"),
        ("{scale: 2, deploy: {replicas: 3}}", "scale: contradicts services.web.deploy.replicas"),
        ("stop_grace_period: soon", '"soon" is no duration'),
        ("stop_signal: SIGTREM", 'is no signal; did you mean "SIGTERM"?'),
        ("ulimits: {nofiles: 5}", 'unknown limit "nofiles" (did you mean "nofile"?)'),
        ("ulimits: {nofile: {soft: 5}}", "ulimits.nofile: lacks hard"),
        ("ulimits: {nofile: {soft: 5, hard: 4}}", "soft 5 is above hard 4"),
        ("cap_add: [NET_ADMN]", 'unknown capability "NET_ADMN" (did you mean "NET_ADMIN"?)'),
        ("container_name: a b", '"a b" is no name'),
        ("hostname: a_b!", "is no host name"),
        ("ports: [99999]", '"99999" is no port'),
        ("ports: ['80:']", "names no port of the container"),
        ("ports: ['8000-8001:80-83']", "the ranges 8000-8001 and 80-83 differ in length: 2 and 4 ports"),
        ("ports: ['90-80']", "ends before it begins"),
        ("ports: ['80/icmp']", '"icmp" is no protocol'),
        ("ports: ['1.2.3:80:80']", '"1.2.3" is not an IP address'),
        ("ports: [{published: 80}]", "ports[0]: lacks target"),
        ("ports: [{target: 80, publish: 80}]", 'unknown key "publish" (did you mean "published"?)'),
        ("ports: [[80]]", "ports[0]: must be text, a number or a mapping, not a list"),
        ("ports: ['8080:80', '8080:81']", "host port 8080/tcp is published by it already"),
        ("volumes: ['./a:b']", "must be absolute"),
        ("volumes: ['a:/a']", 'there is no volume "a" under volumes:'),
        ("volumes: ['./a:/a:rx']", 'unknown mount option "rx"'),
        ("volumes: ['./a:/a', './b:/a/']", "/a is mounted twice"),
        ("volumes: [{type: bnd, target: /a}]", 'unknown type "bnd" (did you mean "bind"?)'),
        ("volumes: [{target: /a}]", "volumes[0]: lacks type"),
        ("pull_policy: allways", 'unknown pull policy "allways" (did you mean "always"?)'),
        ("pull_policy: build", "images are not built here (build the image first"),
        ("pull_policy: every_day", 'unknown pull policy "every_day"'),
        ("tmpfs: ['/a:size=big']", '"big" is no size'),
        ("tmpfs: ['/a:loud']", 'unknown tmpfs option "loud"'),
        ("volumes: [{type: volume, target: /a, volume: {subpath: ../b}}]", '"../b" is not below'),
        ("volumes: [{type: image, target: /a}]", "a mount of an image needs source"),
        ("volumes: [{type: bind, source: ./a, target: /a, bind: {recursive: no}}]", 'unknown recursion "no"'),
        ("network_mode: 'service:wbe'", 'there is no service "wbe" (did you mean "web"?)'),
        ("network_mode: 'service:web'", "a cycle: web → web"),
        ("{network_mode: host, networks: [lan]}", "network_mode: cannot stand beside networks"),
        ("{network_mode: 'container:x', ports: [80]}", "ports: belongs to whoever owns the network stack"),
        ("{network_mode: host, x-routes: [default via 10.1.0.1]}", "has no place with network_mode host"),
        ("depends_on: {gone: {condition: started, required: false}}", 'unknown condition "started"'),
        ("networks: {lan: {ipv4: 10.1.0.2}}", 'unknown key "ipv4" (did you mean "ipv4_address"?)'),
        ("networks: {lan: {ipv4_address: 'fd00::1'}}", "it belongs in ipv6_address"),
        ("networks: {lan: {ipv4_address: 10.2.0.2}}", '10.2.0.2 is outside 10.1.0.0/24 of network "lan"'),
        ("networks: {lan: {ipv6_address: 'fd00::1'}}", 'outside network "lan", which has only 10.1.0.0/24'),
        ("networks: {lan: {ipv4_address: 10.1.0.0}}", "is the address of the subnet"),
        ("networks: {lan: {ipv4_address: 10.1.0.255}}", "is the broadcast address"),
        ("networks: {bare: {ipv4_address: 10.1.0.2}}", "a chosen address needs a chosen subnet"),
        ("networks: {lan: {interface_name: a-very-long-name}}", "is too long; the kernel allows 15 bytes, this has 16"),
        ("networks: {lan: {interface_name: a/b}}", "is no interface name"),
        ("networks: {lan: {interface_name: x}, bare: {interface_name: x}}", 'the interface "x" is in line'),
        ("networks: {lan: {mac_address: 01:00:00:00:00:01}}", "is a multicast address"),
        ("networks: {lan: {aliases: ['a b']}}", '"a b" is no host name'),
        ("networks: [lan, lan]", 'network "lan" is given twice'),
        ("{networks: {lan: {ipv4_address: 10.1.0.2}}, scale: 2}", "2 replicas cannot share the address 10.1.0.2"),
        ("{container_name: xy, scale: 2}", "one name cannot serve 2 replicas"),
        ("{ports: ['8080:80'], scale: 2}", "2 replicas cannot publish 1 host port (give a range: 8080-8081:80)"),
        ("x-routes: [over there]", 'x-routes[0]: "over there" is no route'),
        ("x-routes: [10.3.0.0/24 by 10.1.0.1]", '"by" has no place'),
        ("x-routes: [10.3.0.0/24]", "leads nowhere"),
        ("x-routes: ['10.3.0.0/24 via fd00::1']", "are of different families"),
        ("{networks: [lan], x-routes: [default via 10.2.0.1]}", "the gateway 10.2.0.1 is on none of the networks"),
        ("dns: here", '"here" is not an IP address'),
        ("extra_hosts: [x]", '"x" is not NAME:ADDRESS'),
        ("env_file: none.env", 'there is no file "none.env"'),
        ("devices: [nvidia.com/gpu]", "is neither PATH[:PATH INSIDE][:rwm] nor vendor.com/class=name"),
        ("deploy: {resources: {reservations: {devices: [{driver: cdi, device_ids: [gpu]}]}}}", "device 'gpu' is not of the form"),
        ("userns_mode: nomap", "is no user namespace mode"),
        ("command: '${X'", '"${X" is no variable'),
        ("command: $5", "write $$ for a dollar sign"),
        ("command: '${X:?needed here}'", "the variable X must be set: needed here"),
        ("hostname: '${X}'", "the variable X is not set: set it in the environment or in .env"),
        ("<<: 5", '"<<" merges a mapping'),
    ],
)  # fmt: skip
def test_service(tmp_path: Path, keys: str, message: str) -> None:
    body = keys[1:-1] if keys.startswith("{") else keys
    text = f"services: {{web: {{image: host, {body}}}}}\nnetworks:\n  bare:\n  lan: {{ipam: {{config: [{{subnet: 10.1.0.0/24}}]}}}}\n"

    found = told(tmp_path, text)

    assert len(found) == 1, found
    assert message in found[0]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("networks: {a: {drivr: x}}", 'unknown key "drivr" (did you mean "driver"?)'),
        ("networks: {a: {ipam: {config: {subnet: x}}}}", "ipam.config: must be a list, not a mapping"),
        ("networks: {a: {ipam: {config: [{subnet: 10.1.0.0}]}}}", "lacks a prefix length"),
        ("networks: {a: {ipam: {config: [{gateway: 10.1.0.1}]}}}", "gateway: needs a subnet beside it"),
        ("networks: {a: {ipam: {config: [{subnet: 10.1.0.0/24, gateway: 10.2.0.1}]}}}", "10.2.0.1 is outside the subnet 10.1.0.0/24"),
        ("networks: {a: {ipam: {config: [{subnet: 10.1.0.0/24, ip_range: 10.2.0.0/25}]}}}", "10.2.0.0/25 is outside the subnet"),
        ("networks: {a: {ipam: {config: [{subnet: 10.1.0.0/24, aux_addresses: {x: 10.2.0.1}}]}}}", "aux_addresses.x: 10.2.0.1 is outside"),
        ("networks: {a: {enable_ipv6: false, ipam: {config: [{subnet: 'fd00::/64'}]}}}", "is false, but an IPv6 subnet is given"),
        ("networks: {a: {ipam: {config: [{subnet: 10.1.0.0/16}]}}, b: {ipam: {config: [{subnet: 10.1.7.0/24}]}}}", '10.1.7.0/24 overlaps 10.1.0.0/16 of network "a" (line 1)'),
        ("networks: {a: {enable_ipv4: false, ipam: {config: [{subnet: 10.1.0.0/24}]}}}", "is false, but an IPv4 subnet is given"),
        ("networks: {a: {name: xx}, b: {name: xx}}", 'has the name "xx", and so has network "a"'),
        ("networks: {a: {external: true, driver: bridge}}", "driver: has no place beside external"),
        ("networks: {'a b': }", "is no name"),
        ("networks: [a]", "networks: must be a mapping, not a list"),
        ("networks: {a: 5}", "networks.a: must be a mapping, not a number"),
        ("volumes: {a: {drivr: x}}", 'unknown key "drivr"'),
        ("services: {'a/b': {image: host}}", '"a/b" is no service name'),
        ("services: {a: host}", "services.a: must be a mapping, not text"),
        ("services: {a: }", "services.a: lacks image"),
        ("servces: {a: {image: host}}", 'unknown key "servces" (did you mean "services"?)'),
        ("{}", "declares no services"),
        ("- a", "must be a mapping with services:, not a list"),
        ("", "the file is empty"),
        ("name: Big\nservices: {a: {image: host}}", '"Big" is no project name: lower-case letters, digits, "-" and "_", a letter or digit first; "big" would do'),
        ("services: {a: {image: host, container_name: xx}, b: {image: host, container_name: xx}}", 'service "a" (line 1) has a container named "xx", too'),
        ("services: {a: {image: host, container_name: lab-b-1}, b: {image: host}}", 'service "a" (line 1) has a container named "lab-b-1", too'),
        ("services: {a: {image: host, ports: ['80:80']}, b: {image: host, ports: ['127.0.0.1:80:8']}}", 'host port 80/tcp is published by service "a"'),
        ("services: {a: {image: host, depends_on: [b]}, b: {image: host, depends_on: [c]}, c: {image: host, depends_on: [a]}}", "a cycle: a → b → c → a"),
        ("services: {a: {image: host, network_mode: 'service:b'}, b: {image: host, depends_on: [a]}}", "a cycle: a → b → a"),
        ("services: {a: {image: host, network_mode: 'service:b'}, b: {image: host, scale: 0}}", 'service "b" has no containers'),
        ("services: {a: {image: host, networks: {lan: {ipv4_address: 10.1.0.2}}}, b: {image: host, networks: {lan: {ipv4_address: 10.1.0.2}}}}\n" + LAN, '10.1.0.2 is taken by service "a" (line 1)'),
        ("services: {a: {image: host, networks: {lan: {ipv4_address: 10.1.0.7}}}}\nnetworks: {lan: {ipam: {config: [{subnet: 10.1.0.0/24, gateway: 10.1.0.7}]}}}", '10.1.0.7 is the gateway of network "lan"'),
        ("services: {a: {image: host, networks: {lan: {ipv4_address: 10.1.0.7}}}}\nnetworks: {lan: {ipam: {config: [{subnet: 10.1.0.0/24, aux_addresses: {pr: 10.1.0.7}}]}}}", '10.1.0.7 is kept aside as "pr"'),
        ("services: {a: {image: host, scale: 1000, networks: [big]}, b: {image: host, scale: 24, networks: [big]}}\nnetworks: {big: }", 'puts 1,024 containers on network "big"; the kernel allows 1,023 on one bridge (spread them over several networks)'),
        ("services: {a: {image: host, scale: 1024}}", 'puts 1,024 containers on network "default"'),
    ],
)  # fmt: skip
def test_file(tmp_path: Path, text: str, message: str) -> None:
    found = told(tmp_path, text)

    assert len(found) == 1, found
    assert message in found[0]


@pytest.mark.parametrize(
    "ports",
    [
        ("['53:53/tcp']", "['53:53/udp']"),
        ("['127.0.0.1:80:80']", "['127.0.0.2:80:80']"),
        ("['0.0.0.0:80:80']", "['[::]:80:80']"),
        ("['8000-8010:80']", "['8000-8010:80']"),
        ("[80]", "[80]"),
    ],
)
def test_ports_that_only_look_alike(tmp_path: Path, ports: tuple[str, str]) -> None:
    assert not told(
        tmp_path, f"services: {{a: {{image: host, ports: {ports[0]}}}, b: {{image: host, ports: {ports[1]}}}}}"
    )


def test_many_subnets_that_only_touch(tmp_path: Path) -> None:
    networks = "".join(f"  n{i}: {{ipam: {{config: [{{subnet: 10.{i}.0.0/16}}]}}}}\n" for i in range(1, 100))

    assert not told(tmp_path, f"networks:\n{networks}")


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("topology: {nodes: {}, links: []}", "containerlab"),
        ("topology: {networks: [], nodes: []}", "munet"),
        ("provider: clab\nlinks: []", "netlab"),
        ("apiVersion: v1\nkind: Pod", "Kubernetes"),
        ("network: {version: 2}", "netplan"),
        ("web: {image: nginx}\ndb: {build: .}", "Compose file of version 1"),
    ],
)
def test_files_of_other_tools_are_named(tmp_path: Path, text: str, kind: str) -> None:
    found = told(tmp_path, text)

    assert len(found) == 1
    assert f"this looks like a {kind}" in found[0]


def test_bad_dotenv_is_named(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("A=1\n!\n")

    found = mistakes(tmp_path, "services: {a: {image: host}}")

    assert [(one.file, one.line, one.message) for one in found] == [
        (str(tmp_path / ".env"), 2, '"!" is not NAME=value')
    ]


def test_a_file_without_an_end_is_not_read_to_it() -> None:
    with pytest.raises(TopologyError, match="is larger than 16 MiB"):
        load(Path("/dev/zero"), {})


@pytest.mark.parametrize("make", ["missing", "directory", "binary"])
def test_a_file_that_cannot_be_read(tmp_path: Path, make: str) -> None:
    file = tmp_path / "lab.yaml"
    if make == "directory":
        file.mkdir()
    if make == "binary":
        file.write_bytes(b"services:\n  \xff\xfe\n")

    with pytest.raises(TopologyError) as caught:
        load(file, {})

    message = {"missing": "there is no such file", "directory": "without a compose.yaml", "binary": "is not UTF-8 text"}
    assert message[make] in str(caught.value)
    assert caught.value.kind == "invalid"


def test_a_long_chain_is_no_cycle_and_no_recursion(tmp_path: Path) -> None:
    services = "".join(
        f"  s{i}: {{image: host, network_mode: none{f', depends_on: [s{i - 1}]' if i else ''}}}\n"
        for i in reversed(range(3000))
    )

    assert not told(tmp_path, f"services:\n{services}")
