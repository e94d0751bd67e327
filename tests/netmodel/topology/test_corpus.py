"""Files from the field load as they are."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from netmodel.topology import TopologyError, load
from netmodel.topology.keys import SERVICE, TOP

CORPUS = Path(__file__).parents[4] / "shared" / "corpus"
FILES = sorted(CORPUS.glob("*.yaml")) if CORPUS.is_dir() else []
FOREIGN = {"clab-frr01.yaml": "containerlab", "netlab-tc-validate.yaml": "netlab"}

OPEN5GS = [
    *("MONGO", "WEBUI", "NRF", "SCP", "AUSF", "UDR", "UDM", "SMF"),
    *("UPF", "AMF", "PCF", "BSF", "NSSF", "METRICS", "GRAFANA"),
]

# What the files want to be told; their own projects keep these in a .env.
ENVIRONMENT = {
    "SERVER": "server",
    "CLIENT": "client",
    **{f"{side}_{what}": "/tmp" for side in ("SERVER", "CLIENT") for what in ("WWW", "DOWNLOADS")},
    "CERTS": "/tmp",
    "POSTGRES_DEFAULT_PORT": "5432",
    "METRICS_BIND_PORT": "9091",
    "TEST_NETWORK": "172.22.0.0/24",
    **{f"{name}_IP": f"172.22.0.{number}" for number, name in enumerate(OPEN5GS, start=10)},
}

pytestmark = pytest.mark.skipif(not FILES, reason="the corpus of Compose files is not beside this checkout")


@pytest.fixture(params=FILES, ids=lambda file: file.stem)
def file(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A file of the corpus in a directory of its own, with an env file such as open5gs wants."""
    original: Path = request.param
    copied = tmp_path / original.name
    shutil.copy(original, copied)
    (tmp_path / ".env").write_text("FROM_FILE=1\n")
    return copied


def test_file(file: Path) -> None:
    if file.name in FOREIGN:
        with pytest.raises(TopologyError, match=f"this looks like a {FOREIGN[file.name]} topology"):
            load(file, ENVIRONMENT)
        return

    loaded = load(file, ENVIRONMENT)

    assert loaded.project.containers
    text = file.read_text()
    told = {warning.key.split(".")[-1] for warning in loaded.warnings}
    # Every key of the specification that is not read is named, wherever it is.
    for key in SERVICE.later | TOP.later:
        if f"\n    {key}:" in text or f"\n        {key}:" in text:
            assert key in told or key not in SERVICE.later, key


def test_open5gs_takes_its_addresses_from_variables(tmp_path: Path) -> None:
    shutil.copy(CORPUS / "open5gs-sa.yaml", tmp_path / "lab.yaml")
    (tmp_path / ".env").write_text("\n".join(f"{name}={value}" for name, value in ENVIRONMENT.items()))

    project = load(tmp_path / "lab.yaml", {}).project

    addresses = {one.service: str(one.config.networks[0].ipv4_address) for one in project.containers}
    assert addresses["mongo"] == "172.22.0.10"
    assert project.containers[0].config.environment["MONGO_IP"] == "172.22.0.10"
