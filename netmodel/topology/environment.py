"""A service's environment: env_file first, then environment, which wins."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from netmodel.topology import dotenv, mounts
from netmodel.topology.keys import ENV_FILE
from netmodel.topology.value import Fields, Value


@dataclass(slots=True)
class EnvFiles:
    """Reads env files, each once however many services name it.

    Args:
        directory: What relative paths start from; absolute.
    """

    directory: Path
    variables: Mapping[str, str]
    _known: dict[tuple[str, bool], dict[str, str] | None] = field(default_factory=dict)
    _missing: set[str] = field(default_factory=set)

    def read(self, path: str, value: Value, *, required: bool, raw: bool) -> dict[str, str]:
        whole = mounts.host_path(path, self.directory)
        if (whole, raw) not in self._known:
            self._known[whole, raw] = self._parse(whole, path, value, raw)
        found = self._known[whole, raw]
        if found is None and required and whole not in self._missing:
            self._missing.add(whole)  # one file that is not there is one mistake, however many services want it
            value.error(f'there is no file "{path}"', "create it, or mark it: {path: FILE, required: false}")
        return found or {}

    def _parse(self, whole: str, path: str, value: Value, raw: bool) -> dict[str, str] | None:
        try:
            text = Path(whole).read_text(encoding="utf-8")
        except FileNotFoundError:
            return None
        except (OSError, UnicodeDecodeError) as error:
            value.error(f'"{path}" cannot be read: {getattr(error, "strerror", None) or "it is not UTF-8 text"}')
            return {}
        try:
            return dotenv.parse(text, self.variables, raw=raw)
        except dotenv.BadLine as error:
            value.error(f"{path}:{error.line}: {error}")
            return {}


def read(fields: Fields, files: EnvFiles) -> dict[str, str]:
    """What the container's environment holds; a variable without a value is taken from the caller's, if set there."""
    environment: dict[str, str] = {}
    if "env_file" in fields:
        for item in fields["env_file"].one_or_more():
            environment.update(_file(item, files))
    for name, (value, _) in fields.dictionary("environment").items():
        if value is not None:
            environment[name] = value
        elif name in files.variables:
            environment[name] = files.variables[name]
        else:
            environment.pop(name, None)
    return environment


def _file(item: Value, files: EnvFiles) -> dict[str, str]:
    if not item.is_mapping:
        path = item.text()
        return files.read(path, item, required=True, raw=False) if path else {}
    fields = item.fields(ENV_FILE)
    path = fields.text("path")
    if not path:
        item.error_at_key("lacks path")
        return {}
    form = fields.text("format")
    if form not in ("", "raw"):
        fields["format"].error(f'unknown format "{form}"', 'leave it out, or use "raw"')
    return files.read(path, fields["path"], required=fields.flag("required", True), raw=form == "raw")
