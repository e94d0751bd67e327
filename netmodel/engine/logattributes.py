"""What each line of a container's log says beside itself: labels, variables and a tag that the log's options name."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping

from netmodel.errors import Invalid
from netmodel.model import Container, ContainerConfig
from runtime.images import Image

_SHORT = 12
# What people write of Go's templates.
_FIELD = re.compile(r"\{\{\s*(?:\.(?P<field>\w+)|\(\.ExtraAttributes nil\)\.(?P<attribute>\w+))\s*\}\}")
_FIELDS = ("ID", "FullID", "Name", "ImageID", "ImageFullID", "ImageName", "DaemonName")


def attributes_of(container: Container, image: Image) -> str:
    """A JSON object of them as Docker's json-file has them; "" for none.

    The name is the present one: who is renamed while it runs keeps its tag until the next start.

    Source: moby daemon/logger/loginfo.go, ExtraAttributes(); daemon/logger/loggerutils/log_tag.go.
    """
    config, options = container.config, container.config.log.options
    environment = {**dict(image.config.env), **config.environment}
    found = {**_chosen(config.labels, options, "labels"), **_chosen(environment, options, "env")}
    if tag := options.get("tag"):
        found["tag"] = _filled(tag, _fields(container, image.id), found)
    return json.dumps(found, sort_keys=True, separators=(",", ":")) if found else ""


def check_attributes(config: ContainerConfig) -> None:
    """Refuse what no attribute can be made of, before anything is.

    Raises:
        Invalid: An expression or a template is wrong.
    """
    for name, value in config.log.options.items():
        if name.endswith("-regex"):
            try:
                re.compile(value)
            except re.error as error:
                raise Invalid(f"{name}={value} is no regular expression: {error}") from error
    tag = config.log.options.get("tag", "")
    rest = _FIELD.sub("", tag)
    unknown = [found["field"] for found in _FIELD.finditer(tag) if found["field"] not in (None, *_FIELDS)]
    if "{{" in rest or "}}" in rest or unknown:
        raise Invalid(
            f"tag={tag}: {f'there is no {{{{.{unknown[0]}}}}}' if unknown else 'only fields are known'}",
            f"there are: {', '.join(f'{{{{.{name}}}}}' for name in _FIELDS)} and {{{{(.ExtraAttributes nil).NAME}}}}",
        )


def _chosen(values: Mapping[str, str], options: Mapping[str, str], what: str) -> dict[str, str]:
    """Those that an option names, or that its expression fits."""
    names, pattern = options.get(what, "").split(","), options.get(f"{what}-regex")
    return {name: value for name, value in values.items() if name in names or (pattern and re.search(pattern, name))}


def _fields(container: Container, image_id: str) -> dict[str, str]:
    return {
        "ID": container.id[:_SHORT],
        "FullID": container.id,
        "Name": container.name,
        "ImageID": image_id.removeprefix("sha256:")[:_SHORT],
        "ImageFullID": image_id,
        "ImageName": container.config.image,
        "DaemonName": "netmodel",
    }


def _filled(tag: str, fields: Mapping[str, str], attributes: Mapping[str, str]) -> str:
    def value(found: re.Match[str]) -> str:
        if found["field"]:
            return fields[found["field"]]
        return attributes.get(found["attribute"], "<no value>")  # Go's words for it

    return _FIELD.sub(value, tag)
