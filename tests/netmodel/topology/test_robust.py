"""Whatever stands in a file, the answer is a project or a list of mistakes; and it comes quickly."""

from __future__ import annotations

import contextlib
import copy
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from netmodel.topology import TopologyError, load

EVERYTHING = """
name: all
services:
  a:
    image: host
    command: [x, y]
    entrypoint: x y
    environment: {A: b}
    env_file: [{path: no.env, required: false}]
    working_dir: /
    user: "0"
    group_add: [mail]
    container_name: aa
    hostname: h
    domainname: d
    labels: [a=b]
    depends_on: {b: {condition: service_started}}
    deploy: {replicas: 1, resources: {limits: {cpus: "1", memory: 5m, pids: 5}}}
    networks: {lan: {ipv4_address: 10.1.0.9, aliases: [x], driver_opts: {a: b}, priority: 1, interface_name: e}}
    ports: ["80:80", {target: 80, published: "81", host_ip: 127.0.0.1}]
    expose: ["80"]
    dns: [1.1.1.1]
    dns_search: x
    extra_hosts: {a: [10.0.0.1]}
    volumes: ["./a:/a", {type: bind, source: b, target: /b, bind: {propagation: shared}}]
    tmpfs: ["/run:size=1m"]
    cap_add: [NET_ADMIN]
    security_opt: [no-new-privileges]
    sysctls: {a.b: "1"}
    ulimits: {nofile: {soft: 1, hard: 2}}
    stop_grace_period: 1s
    stop_signal: TERM
    x-routes: [default via 10.1.0.1]
  b: {image: host, network_mode: none, privileged: true, scale: 1}
networks:
  lan:
    driver: bridge
    driver_opts: {a: b}
    internal: true
    labels: {a: b}
    ipam: {driver: default, options: {a: b}, config: [{subnet: 10.1.0.0/24, ip_range: 10.1.0.0/25, gateway: 10.1.0.1, aux_addresses: {a: 10.1.0.2}}]}
  out: {external: true, name: xx}
volumes: {v: {driver: local, labels: {a: b}, external: {name: yy}}}
x-expect: [{a -> b: {icmp: true, tcp: [80], within: 1s, network: lan, family: 4}}, "a -/> b"]
"""  # noqa: E501 - one network, whole


def _paths(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    yield path
    pairs = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in pairs:
        yield from _paths(inner, (*path, key))


def _with(document: Any, path: tuple[Any, ...], value: object) -> Any:
    if not path:
        return value
    changed = copy.deepcopy(document)
    inner = changed
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = value
    return changed


@pytest.mark.parametrize("wrong", [5, 1.5, "x", "", True, None, [], [[]], {}, {"x": {}}, [5], "$", "${X}", "a:b:c:d"])
def test_any_value_anywhere_is_read_or_told(tmp_path: Path, wrong: object) -> None:
    document = yaml.safe_load(EVERYTHING)
    file = tmp_path / "lab.yaml"

    for path in _paths(document):
        file.write_text(json.dumps(_with(document, path, wrong)))  # JSON is YAML, and quicker to write
        diagnostics = None
        try:
            load(file, {})
        except TopologyError as error:
            diagnostics = error.diagnostics
        assert diagnostics is None or all(one.message for one in diagnostics), path


def test_the_whole_of_it_is_right(tmp_path: Path) -> None:
    file = tmp_path / "lab.yaml"
    file.write_text(EVERYTHING.replace("gateway: 10.1.0.1, ", "").replace(", labels: {a: b}, external", ", external"))

    with pytest.raises(TopologyError) as caught:
        load(file, {})

    assert [one.key for one in caught.value.diagnostics] == ["volumes.v.driver"]


@settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.text(alphabet="ab:-{}[]&*!|>'\"#%@`,?\n \t<$~01", max_size=60))
def test_any_text_is_read_or_told(tmp_path: Path, text: str) -> None:
    file = tmp_path / "lab.yaml"
    file.write_text(text)
    with contextlib.suppress(TopologyError):
        load(file, {})


def _services(count: int) -> str:
    return "services:\n" + "".join(
        f"""
  s{i}:
    image: host
    command: python3 -m http.server 80
    environment: {{A: "1", B: "${{B:-2}}"}}
    depends_on: [{f"s{i - 1}" if i else ""}]
    cap_add: [NET_ADMIN]
    ports: ["{10000 + i}:80"]
    networks: {{lan: {{ipv4_address: 10.1.{i // 250}.{i % 250 + 2}, aliases: [a{i}]}}}}
"""
        for i in range(count)
    )


@pytest.mark.parametrize(
    "services",
    [_services(500), "services: {s: {image: host, networks: [lan], scale: 1000}}\n"],
    ids=["500", "replicas"],
)
def test_large_files_load_quickly(tmp_path: Path, services: str) -> None:
    file = tmp_path / "lab.yaml"
    file.write_text(services + "networks: {lan: {ipam: {config: [{subnet: 10.1.0.0/16}]}}}\n")

    begin = time.process_time()
    loaded = load(file, {})

    assert time.process_time() - begin < 1.0  # 0.17 s and 0.01 s where this was written
    assert len(loaded.project.containers) in (500, 1000)
