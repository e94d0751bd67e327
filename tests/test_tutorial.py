"""The tutorial and the demo, as a newcomer runs them."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.box import Box

REPOSITORY = Path(__file__).parents[1]


@pytest.fixture
def environment(host: Box, tmp_path: Path) -> Iterator[dict[str, str]]:
    variables = dict(os.environ, NETMODEL_ROOT=str(tmp_path / "root"), NETMODEL_HOST=str(tmp_path / "engine.sock"))
    variables["PATH"] = f"{Path(sys.executable).parent}:{variables['PATH']}"
    yield variables
    for words in (["down", "quickstart"], ["down", "router"], ["rm", "-f", "web", "app", "db"], ["engine", "stop"]):
        subprocess.run(["netmodel", *words], env=variables, capture_output=True, check=False, timeout=60)


@pytest.mark.kernel
@pytest.mark.slow
def test_every_block_of_the_tutorial_runs(environment: dict[str, str]) -> None:
    text = (REPOSITORY / "docs" / "tutorial.md").read_text()
    blocks = re.findall(r"^```sh\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    assert len(blocks) > 8
    for block in blocks:
        done = subprocess.run(
            ["sh", "-e", "-c", block],
            cwd=REPOSITORY, env=environment, capture_output=True, text=True, check=False, timeout=60,
        )  # fmt: skip
        assert done.returncode == 0, f"{block}\n{done.stdout}\n{done.stderr}"


@pytest.mark.kernel
@pytest.mark.slow
def test_the_demo_shows_all_and_leaves_nothing(environment: dict[str, str]) -> None:
    before = set(Path("/var/tmp").glob("netmodel-demo.*"))
    done = subprocess.run(
        ["sh", "topologies/demo.sh"],
        cwd=REPOSITORY, env=environment, capture_output=True, text=True, check=False, timeout=90,
    )  # fmt: skip

    assert done.returncode == 0, done.stdout + done.stderr
    assert "9 of 9 hold" in done.stdout
    assert "HTTP 200" in done.stdout
    assert set(Path("/var/tmp").glob("netmodel-demo.*")) <= before
