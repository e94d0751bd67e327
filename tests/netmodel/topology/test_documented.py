"""The manual names every key that is read, and its example is right."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from netmodel.topology import keys, load

MANUAL = Path(__file__).parents[3] / "docs" / "topologies.md"


@pytest.mark.parametrize(
    "section",
    [keys.TOP, keys.SERVICE, keys.ATTACHMENT, keys.NETWORK, keys.IPAM, keys.POOL, keys.VOLUME, keys.EXPECTATION],
    ids=["top", "service", "attachment", "network", "ipam", "pool", "volume", "expectation"],
)
def test_every_key_is_named(section: keys.Keys) -> None:
    named = set(re.findall(r"`([a-z0-9_.-]+)(?:: [^`]*)?`", MANUAL.read_text()))
    named |= {part for name in named for part in name.split(".")}

    assert section.supported | section.ours <= named


def test_the_first_example_loads(tmp_path: Path) -> None:
    example = MANUAL.read_text().split("```yaml\n")[1].split("```")[0]
    (tmp_path / "lab.yaml").write_text(example)

    assert len(load(tmp_path / "lab.yaml", {}).project.containers) == 2
