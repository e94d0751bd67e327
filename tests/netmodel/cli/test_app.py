"""The command line as such: what it loads, how it says no, that no option is given away twice."""

from __future__ import annotations

import socket
import subprocess
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from netmodel.cli import main
from netmodel.cli.app import COMMANDS, netmodel
from netmodel.client import api

# What only some commands need; any of these in a plain listing would be felt.
HEAVY = ("rich", "aiohttp", "asyncio", "msgspec", "scapy", "yaml", "netmodel.model", "netmodel.engine", "subprocess",
         "dataclasses", "http.client", "concurrent.futures", "logging")  # fmt: skip


def commands(group: click.Group, path: str = "netmodel") -> Iterator[tuple[str, click.Command]]:
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None, name
        yield f"{path} {name}", command
        if isinstance(command, click.Group):
            yield from commands(command, f"{path} {name}")


def test_a_listing_loads_only_what_it_needs() -> None:
    code = (
        "import sys; from netmodel.cli import main; main(['--host', '/nonexistent/x', 'engine', 'status']);"
        "main(['network', 'ls', '--help']); print(*sys.modules)"
    )

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert set(done.stdout.split()) & set(HEAVY) == set()


def test_every_command_is_there_with_help_and_options_of_its_own() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # click warns of an option that is declared twice
        for path, command in commands(netmodel):
            context = click.Context(command, info_name=path)
            assert command.get_help(context), path
            assert command.help or path in [f"netmodel {name}" for name in COMMANDS], path
            command.make_parser(context)
            for parameter in command.params:
                if isinstance(parameter, click.Option) and not parameter.hidden:
                    assert parameter.help, f"{path} {parameter.opts}"


@pytest.mark.parametrize(
    ("argv", "told"),
    [
        (["nettwork", "ls"], "error: no such command: nettwork (did you mean network?)"),
        (["network", "ls", "--colour"], "error: No such option"),
        (["rm"], "error: Missing argument"),
        (["--host", "tcp://10.0.0.1:2375", "ps"], "error: host 'tcp://10.0.0.1:2375': only unix sockets are served"),
    ],
)
def test_a_wrong_request(argv: list[str], told: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(argv) == 2

    captured = capsys.readouterr()
    assert captured.err.startswith(told)
    assert captured.out == ""


def test_no_engine_and_none_wanted(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--host", "/nonexistent/e.sock", "engine", "status"]) == 1

    assert capsys.readouterr().err == (
        "error: no engine is running at /nonexistent/e.sock\nhint: start one with: netmodel engine start\n"
    )


def test_an_engine_that_hangs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """It takes connections, as the kernel does for one that is stopped, and says nothing."""
    monkeypatch.setattr(api, "_PATIENCE_S", 0.05)
    monkeypatch.setattr(api, "_PING_S", 0.05)
    with socket.socket(socket.AF_UNIX) as silent:
        silent.bind(str(tmp_path / "e.sock"))
        silent.listen()

        assert main(["--host", str(tmp_path / "e.sock"), "ps"]) == 1

    error, hint = capsys.readouterr().err.splitlines()
    assert error == f"error: what listens at {tmp_path}/e.sock takes requests, but answers none"
    assert hint.startswith("hint: ")


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_scripts(shell: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["completion", shell]) == 0
    assert "_NETMODEL_COMPLETE" in capsys.readouterr().out
