"""The dashboards on real figures: a real Prometheus scrapes the lab, and every query is asked."""

from __future__ import annotations

import contextlib
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from boards import DASHBOARDS, GRAFANA, Asked, asked_by_annotations, asked_by_panels, asked_by_variables, panels
from exporter.demo import scenarios
from exporter.demo.lab import Performance, performing
from exporter.demo.processes import PartError
from observing import Prometheus, at_once, observing
from shown import ABOVE_ZERO, CAUSES, CHOICES, MARKS, PLAYED, THERE

WITHIN = 75.0
"""How long a scenario has for showing itself; the lab's pools take some 20 s to run dry."""

LIST = ("sqlalchemy-overview", 8)
"""What is wrong now, the cause first."""

ASKED = tuple(
    asked
    for path in DASHBOARDS
    for by in (asked_by_panels, asked_by_variables, asked_by_annotations)
    for asked in by(path)
)


@dataclass
class Played:
    """What was seen while a scenario was played: whose query had an answer, and what is above 0."""

    scenario: str
    answered: set[Asked] = field(default_factory=set)
    risen: set[Asked] = field(default_factory=set)
    cause: str = ""
    """The first line of the overview's list, as it was seen last."""

    def look(self, prometheus: Prometheus, asked: Asked) -> None:
        """Ask once."""
        answer = prometheus.answer(asked.filled(self.scenario), instant=asked.instant)
        if answer:
            self.answered.add(asked)
        if any(0 < value < float("inf") for series in answer for value in series.values):
            self.risen.add(asked)
        if _where(asked) == LIST:
            self.cause = min((series.labels["trouble"] for series in answer), default="")

    def missing(self) -> list[str]:
        """Return the panels, variables and annotations that should have shown something, and have not."""
        seen = {_where(asked) for asked in self.answered}, {_where(asked) for asked in self.risen}
        expected = CAUSES[self.scenario]
        wrong = not self.cause.startswith(expected) or bool(self.cause) != bool(expected)
        return ([f"{LIST} begins with {self.cause!r} in {self.scenario}"] if wrong else []) + [
            f"{dashboard} {where} shows {'nothing above 0' if above else 'nothing'} in {self.scenario}"
            for dashboard, where, above in _expected(self.scenario)
            if (dashboard, where) not in seen[above]
        ]

    def waited_for(self) -> list[Asked]:
        """Return the queries that may still have something to say for one that is expected."""
        expected = {(dashboard, where) for dashboard, where, _ in _expected(self.scenario)}
        waiting = [asked for asked in ASKED if _where(asked) in expected and asked not in self.risen]
        return waiting + [asked for asked in ASKED if _where(asked) == LIST]


def _where(asked: Asked) -> tuple[str, int | str]:
    return asked.dashboard, asked.where


def _expected(scenario: str) -> Iterator[tuple[str, int | str, bool]]:
    """Yield what a scenario must show: the dashboard, the place on it, and whether above 0."""
    for above, table in ((True, ABOVE_ZERO), (False, THERE)):
        for dashboard, numbers in table.items():
            yield from ((dashboard, number, above) for number, played in numbers.items() if scenario in played)
    for asked in ASKED:
        played = {"variable": CHOICES, "annotation": MARKS}.get(asked.title, ())
        if scenario in played:
            yield asked.dashboard, asked.where, True


@contextlib.contextmanager
def _performing(scenario: str, folder: Path) -> Iterator[Performance]:
    """Have a scenario played. On a machine that is very busy it may not start in time: that is tried again, twice."""
    with contextlib.ExitStack() as stage:
        for attempt in range(3):
            try:
                place = folder / f"{scenario}-{attempt}"
                performance = stage.enter_context(performing(scenarios.SCENARIOS[scenario], place, on=PLAYED[scenario]))
                break
            except PartError as error:
                if "was not ready" not in str(error) or attempt == 2:
                    raise
        yield performance


def _play(scenario: str, folder: Path, prometheus: Prometheus) -> Played:
    """Play a scenario until it has shown what it must. All queries are asked, for none may be taken amiss."""
    played = Played(scenario)
    with _performing(scenario, folder) as performance:
        deadline = time.monotonic() + WITHIN
        prometheus.observe(scenario, performance.sidecar)
        while played.missing() and time.monotonic() < deadline:
            time.sleep(1.0)
            performance.check()
            for asked in played.waited_for():
                played.look(prometheus, asked)
        for asked in ASKED:
            if asked not in played.answered:
                played.look(prometheus, asked)
        prometheus.forget(scenario)
    return played


@pytest.fixture
def lab_folder() -> Iterator[Path]:
    """A folder that PostgreSQL's own user can pass when we are root."""
    with tempfile.TemporaryDirectory(prefix="pool-exporter-") as name:
        folder = Path(name)
        folder.chmod(0o711)
        yield folder


def test_every_panel_has_its_scenario() -> None:
    """No panel is left out of the tables of what must be shown, and none stands there that is gone."""
    for path in DASHBOARDS:
        named = [*ABOVE_ZERO[path.stem], *THERE[path.stem]]
        assert sorted(named) == sorted(panel["id"] for panel in panels(path))


@pytest.mark.servers
@pytest.mark.timeout(400)
def test_every_query_has_an_answer(lab_folder: Path) -> None:
    """Panels show what their scenarios are for, the overview names the cause, no query fails or is always empty."""
    rules = at_once(GRAFANA.parent / "prometheus", lab_folder)
    with observing(lab_folder, rules) as prometheus, ThreadPoolExecutor(2) as threads:
        played = list(threads.map(lambda scenario: _play(scenario, lab_folder, prometheus), PLAYED))
    answered = set().union(*(each.answered for each in played))
    silent = [str(asked) for asked in ASKED if asked not in answered]
    assert [line for each in played for line in each.missing()] + silent == []
