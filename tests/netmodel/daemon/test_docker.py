"""Docker's own command line drives the engine."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.support.daemon import Daemon, Done, needs_docker

pytestmark = [pytest.mark.kernel, needs_docker]


def docker(daemon: Daemon, *argv: str, text: str | None = None) -> str:
    done = attempt(daemon, *argv, text=text)
    assert done.returncode == 0, f"docker {' '.join(argv)}: {done.returncode}\n{done.stdout}{done.stderr}"
    return done.stdout.strip()


def attempt(daemon: Daemon, *argv: str, text: str | None = None) -> Done:
    return daemon.run("docker", *argv, text=text)


def test_a_web_server_s_life(daemon: Daemon) -> None:
    docker(daemon, "network", "create", "--subnet", "10.77.1.0/24", "shop")
    serve = ("python3", "-m", "http.server", "80", "--bind", "0.0.0.0")
    made = docker(daemon, "run", "-d", "--name", "web", "--network", "shop", "-p", "8081:80", "host", *serve)

    line = json.loads(docker(daemon, "ps", "--no-trunc", "--filter", "name=web", "--format", "json"))
    assert (line["ID"], line["State"], line["Networks"]) == (made, "running", "shop")
    assert "0.0.0.0:8081->80/tcp" in line["Ports"]
    assert docker(daemon, "port", "web", "80").splitlines()[0] == "0.0.0.0:8081"
    address = docker(daemon, "inspect", "-f", "{{.NetworkSettings.Networks.shop.IPAddress}}", "web")
    assert address == "10.77.1.2"

    docker(daemon, "rename", "web", "www")
    docker(daemon, "pause", "www")
    assert "(Paused)" in docker(daemon, "ps", "--filter", "name=www", "--format", "{{.Status}}")
    docker(daemon, "unpause", "www")
    docker(daemon, "restart", "-t", "0", "www")
    assert docker(daemon, "inspect", "-f", "{{.NetworkSettings.Networks.shop.IPAddress}}", "www") == address
    docker(daemon, "stop", "-t", "1", "www")
    assert docker(daemon, "wait", "www") in ("137", "143")
    docker(daemon, "start", "www")
    docker(daemon, "kill", "www")
    docker(daemon, "rm", "www")
    docker(daemon, "network", "rm", "shop")
    assert docker(daemon, "ps", "-aq", "--filter", "name=www") == ""


def test_run_in_the_foreground(daemon: Daemon) -> None:
    both = attempt(daemon, "run", "--rm", "host", "sh", "-c", "echo out; echo err >&2; exit 7")

    assert (both.stdout, both.stderr, both.returncode) == ("out\n", "err\n", 7)
    assert docker(daemon, "ps", "-aq", "--filter", "status=exited") == ""


def test_run_with_our_input(daemon: Daemon) -> None:
    done = attempt(daemon, "run", "--rm", "-i", "host", "sh", "-c", "wc -c; exit 4", text="x" * 100_000)

    assert (done.stdout.strip(), done.returncode) == ("100000", 4)


@pytest.mark.parametrize(("command", "code"), [("/nonexistent", 127), ("/etc/passwd", 126)])
def test_what_cannot_be_run(daemon: Daemon, command: str, code: int) -> None:
    done = attempt(daemon, "run", "--rm", "host", command)

    assert done.returncode == code
    assert command in done.stderr


def test_exec(daemon: Daemon) -> None:
    docker(daemon, "run", "-d", "--name", "tools", "host", "sleep", "infinity")

    piped = attempt(
        daemon, "exec", "-i", "-e", "A=1", "-w", "/tmp", "tools", "sh", "-c", "cat; pwd; echo $A", text="x\n"
    )
    failed = attempt(daemon, "exec", "tools", "sh", "-c", "echo no >&2; exit 3")

    assert piped.stdout == "x\n/tmp\n1\n"
    assert (failed.returncode, failed.stderr) == (3, "no\n")
    assert attempt(daemon, "exec", "tools", "/nonexistent").returncode == 127
    assert docker(daemon, "exec", "-d", "tools", "true") == ""


def test_logs_to_their_end(daemon: Daemon) -> None:
    docker(daemon, "run", "-d", "--name", "talk", "host", "sh", "-c", "echo 1; echo 2 >&2; sleep 0.3; echo 3")

    followed = attempt(daemon, "logs", "-f", "talk")

    assert (followed.stdout, followed.stderr) == ("1\n3\n", "2\n")
    assert docker(daemon, "logs", "-n", "1", "talk") == "3"


def test_networks(daemon: Daemon) -> None:
    docker(daemon, "network", "create", "--internal", "--label", "a=b", "--subnet", "10.77.2.0/24", "--gateway",
           "10.77.2.9", "inner")  # fmt: skip
    docker(daemon, "run", "-d", "--name", "guest", "host", "sleep", "infinity")

    docker(daemon, "network", "connect", "--ip", "10.77.2.5", "--alias", "also", "inner", "guest")
    (found,) = json.loads(docker(daemon, "network", "inspect", "inner"))
    assert found["IPAM"]["Config"] == [{"Subnet": "10.77.2.0/24", "Gateway": "10.77.2.9"}]
    assert [one["IPv4Address"] for one in found["Containers"].values()] == ["10.77.2.5/24"]
    assert "eth1" in docker(daemon, "exec", "guest", "ip", "-br", "link")
    docker(daemon, "network", "disconnect", "inner", "guest")
    assert "eth1" not in docker(daemon, "exec", "guest", "ip", "-br", "link")

    assert docker(daemon, "network", "ls", "-q", "--filter", "label=a=b", "--no-trunc") == found["Id"]
    refused = attempt(daemon, "network", "connect", "--ip", "10.99.0.1", "inner", "guest")
    assert "outside of pool 10.77.2.0/24" in refused.stderr
    assert "inner" in docker(daemon, "network", "prune", "-f")


def test_legacy_links(daemon: Daemon) -> None:
    """On the default network they are the host's configuration, elsewhere the endpoint's; ours does the same."""
    docker(daemon, "run", "-d", "--name", "svr", "host", "sleep", "infinity")
    where = docker(daemon, "inspect", "-f", "{{.NetworkSettings.IPAddress}}", "svr")
    docker(daemon, "run", "-d", "--name", "client", "--link", "svr:db", "host", "sleep", "infinity")
    daemon.ok("run", "-d", "--name", "ours", "--link", "svr:db", "host", "sleep", "infinity")

    for name in ("client", "ours"):
        assert json.loads(docker(daemon, "inspect", "-f", "{{json .HostConfig.Links}}", name)) == [f"/svr:/{name}/db"]
        assert docker(daemon, "exec", name, "getent", "hosts", "db").split()[:2] == [where, "db"]
    docker(daemon, "rm", "--link", "client/db")
    daemon.ok("rm", "--link", "/ours/db")
    assert attempt(daemon, "rm", "client/db").returncode == 1
    for name in ("client", "ours"):
        assert docker(daemon, "inspect", "-f", "{{json .HostConfig.Links}} {{.State.Running}}", name) == "null true"
        assert attempt(daemon, "exec", name, "getent", "hosts", "db").returncode == 2

    docker(daemon, "network", "create", "n")
    docker(daemon, "run", "-d", "--name", "other", "--network", "n", "--link", "later:db", "host", "sleep", "infinity")
    daemon.ok("run", "-d", "--name", "later", "--network", "n", "--link", "other:o", "host", "sleep", "infinity")
    shown = "{{json .HostConfig.Links}} {{json .NetworkSettings.Networks.n.Links}}"
    assert docker(daemon, "inspect", "-f", shown, "other") == 'null ["later:db"]'
    assert docker(daemon, "exec", "other", "getent", "hosts", "db") != ""
    assert docker(daemon, "exec", "later", "getent", "hosts", "o") != ""
    docker(daemon, "rm", "-f", "svr", "client", "ours", "other", "later")
    docker(daemon, "network", "rm", "n")


def test_networks_made_from_settings(daemon: Daemon) -> None:
    docker(daemon, "network", "create", "--config-only", "--subnet", "10.77.5.0/24", "--label", "kept=1", "settings")
    docker(daemon, "network", "create", "--config-from", "settings", "--attachable", "settled")

    kept, made = json.loads(docker(daemon, "network", "inspect", "settings", "settled"))
    assert (kept["ConfigOnly"], kept["Driver"], kept["IPAM"]["Config"]) == (True, "null", [{"Subnet": "10.77.5.0/24"}])
    assert (made["ConfigFrom"], made["ConfigOnly"], made["Driver"]) == ({"Network": "settings"}, False, "bridge")
    assert (made["Attachable"], made["Ingress"], made["Scope"], made["Labels"]) == (True, False, "local", {"kept": "1"})
    assert docker(daemon, "run", "--rm", "--network", "settled", "host", "hostname", "-i") == "10.77.5.2"
    refused = attempt(daemon, "network", "create", "--config-from", "settings", "--label", "a=b", "other")
    assert "cannot ask for labels itself" in refused.stderr
    assert "settings" not in docker(daemon, "network", "prune", "-f", "--filter", "label!=kept")
    assert docker(daemon, "network", "rm", "settled", "settings") == "settled\nsettings"


def test_network_filters(daemon: Daemon) -> None:
    docker(daemon, "network", "create", "--label", "sort=odd", "filtered")

    def found(*filters: str) -> set[str]:
        wanted = [word for text in filters for word in ("--filter", text)]
        return set(docker(daemon, "network", "ls", "--format", "{{.Name}}", *wanted).split())

    assert found("type=builtin") == {"bridge", "host", "none"}
    assert found("type=custom", "label=sort") == {"filtered"}
    assert found("name=^filtered$", "dangling=true", "driver=bridge", "scope=local") == {"filtered"}
    assert "filtered" not in found("dangling=false")
    assert "filtered" not in docker(daemon, "network", "prune", "-f", "--filter", "until=1h")
    assert "filtered" in docker(daemon, "network", "prune", "-f", "--filter", "label=sort=odd")


def test_volumes(daemon: Daemon) -> None:
    docker(daemon, "volume", "create", "--label", "kept=yes", "data")
    docker(daemon, "run", "--rm", "-v", "data:/data", "host", "sh", "-c", "echo kept > /data/file")

    assert docker(daemon, "run", "--rm", "-v", "data:/data:ro", "host", "cat", "/data/file") == "kept"
    assert docker(daemon, "volume", "ls", "-q", "--filter", "label=kept=yes") == "data"
    assert docker(daemon, "volume", "inspect", "-f", "{{.Driver}}", "data") == "local"
    assert docker(daemon, "volume", "rm", "data") == "data"


def test_events_and_the_engine_itself(daemon: Daemon) -> None:
    docker(daemon, "network", "create", "noted")

    told = docker(daemon, "events", "--since", "1h", "--until", "-1s", "--filter", "type=network", "--format", "json")
    assert ("create", "noted") in [
        (event["Action"], event["Actor"]["Attributes"].get("name")) for event in map(json.loads, told.splitlines())
    ]
    assert docker(daemon, "version", "-f", "{{.Server.Version}}")
    assert docker(daemon, "info", "-f", "{{.Driver}}") == "overlayfs"
    assert docker(daemon, "image", "ls", "-q", "host")


def test_limits_reach_the_kernel(daemon: Daemon) -> None:
    docker(daemon, "run", "-d", "--name", "small", "-m", "48m", "--pids-limit", "33", "host", "sleep", "infinity")

    used = json.loads(docker(daemon, "stats", "--no-stream", "--format", "json", "small"))

    assert used["MemUsage"].endswith("/ 48MiB")
    assert used["PIDs"] == "1"


def test_limits_of_a_running_container_change(daemon: Daemon) -> None:
    docker(daemon, "run", "-d", "--name", "grows", "-m", "48m", "host", "sleep", "infinity")

    docker(daemon, "update", "-m", "64m", "--memory-swap", "64m", "--pids-limit", "21", "grows")

    used = json.loads(docker(daemon, "stats", "--no-stream", "--format", "json", "grows"))
    assert used["MemUsage"].endswith("/ 64MiB")
    assert docker(daemon, "inspect", "-f", "{{.HostConfig.PidsLimit}}", "grows") == "21"
    refused = attempt(daemon, "update", "--cpu-quota", "1", "grows")
    assert "too small" in refused.stderr


def test_confinement_reaches_the_kernel(daemon: Daemon, tmp_path: Path) -> None:
    profile = tmp_path / "profile.json"
    forbidden = {"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 28}
    profile.write_text(json.dumps({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [forbidden]}))
    status = ("grep", "-E", "^(Seccomp|NoNewPrivs):", "/proc/self/status")

    default = docker(daemon, "run", "--rm", "host", *status)
    loosened = docker(daemon, "run", "--rm", "--security-opt", "seccomp=unconfined", "host", *status)
    strict = docker(daemon, "run", "--rm", "--security-opt", "no-new-privileges", "host", *status)
    own = attempt(daemon, "run", "--rm", "--security-opt", f"seccomp={profile}", "host", "mkdir", "/x")
    broken = attempt(daemon, "run", "--rm", "--security-opt", "seccomp={}x", "host", "true")

    assert default.split() == ["NoNewPrivs:", "0", "Seccomp:", "2"]
    assert loosened.split() == ["NoNewPrivs:", "0", "Seccomp:", "0"]
    assert strict.split() == ["NoNewPrivs:", "1", "Seccomp:", "2"]
    assert "No space left" in own.stderr
    assert broken.returncode == 125


def test_devices_can_be_used_as_far_as_allowed(daemon: Daemon) -> None:
    read = ("sh", "-c", "exec 3</dev/log0")

    opened = attempt(daemon, "run", "--rm", "--device", "/dev/fuse:/dev/log0:r", "host", *read)
    written = attempt(
        daemon, "run", "--rm", "--device", "/dev/fuse:/dev/log0:r", "host", "sh", "-c", "echo x >/dev/log0"
    )

    assert opened.returncode == 0, opened.stderr
    assert "not permitted" in written.stderr


def test_what_we_have_not_is_refused_or_warned_of(daemon: Daemon) -> None:
    image = attempt(daemon, "run", "nosuch")
    group = attempt(daemon, "create", "--cgroup-parent", "x", "host")
    noted = attempt(daemon, "create", "--annotation", "a=b", "host")

    assert "registry-1.docker.io: it cannot be reached" in image.stderr
    assert "HostConfig.CgroupParent is not supported" in group.stderr
    assert noted.returncode == 0
    assert "Annotations" in noted.stderr
