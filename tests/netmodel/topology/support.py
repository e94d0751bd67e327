"""Loading a topology out of a string."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping
from pathlib import Path

from netmodel.model import ContainerConfig, NetworkConfig
from netmodel.project import Project
from netmodel.topology import Diagnostic, Loaded, TopologyError, load


def load_text(
    directory: Path, text: str, environment: Mapping[str, str] | None = None, name: str | None = None
) -> Loaded:
    file = directory / "lab.yaml"
    file.write_text(textwrap.dedent(text))
    return load(file, environment or {}, name)


def project(directory: Path, text: str, environment: Mapping[str, str] | None = None) -> Project:
    return load_text(directory, text, environment).project


def config(
    directory: Path, service: str, environment: Mapping[str, str] | None = None, rest: str = ""
) -> ContainerConfig:
    """The only container of a topology whose only service has these keys."""
    body = textwrap.indent(textwrap.dedent(service), "    ")
    return project(directory, f"services:\n  web:\n    image: host\n{body}\n{rest}", environment).containers[0].config


def network(directory: Path, keys: str) -> NetworkConfig:
    body = textwrap.indent(textwrap.dedent(keys), "    ")
    return project(directory, f"networks:\n  lan:\n{body}\n").networks[0].config


def mistakes(directory: Path, text: str, environment: Mapping[str, str] | None = None) -> list[Diagnostic]:
    try:
        load_text(directory, text, environment)
    except TopologyError as error:
        return error.diagnostics
    return []


def told(directory: Path, text: str, environment: Mapping[str, str] | None = None) -> list[str]:
    """The mistakes as "line:column: key: message (hint)"."""
    file = str(directory / "lab.yaml:")
    return [str(mistake).removeprefix(file) for mistake in mistakes(directory, text, environment)]
