"""One scenario on the terminal: its story, its trouble at work, its cure, and nothing left behind."""

from __future__ import annotations

import time
from pathlib import Path

from exporter.demo.display import Display
from exporter.demo.frame import framed
from exporter.demo.interruption import Interruption
from exporter.demo.lab.figures import render, summarize
from exporter.demo.lab.performance import Performance, performing
from exporter.demo.page import read
from exporter.demo.scenarios.scenario import Scenario

LOOK_EVERY = 1.0

TROUBLE_SHARE = 0.65
"""Of the time that is left when all is started; the rest is for the cure."""

TROUBLE_SECONDS = 10.0
CURE_SECONDS = 5.0
"""At least, however long the start has taken: nothing can be seen in less."""


def run(scenario: Scenario, on: str, seconds: float | None) -> int:
    """Play a scenario for so many seconds from now; return the exit code when all that was started is gone."""
    deadline = time.monotonic() + (scenario.seconds if seconds is None else seconds)

    def play(folder: Path, display: Display, interruption: Interruption) -> None:
        display.say(f"{scenario.name}: {scenario.title}", "", *scenario.story, "")
        with performing(scenario, folder, on=on, display=display, interruption=interruption) as performance:
            display.say("", *_places(performance, on), "", *_look(scenario), "")
            left = deadline - time.monotonic()
            _watch(performance, display, interruption, seconds=max(left * TROUBLE_SHARE, TROUBLE_SECONDS))
            if interruption.signal is None:
                display.say("", "The cure:", *scenario.cure, "")
                performance.cure()
                _watch(performance, display, interruption, seconds=max(deadline - time.monotonic(), CURE_SECONDS))

    return framed(play, ends_by_itself=True)


def _watch(performance: Performance, display: Display, interruption: Interruption, *, seconds: float) -> None:
    until = time.monotonic() + seconds
    with display.board() as board:
        for _turn in interruption.turns(LOOK_EVERY, until=until):
            performance.check()
            page = read(performance.sidecar)
            if page is not None:
                traffic = performance.traffic
                board.show(render(page, traffic, performance.figure()), summarize(page, traffic))


def _places(performance: Performance, on: str) -> list[str]:
    return [
        f"the shop     {performance.application}/docs, its data in {on}",
        f"the sidecar  {performance.sidecar}/ and {performance.sidecar}/metrics",
    ]


def _look(scenario: Scenario) -> list[str]:
    rings = [f"Alert {name}; what to do: docs/runbooks/{name}.md" for name in scenario.alerts]
    return ["What to look at:", *(f"- {line}" for line in [*scenario.look, *(rings or ["No alert rings."])])]
