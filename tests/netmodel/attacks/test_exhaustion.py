"""A container that takes all it can get leaves enough to everybody else."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from netmodel.engine import Engine
from netmodel.model import LogConfig, NetworkConfig
from tests.netmodel.attacks.conftest import Attempt
from tests.netmodel.engine.conftest import Run, execute
from tests.support.wait import eventually

pytestmark = pytest.mark.kernel


def test_fork_bomb_ends_at_the_limit_everybody_has(engine: Engine, run: Run, attempt: Attempt) -> None:
    container = run("bomb")

    bound = engine.stats(container.id).pids_limit

    assert bound is not None
    assert bound <= 4096
    small = run("small", pids_limit=40)
    attempt(small, "bomb() { bomb | bomb & }; bomb 2>&1; sleep 0.2; echo alive")
    assert (engine.stats(small.id).pids or 0) <= 40
    engine.kill(small.id)
    assert not engine.container(small.id).state.running


def test_memory_hog_is_killed_alone(engine: Engine, run: Run, attempt: Attempt) -> None:
    hog = run("hog", memory_bytes=48 << 20, memory_swap_bytes=48 << 20)
    neighbour = run("neighbour")

    code, _ = attempt(hog, "python3 -c 'b = bytearray(256 << 20)'")

    assert code == 137
    assert engine.stats(hog.id).oom_kills == 1
    assert attempt(neighbour, "echo fine") == (0, "fine\n")


def test_oom_of_the_first_process_is_told(engine: Engine, run: Run) -> None:
    hog = run(
        "hog",
        command=("python3", "-c", "b = bytearray(256 << 20)"),
        memory_bytes=48 << 20,
        memory_swap_bytes=48 << 20,
    )

    eventually(lambda: not engine.container(hog.id).state.running, what="end")

    state = engine.container(hog.id).state
    assert (state.exit_code, state.oom_killed) == (137, True)


def test_tmpfs_and_shm_are_bounded(run: Run, attempt: Attempt) -> None:
    code, printed = attempt(run("victim", shm_bytes=1 << 20), "head -c 4M /dev/zero > /dev/shm/x")

    assert code != 0
    assert "No space left" in printed


def test_log_flood_does_not_hold_up_others(engine: Engine, run: Run, attempt: Attempt) -> None:
    """The spawner reads every container's output with one thread, a part at a time."""
    run("flood", command=("sh", "-c", "yes & yes >&2 & sleep infinity"))
    calm = run("calm")
    spawner = engine.info().spawner_pid
    before = _resident_kb(spawner)

    begun = time.monotonic()
    for _ in range(5):
        assert attempt(calm, "echo fine") == (0, "fine\n")
    took_s = time.monotonic() - begun
    engine.remove("flood", force=True)

    assert took_s < 5
    assert _resident_kb(spawner) - before < 8 * 1024


@pytest.mark.parametrize("driver", ["json-file", "none"])
def test_log_flood_takes_no_more_disk_than_is_said(engine: Engine, run: Run, driver: str) -> None:
    options = {"max-size": "64k", "max-file": "2"} if driver == "json-file" else {}
    container = run("flood", command=("yes", "x" * 1000), log=LogConfig(driver=driver, options=options))

    def written() -> bool:
        counts = dict(line.split(": ") for line in Path(f"/proc/{container.state.pid}/io").read_text().splitlines())
        return int(counts["wchar"]) > 3_000_000

    eventually(written, what="3 MB of output")
    log = engine.log_path(container.id)
    kept = sum(path.stat().st_size for path in log.parent.glob(f"{log.name}*"))

    assert kept <= 2 * 64 * 1024
    assert (kept > 0) == (driver == "json-file")


def test_flood_towards_who_does_not_read_takes_no_memory(engine: Engine, run: Run, attempt: Attempt) -> None:
    """A client that is attached and stopped holds up its own container alone."""
    spawner = engine.info().spawner_pid
    flood, calm = run("flood", command=("sh", "-c", "yes & sleep infinity")), run("calm")
    descriptor, _ = engine.attach(flood.id, ["stdout", "stderr"], framed=True)
    before = _resident_kb(spawner)

    for _ in range(5):
        assert attempt(calm, "echo fine") == (0, "fine\n")

    assert _resident_kb(spawner) - before < 4 * 1024
    os.close(descriptor)


def _resident_kb(pid: int) -> int:
    status = Path(f"/proc/{pid}/status").read_text()
    return int(next(line for line in status.splitlines() if line.startswith("VmRSS:")).split()[1])


def test_dns_flood_does_not_hold_up_others(engine: Engine, run: Run) -> None:
    engine.create_network(NetworkConfig(name="lan"))
    run("flood", "lan")
    run("calm", "lan")
    flood = """
import os, socket, threading
query = bytes.fromhex("123401000001000000000000") + b"\\x04calm\\x00\\x00\\x01\\x00\\x01"
def send():
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.connect(("127.0.0.11", 53))
    while True:
        try: s.send(query)
        except OSError: pass
for _ in range(3): threading.Thread(target=send, daemon=True).start()
print("flooding", flush=True)
import time; time.sleep(60)
"""
    execute(engine, "flood", "sh", "-c", f"python3 -c '{flood}' > /tmp/out 2>&1 & sleep 0.5")

    begun = time.monotonic()
    code, printed = execute(engine, "calm", "getent", "hosts", "flood")
    took_s = time.monotonic() - begun

    assert code == 0, printed
    assert took_s < 4
    engine.remove("flood", force=True)
