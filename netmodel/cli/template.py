"""Docker's --format, as far as people use it: {{.Field.Inner}} and {{json .Field}}."""

from __future__ import annotations

import json
import re
from typing import Any

import click

_ACTION = re.compile(r"\{\{\s*(json\s+)?(\.[\w.\-]*)\s*\}\}")


def render(template: str, value: Any) -> str:
    """Fill a template in.

    Raises:
        click.UsageError: It asks for more than we know, or for a field that isn't there.
    """
    if "{{" in _ACTION.sub("", template):
        raise click.UsageError(f"template {template!r}: only {{{{.Field}}}} and {{{{json .Field}}}} are known")
    return _ACTION.sub(lambda found: _show(_look_up(value, found[2], template), bool(found[1])), template)


def _look_up(value: Any, path: str, template: str) -> Any:
    for name in filter(None, path.split(".")):
        if not isinstance(value, dict) or name not in value:
            raise click.UsageError(f"template {template!r}: there is no field {name}")
        value = value[name]
    return value


def _show(value: Any, as_json: bool) -> str:
    if as_json:
        return json.dumps(value, ensure_ascii=False)
    if value is None:
        return "<no value>"
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value) if not isinstance(value, dict | list) else json.dumps(value, ensure_ascii=False)
