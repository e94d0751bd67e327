"""The API as clients other than ours see it."""

from __future__ import annotations

import json
import socket
from collections.abc import Mapping
from typing import Any

import pytest

from netmodel.client import ApiError, Client
from netmodel.client.http import Response, send
from tests.support.daemon import Daemon

pytestmark = pytest.mark.kernel


def request(
    daemon: Daemon,
    method: str,
    target: str,
    body: bytes | None = None,
    headers: Mapping[str, str] | None = None,
) -> Response:
    """Ask as a stranger does: without the headers of our own client."""
    connection = socket.socket(socket.AF_UNIX)
    connection.connect(str(daemon.host))
    return send(connection, method, target, {"Connection": "close", **(headers or {})}, body)


def status(daemon: Daemon, method: str, target: str) -> int:
    with request(daemon, method, target) as response:
        return response.status


def refusal(response: Response) -> tuple[int, str]:
    assert response.headers["content-type"] == "application/json"  # docker's CLI reads nothing else
    return response.status, json.loads(response.read())["message"]


def sleeper(client: Client, name: str, *command: str, **body: Any) -> str:
    wanted = {"Image": "host", "Cmd": list(command or ("sleep", "infinity")), **body}
    made: str = client.post("/containers/create", wanted, name=name)["Id"]
    client.post(f"/containers/{made}/start")
    return made


def test_ping_tells_what_docker_s_clients_look_for(daemon: Daemon) -> None:
    response = request(daemon, "GET", "/_ping")

    assert response.read() == b"OK"
    assert response.headers["api-version"] == "1.48"
    assert response.headers["ostype"] == "linux"
    assert response.headers["docker-experimental"] == "false"


def test_versions_in_the_path(daemon: Daemon) -> None:
    assert status(daemon, "GET", "/v1.24/networks") == 200
    assert status(daemon, "GET", "/networks") == 200
    code, message = refusal(request(daemon, "GET", "/v1.99/networks"))
    assert (code, "too new" in message) == (400, True)
    code, message = refusal(request(daemon, "GET", "/v1.20/networks"))
    assert (code, "too old" in message) == (400, True)


def test_errors_have_a_status_and_a_sentence(daemon: Daemon) -> None:
    assert refusal(request(daemon, "GET", "/containers/nope/json"))[0] == 404
    assert refusal(request(daemon, "GET", "/nonsense"))[0] == 404
    assert refusal(request(daemon, "PUT", "/networks"))[0] == 404
    assert refusal(request(daemon, "POST", "/containers/create", b"{"))[0] == 400
    assert refusal(request(daemon, "POST", "/networks/create", b"{}"))[0] == 400
    assert refusal(request(daemon, "GET", "/networks?filters=nope"))[0] == 400
    code, message = refusal(request(daemon, "GET", "/plugins"))
    assert (code, message) == (501, "plugins are not supported yet")


def test_docker_s_clients_get_the_hint_with_the_message(daemon: Daemon) -> None:
    body = json.dumps({"Name": "h", "IPAM": {"Config": [{"Subnet": "10.0.0.1/24"}]}}).encode()

    assert "write 10.0.0.0/24" in refusal(request(daemon, "POST", "/networks/create", body))[1]
    with pytest.raises(ApiError) as error:
        daemon.client.post("/networks/create", json.loads(body))
    assert error.value.hint == "write 10.0.0.0/24"


def test_a_client_that_means_another_engine_is_refused_before_anything_happens(daemon: Daemon) -> None:
    version = request(daemon, "DELETE", "/networks/x", headers={"Netmodel-Client": "9.9"})
    root = request(daemon, "DELETE", "/networks/x", headers={"Netmodel-Root": "/elsewhere"})

    assert refusal(version)[0] == 409
    assert "/elsewhere" in refusal(root)[1]
    with request(daemon, "GET", "/netmodel/status", headers={"Netmodel-Client": "9.9"}) as asked:
        assert asked.status == 200


def test_starting_what_runs_is_not_modified(daemon: Daemon) -> None:
    made = sleeper(daemon.client, "twice")

    assert status(daemon, "POST", f"/containers/{made}/start") == 304


def test_the_head_of_a_wait_comes_before_the_end(daemon: Daemon) -> None:
    """docker run starts the container only once it has seen it."""
    made = daemon.client.post("/containers/create", {"Image": "host", "Cmd": ["sh", "-c", "exit 5"]})["Id"]

    response = request(daemon, "POST", f"/containers/{made}/wait?condition=next-exit")
    daemon.client.post(f"/containers/{made}/start")

    assert response.status == 200
    assert json.loads(response.read()) == {"StatusCode": 5}


def test_a_hundred_waiting_clients_keep_nobody_else_waiting(daemon: Daemon) -> None:
    made = sleeper(daemon.client, "crowded")
    waiting = [request(daemon, "POST", f"/containers/{made}/wait") for _ in range(50)]
    waiting += [request(daemon, "GET", f"/containers/{made}/logs?stdout=1&follow=1") for _ in range(50)]

    assert daemon.client.get("/networks")

    daemon.client.post(f"/containers/{made}/kill")
    assert {response.status for response in waiting} == {200}
    assert json.loads(waiting[0].read()) == {"StatusCode": 137}
    assert waiting[-1].read() == b""
    for response in waiting:
        response.close()


def test_logs_are_framed_and_terminals_are_not(daemon: Daemon) -> None:
    script = ["sh", "-c", "echo out; echo err >&2"]
    piped = sleeper(daemon.client, "piped", *script)
    typed = sleeper(daemon.client, "typed", *script, Tty=True)
    for one in (piped, typed):
        daemon.client.post(f"/containers/{one}/wait")

    framed = request(daemon, "GET", f"/containers/{piped}/logs?stdout=1&stderr=1")
    raw = request(daemon, "GET", f"/containers/{typed}/logs?stdout=1&stderr=1")
    only = request(daemon, "GET", f"/containers/{piped}/logs?stderr=1&tail=1")

    assert framed.headers["content-type"].endswith("multiplexed-stream")
    text = framed.read()
    assert b"\x01\0\0\0\0\0\0\x04out\n" in text
    assert b"\x02\0\0\0\0\0\0\x04err\n" in text
    assert raw.headers["content-type"].endswith("raw-stream")
    assert raw.read() == b"out\r\nerr\r\n"
    assert only.read() == b"\x02\0\0\0\0\0\0\x04err\n"


def test_exec_over_a_hijacked_connection_survives_the_end_of_its_input(daemon: Daemon) -> None:
    made = sleeper(daemon.client, "echoing")
    body = {"Cmd": ["sh", "-c", "cat; echo done >&2; exit 9"], "AttachStdin": True, "AttachStdout": True}
    exec_id = daemon.client.post(f"/containers/{made}/exec", body)["Id"]

    connection, arrived = daemon.client.hijack(f"/exec/{exec_id}/start", {})
    with connection:
        connection.sendall(b"x" * 300_000)
        connection.shutdown(socket.SHUT_WR)
        received = bytearray(arrived)
        while piece := connection.recv(65536):
            received += piece

    assert received.count(b"x") == 300_000
    assert received.endswith(b"\x02\0\0\0\0\0\0\x05done\n")
    assert daemon.client.get(f"/exec/{exec_id}/json")["ExitCode"] == 9


def test_a_child_that_keeps_the_pipe_does_not_keep_the_client(daemon: Daemon) -> None:
    made = sleeper(daemon.client, "daemonic")
    exec_id = daemon.client.post(f"/containers/{made}/exec", {"Cmd": ["sh", "-c", "sleep 99 & echo x"]})["Id"]

    connection, arrived = daemon.client.hijack(f"/exec/{exec_id}/start", {})
    with connection:
        connection.settimeout(10)
        received = bytearray(arrived)
        while piece := connection.recv(65536):
            received += piece

    assert received.endswith(b"x\n")


def test_events_as_they_happen_and_as_they_happened(daemon: Daemon) -> None:
    client, wanted = daemon.client, {"network": ["eventful"]}
    # open() returns with the head of the answer, and that comes once the subscription stands.
    live = client.open("GET", "/events", filters=wanted)
    client.post("/networks/create", {"Name": "eventful"})
    client.delete("/networks/eventful")

    lines = live.lines()
    seen = [json.loads(next(lines))["Action"] for _ in range(2)]
    live.close()
    now = client.get("/info")["SystemTime"]
    past = [event["Action"] for event in client.stream("GET", "/events", since="1", until=now, filters=wanted)]

    assert seen == ["create", "destroy"]
    assert past == seen


def test_statistics_of_one_reading(daemon: Daemon) -> None:
    sleeper(daemon.client, "measured", HostConfig={"Memory": 32 << 20})

    found = daemon.client.get("/containers/measured/stats", stream="false")

    assert found["memory_stats"]["limit"] == 32 << 20
    assert found["memory_stats"]["usage"] > 0
    assert "eth0" in found["networks"]
    assert found["cpu_stats"]["system_cpu_usage"] > found["precpu_stats"]["system_cpu_usage"] > 0


def test_statistics_go_on_until_the_container_ends(daemon: Daemon) -> None:
    sleeper(daemon.client, "followed")

    lines = daemon.client.stream("GET", "/containers/followed/stats")
    first, second = next(lines), next(lines)
    daemon.client.post("/containers/followed/kill")

    assert second["precpu_stats"]["system_cpu_usage"] == first["cpu_stats"]["system_cpu_usage"] > 0
    assert first["netmodel"]["oom_kills"] == 0
    assert len(list(lines)) <= 2


def test_a_project_s_json(daemon: Daemon) -> None:
    with pytest.raises(ApiError) as error:
        daemon.client.get("/netmodel/projects/none")

    assert error.value.status == 404
    assert "none" not in daemon.client.get("/netmodel/projects")


def test_all_events_are_those_since_0(daemon: Daemon) -> None:
    client, wanted = daemon.client, {"network": ["of-old"]}
    client.post("/networks/create", {"Name": "of-old"})
    now = client.get("/info")["SystemTime"]

    past = [event["Action"] for event in client.stream("GET", "/events", since="0", until=now, filters=wanted)]

    assert past == ["create"]


def test_a_limit_below_1_is_none(daemon: Daemon) -> None:
    """Docker's SDK for Python asks for -1 unless told otherwise."""
    name = sleeper(daemon.client, "unlimited")

    listed = daemon.client.get("/containers/json", limit=-1)

    assert any(container["Id"] == name for container in listed)


@pytest.mark.parametrize("ref", ["host", "host:latest", "the id", "the id's beginning"])
def test_the_machine_s_own_image_is_found(daemon: Daemon, ref: str) -> None:
    (listed,) = daemon.client.get("/images/json", filters={"reference": ["host"]})
    name = {"the id": listed["Id"], "the id's beginning": listed["Id"].removeprefix("sha256:")[:12]}.get(ref, ref)

    found = daemon.client.get(f"/images/{name}/json")
    created = daemon.client.post("/containers/create", {"Image": name, "Cmd": ["true"]})

    assert found["Id"] == listed["Id"]
    assert daemon.client.get(f"/containers/{created['Id']}/json")["Config"]["Image"] == "host"


def test_an_image_for_another_platform_is_not_taken_for_the_one_asked_for(daemon: Daemon) -> None:
    """Docker's command line pulls what fits when it is told so."""
    body, own = {"Image": "host", "Cmd": ["true"]}, daemon.client.get("/images/host/json")["Architecture"]

    with pytest.raises(ApiError, match="there is no image host for linux/s390x") as refused:
        daemon.client.post("/containers/create", body, platform="linux/s390x")
    made = daemon.client.post("/containers/create", body, platform=f"linux/{own}")

    assert refused.value.status == 404
    assert f"is for linux/{own}" in refused.value.hint
    assert daemon.client.get(f"/containers/{made['Id']}/json")["State"]["Status"] == "created"


def test_what_docker_has_and_we_have_not_is_told_by_name(daemon: Daemon) -> None:
    for method, path, named in (
        ("GET", "/containers/x/checkpoints", "checkpoints"),
        ("POST", "/build", "building images"),
        ("GET", "/swarm", "swarm mode"),
        ("GET", "/plugins", "plugins"),
    ):
        with pytest.raises(ApiError, match=f"{named}.* not supported") as refused:
            daemon.client.open(method, path)
        assert refused.value.status == 501
