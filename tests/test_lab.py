"""Every scenario of the lab on real servers: its trouble shows on the sidecar's page, and is gone once cured."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from demos import passable_folder
from exporter.demo.lab import performing
from exporter.demo.scenarios import SCENARIOS
from signs import SIGNS, shows

pytestmark = [pytest.mark.servers, pytest.mark.timeout(300)]

PLAYED = [(name, server) for name, scenario in SCENARIOS.items() for server in scenario.servers]


@pytest.fixture
def folder() -> Iterator[Path]:
    with passable_folder() as made:
        yield made


@pytest.mark.parametrize(("name", "server"), PLAYED)
def test_a_trouble_shows_and_is_gone_once_cured(name: str, server: str, folder: Path) -> None:
    """The numbers that make the trouble what it is come about, and a while after the cure all is well."""
    with performing(SCENARIOS[name], folder / "lab", on=server) as performance:
        for sign in SIGNS[name].trouble:
            shows(performance, sign)
        performance.cure()
        shows(performance, lambda look: look.well)
        shows(performance, SIGNS[name].cured)
    assert list(folder.iterdir()) == []


def test_a_scenario_is_played_only_where_it_can_be(folder: Path) -> None:
    """A server that a scenario is not made for is refused before anything starts, with those that it is made for."""
    with (
        pytest.raises(ValueError, match="leak cannot be played on oracle; it needs postgresql or mariadb"),
        performing(SCENARIOS["leak"], folder / "lab", on="oracle"),
    ):
        pass
    assert list(folder.iterdir()) == []
