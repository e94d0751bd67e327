"""The docker CLI about a container's life: restarts, health, copies, processes, logs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.support.daemon import Daemon, needs_docker
from tests.support.wait import eventually

pytestmark = [pytest.mark.kernel, needs_docker]


def docker(daemon: Daemon, *argv: str) -> str:
    done = daemon.run("docker", *argv)
    assert done.returncode == 0, f"docker {' '.join(argv)}: {done.stderr}"
    return done.stdout.strip()


def inspected(daemon: Daemon, name: str) -> dict[str, object]:
    found: dict[str, object] = json.loads(docker(daemon, "inspect", name))[0]
    return found


def test_restart_policies(daemon: Daemon) -> None:
    docker(daemon, "run", "-d", "--name", "again", "--restart", "on-failure:2", "host", "sh", "-c", "exit 3")

    eventually(lambda: "Exited (3)" in docker(daemon, "ps", "-a", "--filter", "name=again", "--format", "{{.Status}}"))

    seen = inspected(daemon, "again")
    assert seen["RestartCount"] == 2
    assert seen["HostConfig"]["RestartPolicy"] == {"Name": "on-failure", "MaximumRetryCount": 2}  # type: ignore[index]
    docker(daemon, "update", "--restart", "always", "again")
    docker(daemon, "start", "again")
    eventually(lambda: "Restarting (3)" in docker(daemon, "ps", "--filter", "name=again", "--format", "{{.Status}}"))
    docker(daemon, "rm", "-f", "again")


def test_health(daemon: Daemon) -> None:
    docker(daemon, "run", "-d", "--name", "well", "--health-cmd", "echo fine", "host", "sleep", "infinity")

    eventually(lambda: "(healthy)" in docker(daemon, "ps", "--filter", "health=healthy", "--format", "{{.Status}}"))

    health = json.loads(docker(daemon, "inspect", "--format", "{{json .State.Health}}", "well"))
    assert health["Log"][-1]["Output"] == "fine\n"
    # docker asks for whole seconds.
    history = ("events", "--since", "1m", "--until", "0s", "--filter", "event=health_status")
    eventually(lambda: "health_status: healthy" in docker(daemon, *history))
    docker(daemon, "rm", "-f", "well")


def test_copies_in_and_out(daemon: Daemon, tmp_path: Path) -> None:
    docker(daemon, "run", "-d", "--name", "files", "host", "sleep", "infinity")
    (tmp_path / "tree" / "sub").mkdir(parents=True)
    (tmp_path / "tree" / "sub" / "a").write_text("hello\n")

    docker(daemon, "cp", str(tmp_path / "tree"), "files:/srv")
    docker(daemon, "cp", "files:/srv/tree/sub", str(tmp_path / "back"))

    assert (tmp_path / "back" / "a").read_text() == "hello\n"
    assert docker(daemon, "exec", "files", "cat", "/srv/tree/sub/a") == "hello"
    assert "A /srv/tree/sub/a" in docker(daemon, "diff", "files")
    docker(daemon, "stop", "-t", "0", "files")
    docker(daemon, "cp", str(tmp_path / "tree" / "sub" / "a"), "files:/srv/b")
    docker(daemon, "cp", "files:/srv/b", str(tmp_path / "b"))
    assert (tmp_path / "b").read_text() == "hello\n"
    docker(daemon, "rm", "files")


def test_top(daemon: Daemon) -> None:
    docker(daemon, "run", "-d", "--name", "busy", "host", "sleep", "infinity")

    assert "sleep infinity" in docker(daemon, "top", "busy")
    assert "sleep" in docker(daemon, "top", "busy", "-o", "pid,comm")
    docker(daemon, "rm", "-f", "busy")


def test_what_is_missing_is_named_and_no_image_fetched(daemon: Daemon) -> None:
    for option, missing in (("--network", "nonet"), ("--pid", "container:nobody"), ("--ipc", "container:nobody")):
        done = daemon.run("docker", "run", "--rm", option, missing, "host", "true")

        assert done.returncode == 125
        assert missing.removeprefix("container:") in done.stderr
        assert "Unable to find image" not in done.stderr
    assert "Unable to find image" in daemon.run("docker", "run", "--rm", "127.0.0.1:1/none", "true").stderr


def test_our_own_words(daemon: Daemon, tmp_path: Path) -> None:
    """cp, top, diff and the options of run, by our command line."""
    daemon.ok(
        "run",
        "-d",
        "--name",
        "ours",
        "--restart",
        "unless-stopped",
        "--health-cmd",
        "true",
        "host",
        "sleep",
        "infinity",
    )
    eventually(lambda: "(healthy)" in daemon.ok("ps", "-f", "name=ours"))
    (tmp_path / "tree").mkdir()
    (tmp_path / "tree" / "a").write_text("hello\n")

    daemon.ok("cp", str(tmp_path / "tree"), "ours:/srv/copied")
    daemon.ok("cp", "ours:/srv/copied/.", str(tmp_path / "back"))
    daemon.ok("cp", "ours:/srv/copied/a", str(tmp_path))

    assert (tmp_path / "back" / "a").read_text() == (tmp_path / "a").read_text() == "hello\n"
    assert daemon.netmodel("cp", "ours:/nowhere", str(tmp_path)).returncode == 1
    assert "/nowhere is not in container ours" in daemon.netmodel("cp", "ours:/nowhere", str(tmp_path)).stderr
    assert daemon.netmodel("cp", "a", "b").returncode == 2
    assert daemon.netmodel("cp", "ours:", str(tmp_path)).returncode == 2
    refused = daemon.netmodel("cp", "ours:/srv/copied", str(tmp_path / "a"))
    assert (refused.returncode, refused.stdout) == (1, "")
    assert refused.stderr == f"Error: {tmp_path}/a is a file here, and /srv/copied a directory of container ours\n"
    assert (tmp_path / "a").stat().st_mode & 0o777 == 0o644
    daemon.ok("exec", "ours", "touch", "-d", "2001-02-03 04:05:06", "/srv/copied")
    daemon.ok("cp", "ours:/srv/copied", str(tmp_path / "old"))
    assert (tmp_path / "old").stat().st_mtime == (tmp_path / "old").stat().st_mtime // 1 < 1_000_000_000
    assert "A /srv/copied/a" in daemon.ok("diff", "ours")
    assert "sleep infinity" in daemon.ok("top", "ours")
    assert json.loads(daemon.ok("top", "--json", "ours"))[0]["UID"] == "root"
    daemon.ok("update", "--restart", "no", "ours")
    daemon.ok("rm", "-f", "ours")


def test_what_containers_take_on_the_disk(daemon: Daemon) -> None:
    docker(daemon, "run", "--name", "writer", "host", "sh", "-c", "head -c 3000000 /dev/zero > /big")

    (line,) = [one for one in daemon.client.get("/system/df")["Containers"] if one["Names"] == ["/writer"]]
    assert line["SizeRw"] >= 3000000
    assert docker(daemon, "ps", "-as", "-f", "name=writer", "--format", "{{.Size}}").startswith("3MB")
    assert json.loads(docker(daemon, "inspect", "-s", "writer"))[0]["SizeRw"] == line["SizeRw"]
    assert "2.86" in daemon.ok("ps", "-as", "-f", "name=writer")
    assert "Containers" in docker(daemon, "system", "df")
    docker(daemon, "rm", "writer")


def test_details_of_logs_and_where_they_are(daemon: Daemon) -> None:
    options = {"labels": "tier,none", "env-regex": "^CO", "tag": "{{.Name}}/{{ (.ExtraAttributes nil).COLOUR }}"}
    chosen = [word for name, value in options.items() for word in ("--log-opt", f"{name}={value}")]
    chosen += ["-l", "tier=a b", "-e", "COLOUR=red", "-e", "X=y"]
    docker(daemon, "run", "--name", "detailed", *chosen, "host", "sh", "-c", "echo hello; echo oops >&2")

    details = "COLOUR=red,tag=detailed%2Fred,tier=a+b"
    done = daemon.run("docker", "logs", "--details", "detailed")
    assert (done.stdout, done.stderr) == (f"{details} hello\n", f"{details} oops\n")
    assert docker(daemon, "logs", "detailed").splitlines()[0] == "hello"
    path = Path(str(inspected(daemon, "detailed")["LogPath"]))
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert {line["log"] for line in lines} == {"hello\n", "oops\n"}
    assert all(line["attrs"] == {"COLOUR": "red", "tag": "detailed/red", "tier": "a b"} for line in lines)
    docker(daemon, "rename", "detailed", "renamed")
    docker(daemon, "start", "-a", "renamed")
    said = docker(daemon, "logs", "--details", "renamed").splitlines()
    assert said == [f"{details} hello", "COLOUR=red,tag=renamed%2Fred,tier=a+b hello"]
    docker(daemon, "rm", "renamed")
    refused = daemon.run("docker", "run", "--log-opt", "tag={{.Colour}}", "host", "true")
    assert "there is no {{.Colour}}" in refused.stderr
    docker(daemon, "run", "--name", "local", "--log-driver", "local", "host", "true")
    assert inspected(daemon, "local")["LogPath"] == ""
    docker(daemon, "rm", "local")


def test_inspect_names_its_files_and_what_runs_beside_it(daemon: Daemon) -> None:
    docker(daemon, "run", "-d", "--name", "seen", "--network", "none", "host", "sleep", "infinity")
    docker(daemon, "run", "-d", "--name", "sharer", "--network", "container:seen", "host", "sleep", "infinity")
    assert inspected(daemon, "seen")["ExecIDs"] is None
    docker(daemon, "exec", "-d", "seen", "sleep", "infinity")

    seen = inspected(daemon, "seen")

    execs = seen["ExecIDs"]
    assert isinstance(execs, list)
    assert [daemon.client.get(f"/exec/{one}/json")["Running"] for one in execs] == [True]
    assert Path(str(seen["HostsPath"])).read_text() == docker(daemon, "exec", "seen", "cat", "/etc/hosts") + "\n"
    assert seen["ResolvConfPath"] == inspected(daemon, "sharer")["ResolvConfPath"]
    for name in ("sharer", "seen"):
        docker(daemon, "rm", "-f", name)
