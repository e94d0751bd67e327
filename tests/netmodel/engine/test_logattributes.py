"""What of a container its log's options choose."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime

from netmodel.engine.logattributes import attributes_of
from netmodel.model import Container, ContainerConfig, LogConfig
from runtime.images import Image
from runtime.images.image import ImageConfig

IMAGE_ID = f"sha256:{'b' * 64}"
NOW = datetime(2026, 1, 1, tzinfo=UTC)
IMAGE = Image(
    id=IMAGE_ID,
    names=("shop/web:1",),
    layers=(),
    created_at=NOW,
    config=ImageConfig(env=(("HOME_TOWN", "Bonn"), ("A", "image"))),
)
CONTAINER = Container(
    id="a" * 64,
    name="web",
    config=ContainerConfig(
        image="shop/web:1", labels={"tier": "front", "team.name": "x"}, environment={"A": "own", "B": "1"}
    ),
    created_at=NOW,
    sandbox="a" * 64,
    idmap_base=None,
    image_id=IMAGE_ID,
)


def attributes(options: Mapping[str, str]) -> dict[str, str]:
    config = replace(CONTAINER.config, log=LogConfig(options=options))
    text = attributes_of(replace(CONTAINER, config=config), IMAGE)
    found: dict[str, str] = json.loads(text or "{}")
    return found


def test_labels_and_variables_by_name_and_by_expression() -> None:
    assert attributes({}) == {}
    assert attributes({"max-size": "1m"}) == {}
    assert attributes({"labels": "tier,none", "env": "A,HOME_TOWN"}) == {
        "tier": "front",
        "A": "own",
        "HOME_TOWN": "Bonn",
    }
    assert attributes({"labels-regex": r"^team\.", "env-regex": "^B$"}) == {"team.name": "x", "B": "1"}
    assert attributes({"labels": "", "env": ""}) == {}


def test_a_tag_says_what_its_template_asks_for() -> None:
    fields = ["ID", "FullID", "Name", "ImageID", "ImageFullID", "ImageName", "DaemonName"]
    asked = "|".join(f"{{{{.{name}}}}}" for name in fields)

    said = attributes({"tag": asked})["tag"].split("|")

    assert said == ["a" * 12, "a" * 64, "web", "b" * 12, IMAGE_ID, "shop/web:1", "netmodel"]
    assert attributes({"tag": "plain"}) == {"tag": "plain"}
    wanted = "{{ (.ExtraAttributes nil).B }}-{{(.ExtraAttributes nil).A}}"
    assert attributes({"tag": wanted, "env": "B"}) == {"B": "1", "tag": "1-<no value>"}
