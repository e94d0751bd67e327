"""Image host keeps the machine's secrets to itself."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from runtime.images.veil import BadVeil, veil
from runtime.spec import RootFs
from tests.runtime.lab import Lab, shell
from tests.runtime.shared import host, lab

__all__ = ["host", "lab"]

pytestmark = [pytest.mark.kernel, pytest.mark.whole_kernel]

SHADOW = "root:$y$j9T$secret:19000:0:99999:7:::\nweb:!:19000::::::\n"


@pytest.fixture
def machine(tmp_path: Path) -> Path:
    """The secret part of a machine's root."""
    root = tmp_path / "machine"
    for name, text in {
        "etc/shadow": SHADOW,
        "etc/gshadow": "shadow:$6$secret::\n",
        "etc/ssh/ssh_host_ed25519_key": "PRIVATE KEY secret",
        "etc/ssh/ssh_host_ed25519_key.pub": "public",
        "etc/ssl/private/web.key": "PRIVATE KEY secret",
        "root/.ssh/id_ed25519": "PRIVATE KEY secret",
        "root/.bashrc": "plain",
        "home/ann/.aws/credentials": "secret",
        "home/ann/notes": "plain",
    }.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    (root / "etc/shadow").chmod(0o640)
    (root / "root").chmod(0o700)
    return root


@pytest.fixture
def place() -> Iterator[Path]:
    """For a layer above the machine's root: on another file system."""
    with tempfile.TemporaryDirectory(dir="/dev/shm") as directory:
        yield Path(directory, "veil")


def test_secrets_are_gone_and_the_rest_is_there(lab: Lab, machine: Path, place: Path, tmp_path: Path) -> None:
    """As a container's root sees it, who may read everything that is there."""
    layer = veil(place, machine)
    # The test's machine lies below the real one, which overlay does not take for two layers.
    copy = place.with_name("machine")
    shutil.copytree(machine, copy)
    (tmp_path / "upper").mkdir()
    (tmp_path / "work").mkdir()
    rootfs = RootFs(layers=(str(layer), str(copy), "/"), upper=f"{tmp_path}/upper", work=f"{tmp_path}/work")
    spec = lab.start(
        shell(
            "grep -rl secret /etc/shadow /etc/gshadow /etc/ssh /etc/ssl/private /root/.ssh /home/ann 2>/dev/null ||:;"
            "cat /etc/shadow /etc/ssh/*.pub /root/.bashrc /home/ann/notes; stat -c '%a %u' /etc/shadow /root"
        ),
        rootfs=rootfs,
    )
    lab.ended(spec)

    assert lab.output(spec) == "root:*:19000:0:99999:7:::\nweb:*:19000::::::\npublicplainplain640 0\n700 0\n"


def test_layer_is_made_once_and_again_when_passwords_change(machine: Path, tmp_path: Path) -> None:
    first = veil(tmp_path / "veil", machine)
    assert veil(tmp_path / "veil", machine) == first

    (machine / "etc/shadow").write_text(SHADOW + "new:$y$other:1::::::\n")

    second = veil(tmp_path / "veil", machine)
    assert second != first
    assert (second / "etc/shadow").read_text().endswith("new:*:1::::::\n")


def test_somebody_elses_place_is_not_taken(machine: Path, tmp_path: Path) -> None:
    (tmp_path / "veil").mkdir()
    (tmp_path / "veil").chmod(0o777)

    with pytest.raises(BadVeil):
        veil(tmp_path / "veil", machine)
