"""The benchmark: it runs, it judges, and the page that quotes it quotes what it wrote."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

ROOT = Path(__file__).parent.parent
RESULTS = sorted((ROOT / "benchmarks" / "results").glob("overhead-*.json"))


@pytest.fixture(scope="module")
def overhead() -> ModuleType:
    spec = importlib.util.spec_from_file_location("overhead", ROOT / "benchmarks" / "overhead.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # where its dataclasses look for themselves
    spec.loader.exec_module(module)
    return module


def run(script: str, *arguments: str) -> Any:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}  # this tree, wherever the project is installed from
    command = [sys.executable, str(ROOT / "benchmarks" / script), *arguments]
    return json.loads(subprocess.run(command, check=True, capture_output=True, env=environment).stdout)


@pytest.mark.parametrize("path", RESULTS, ids=lambda path: path.stem)
def test_the_page_quotes_the_results(overhead: ModuleType, path: Path) -> None:
    """docs/overhead.md shows the tables of every result that is kept, to the letter."""
    assert overhead.report(json.loads(path.read_text())) in (ROOT / "docs" / "overhead.md").read_text()


@pytest.mark.parametrize("path", RESULTS, ids=lambda path: path.stem)
def test_the_results_keep_the_bounds(overhead: ModuleType, path: Path) -> None:
    """No result is kept that costs more than was promised."""
    bounds = overhead.bounds(json.loads(path.read_text()))
    assert len(bounds) == 13
    assert all(bound.kept for bound in bounds)


def test_a_missed_bound_is_said(overhead: ModuleType) -> None:
    """Ten times the cost is beyond the bounds, and the report says of each whether it was kept."""
    figures = json.loads(RESULTS[0].read_text())
    figures["here"]["nanoseconds"]["pool"]["ours"] *= 10
    missed = [bound for bound in overhead.bounds(figures) if not bound.kept]
    assert len(missed) == 3
    assert overhead.report(figures).count("MISSED") == len(missed)


def test_the_cycles_can_be_measured() -> None:
    """Every variant that needs no peer runs both cycles."""
    names = ["bare", "two empty listeners", "ours", "ours, without call sites", "prometheus_client"]
    measured = run("cycles.py", "2", *names)
    assert all(list(nanoseconds) == names for nanoseconds in measured["nanoseconds"].values())
    assert list(measured["nanoseconds"]) == ["pool", "engine"]


def test_what_reading_costs_can_be_measured() -> None:
    """Memory, snapshot and pages come out above nothing, of as many series as the pools have."""
    measured = run("reading.py", "2")
    assert set(measured) == {"bytes", "series", "snapshot", "page", "plain"}
    assert all(value > 0 for value in measured.values())
    assert measured["series"] % 20 == 0
