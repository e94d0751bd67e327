"""Topology files as commands take them: read here, by the user's own hands, and told of all their mistakes."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import click

from netmodel.cli.session import note
from netmodel.topology import Loaded, TopologyError, find_name
from netmodel.topology import load as load_topology


class Mistakes(click.ClickException):
    """What is wrong with a topology: a line each, then how many."""

    exit_code = 2

    def __init__(self, path: str, error: TopologyError) -> None:
        super().__init__(str(error))
        self.path, self.diagnostics = path, error.diagnostics

    def show(self, file: IO[Any] | None = None) -> None:
        for diagnostic in self.diagnostics:
            print(diagnostic, file=sys.stderr)
        count = len(self.diagnostics)
        print(f"error: {count} mistake{'' if count == 1 else 's'} in {self.path}", file=sys.stderr)


def load(path: str, project_name: str | None = None) -> Loaded:
    """Read a topology; its warnings go to stderr.

    Raises:
        Mistakes: It cannot be used.
    """
    try:
        loaded = load_topology(Path(path), os.environ, project_name)
    except TopologyError as error:
        raise Mistakes(path, error) from error
    for warning in loaded.warnings:
        note(f"warning: {warning}")
    return loaded


def project_of(file_or_name: str) -> str:
    """The project that a file or a name stands for, even if the file is wrong elsewhere."""
    if not is_file(file_or_name):
        return file_or_name
    try:
        return find_name(Path(file_or_name), os.environ)
    except TopologyError as error:
        raise Mistakes(file_or_name, error) from error


def is_file(file_or_name: str) -> bool:
    """Whether a file is meant: one that is there, or what only a file can be called."""
    if os.path.isdir(file_or_name):
        return "/" in file_or_name or file_or_name in (".", "..") or any(_compose_files(file_or_name))
    return os.path.exists(file_or_name) or "/" in file_or_name or file_or_name.endswith((".yaml", ".yml"))


def _compose_files(directory: str) -> Iterator[Path]:
    return (path for pattern in ("compose.y*ml", "docker-compose.y*ml") for path in Path(directory).glob(pattern))
