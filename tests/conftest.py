"""Every test lives in a network namespace of its own, so that nothing touches the machine's network."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator

import pytest

from tests.support import machine
from tests.support.box import Box
from tests.support.sweep import sweep_after_us
from tests.support.wait import eventually

# The kernel whose guest this is; "" on a machine.
_GUEST = os.environ.get("NETMODEL_KERNEL", "")
_before = pytest.StashKey[dict[str, frozenset[str]]]()


@pytest.fixture
def host() -> Iterator[Box]:
    """The "host": the test's main thread, and what it starts, is inside."""
    box = Box("host")
    with box.entered():
        yield box
    box.close()


@pytest.fixture
def box() -> Iterator[Callable[[str], Box]]:
    """Make further boxes by name: another host, or a namespace to join."""
    boxes: list[Box] = []

    def make(name: str) -> Box:
        boxes.append(Box(name))
        return boxes[-1]

    yield make
    for made in boxes:
        made.close()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    # The longest first: nobody is to wait at the end for the one who has begun with one of them last.
    items.sort(key=lambda item: item.get_closest_marker("slow") is None)
    for item in items:
        for mark in item.iter_markers("not_on"):
            if _excused(mark):
                item.add_marker(pytest.mark.skip(reason=mark.args[0]))
    if os.geteuid() == 0:
        return
    for item in items:
        if item.get_closest_marker("kernel"):
            item.add_marker(pytest.mark.skip(reason="needs root: it makes namespaces"))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Iterator[None]:
    """With NETMODEL_REQUIRE_KERNEL=1 a kernel test that skips has failed: CI must not go green by not looking.

    On a guest's kernel (tests/kernels) any test has, but for those whose marker says why they cannot be there.
    """
    report = yield
    required = os.environ.get("NETMODEL_REQUIRE_KERNEL") == "1" and (_GUEST or item.get_closest_marker("kernel"))
    excused = any(_excused(mark) for mark in item.iter_markers("not_on"))
    if required and report.skipped and not excused and not hasattr(report, "wasxfail"):
        report.outcome = "failed"
        report.longrepr = f"skipped where nothing may be: {report.longrepr}"
    return report


def _excused(mark: pytest.Mark) -> bool:
    """Whether it is about this kernel: @pytest.mark.not_on(REASON, KERNEL...)."""
    return _GUEST in mark.args[1:]


def pytest_sessionstart(session: pytest.Session) -> None:
    if _is_whole_suite(session.config) and os.geteuid() == 0:
        session.config.stash[_before] = machine.snapshot()


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Prove that the machine is as it was; a leak fails the run even when every test passed."""
    if session.testsfailed and os.geteuid() == 0:
        sweep_after_us(session.config._tmp_path_factory.getbasetemp())  # type: ignore[attr-defined]
    before = session.config.stash.get(_before, None)
    if before is None:
        return
    found: list[str] = []

    def clean() -> bool:
        # Namespaces die a moment after their last process, and a spawner a moment after its last container.
        found[:] = machine.leaks(before, machine.snapshot())
        return not found

    try:
        eventually(clean, timeout_s=20)
    except AssertionError:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if reporter:
        reporter.ensure_newline()
        reporter.section("the machine", sep="-")
        for line in found or ["as it was: no link, nft table, mount, cgroup, process or mark of user ids was left"]:
            reporter.line(f"LEFT BEHIND: {line}" if found else line)


def _is_whole_suite(config: pytest.Config) -> bool:
    """Whether this process leads a run of everything; parts may run side by side, and would see each other."""
    return not hasattr(config, "workerinput") and config.args_source is pytest.Config.ArgsSource.TESTPATHS
