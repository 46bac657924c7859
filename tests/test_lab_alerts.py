"""Each trouble of the lab from end to end: what rings for it, that nothing else does, and that the cure ends it."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from alarms import ENOUGH, Alarms, alarming, longest
from exporter.demo.lab import Performance, preparing
from exporter.demo.scenarios import SCENARIOS
from exporter.demo.scenarios.scenario import HEALTH
from waiting import eventually

pytestmark = [pytest.mark.servers, pytest.mark.lab, pytest.mark.timeout(300)]

PLAYED = [(name, server) for name, scenario in SCENARIOS.items() for server in scenario.servers]

SHORTLY = 5
"""Evaluations, after which the first page has been read."""

QUIET = {"healthy", "lazy", "null-pool", "static-pool", "stale-pre-ping", "stale-recycle", "commit-keeps-session"}


@pytest.fixture
def folder() -> Iterator[Path]:
    """Make a folder that other users may pass, as root's PostgreSQL has to."""
    made = Path(tempfile.mkdtemp(prefix="lab-"))
    made.chmod(0o711)
    yield made
    shutil.rmtree(made, ignore_errors=True)


def test_nobody_is_called_where_nothing_is_wrong() -> None:
    """The healthy, the cured and the odd but harmless are meant to ring nothing, and every trouble something."""
    assert {name for name, scenario in SCENARIOS.items() if not scenario.alerts} == QUIET


@pytest.mark.parametrize(("name", "server"), PLAYED, ids=str)
def test_exactly_what_a_trouble_is_meant_to_ring_rings(name: str, server: str, folder: Path) -> None:
    """Through Prometheus and Alertmanager the alerts of a scenario arrive, no other does, and the cure ends them."""
    scenario = SCENARIOS[name]
    meant = set(scenario.alerts)
    with (
        preparing(scenario, folder / "lab", on=server) as performance,
        alarming(performance.sidecar, folder / "alarms") as alarms,
    ):
        if scenario.incident is not None:
            _meet(performance, alarms)
        performance.begin()
        _ring(performance, alarms, meant)
        performance.cure()
        eventually(lambda: not alarms.webhook.rings(), within=90, every=0.2)
        alarms.evaluate(ENOUGH)
        _as_meant(performance, alarms, meant)
        assert alarms.webhook.rings() == set()


def _meet(performance: Performance, alarms: Alarms) -> None:
    """Let Prometheus see the application in health, which an incident then ends."""
    performance.traffic.send(HEALTH.customers)
    alarms.evaluate(SHORTLY)
    performance.traffic.stop()


def _ring(performance: Performance, alarms: Alarms, meant: set[str]) -> None:
    """Wait until all that is meant has rung, and for as long as the most patient of the rules needs."""
    alarms.evaluate(longest() - ENOUGH)
    _arrive(performance, alarms, meant)
    alarms.evaluate(ENOUGH)
    _as_meant(performance, alarms, meant)


def _arrive(performance: Performance, alarms: Alarms, meant: set[str]) -> None:
    def arrived() -> bool:
        performance.check()
        return alarms.webhook.rang() >= meant

    try:
        eventually(arrived, within=60, every=0.2)
    except AssertionError:
        _as_meant(performance, alarms, meant)


def _as_meant(performance: Performance, alarms: Alarms, meant: set[str]) -> None:
    performance.check()
    alarms.check()
    assert alarms.webhook.rang() == meant, f"{alarms.webhook.story()}\nheld for true now: {sorted(alarms.pending())}"
