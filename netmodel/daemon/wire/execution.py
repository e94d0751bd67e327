"""Programs run beside a container's first process, in Docker's JSON."""

from __future__ import annotations

from typing import Any

from netmodel.daemon.wire.decode import Body, decode
from netmodel.engine import ExecConfig, ExecState
from netmodel.errors import Invalid


class CreateRequest(Body):
    cmd: list[str] | str | None = None
    env: list[str] | None = None
    user: str | None = None
    working_dir: str | None = None
    tty: bool = False
    attach_stdin: bool = False
    attach_stdout: bool = False
    attach_stderr: bool = False
    privileged: bool = False
    detach_keys: str | None = None
    console_size: list[int] | None = None


class StartRequest(Body):
    detach: bool = False
    tty: bool = False
    console_size: list[int] | None = None


def read_create(data: bytes) -> ExecConfig:
    request = decode(CreateRequest, data)
    command = (request.cmd,) if isinstance(request.cmd, str) else tuple(request.cmd or ())
    if not command:
        raise Invalid("no command is given", "name the program to run")
    pairs = [entry.partition("=") for entry in request.env or ()]
    return ExecConfig(
        command=command,
        environment={name: value for name, equals, value in pairs if equals},
        working_dir=request.working_dir or "",
        user=request.user or "",
        tty=request.tty,
        attach_stdin=request.attach_stdin,
        attach_stdout=request.attach_stdout,
        attach_stderr=request.attach_stderr,
        privileged=request.privileged,
    )


def read_start(data: bytes) -> StartRequest:
    return decode(StartRequest, data)


def shape(state: ExecState) -> dict[str, Any]:
    config = state.config
    return {
        "ID": state.id,
        "Running": state.running,
        "ExitCode": state.exit_code,
        "ProcessConfig": {
            "tty": config.tty,
            "entrypoint": config.command[0],
            "arguments": list(config.command[1:]),
            "privileged": config.privileged,
            "user": config.user,
        },
        "OpenStdin": config.attach_stdin,
        "OpenStderr": config.attach_stderr,
        "OpenStdout": config.attach_stdout,
        "CanRemove": not state.running,
        "ContainerID": state.container_id,
        "DetachKeys": "",
        "Pid": state.pid,
    }
