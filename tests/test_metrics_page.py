"""The reference of all metrics, which is made from the code."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from exporter.collectors import TableCollector
from exporter.metrics.table import Table
from promql import SUFFIXES, series, tables

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "metrics.md"


SCRIPT = ROOT / "scripts" / "metrics-page"


def _check(script: Path) -> subprocess.CompletedProcess[str]:
    command = (sys.executable, str(script), "--check")
    return subprocess.run(command, check=False, capture_output=True, text=True, timeout=60)


def test_the_page_is_what_the_script_makes() -> None:
    """Nobody changed the tables without the page, or the page by hand."""
    result = _check(SCRIPT)
    assert result.returncode == 0, result.stderr


def test_a_page_changed_by_hand_is_noticed(tmp_path: Path) -> None:
    """The check fails for a page with one more word, and for none at all."""
    script = tmp_path / "scripts" / "metrics-page"
    script.parent.mkdir()
    shutil.copy(SCRIPT, script)
    assert _check(script).returncode == 1
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "metrics.md").write_text(PAGE.read_text(encoding="utf-8") + "more", encoding="utf-8")
    assert _check(script).returncode == 1


def test_every_metric_of_every_table_is_on_the_page() -> None:
    """A new table cannot be forgotten: its rows are missed here."""
    text = PAGE.read_text(encoding="utf-8")
    rows = [row for table in tables() for row in table.rows]
    names = [f"{row.name}_total" if row.kind == "counter" else row.name for row in rows]
    assert [name for name in names if f"| `{name}` |" not in text] == []


@pytest.mark.parametrize("table", tables(), ids=lambda table: str(table.rows[0].name))
def test_the_names_on_the_page_are_those_of_the_exposition(table: Table[Any]) -> None:
    """What the tests call a series is what a registry calls it."""
    families = TableCollector([table], list).describe()
    assert {family.name + suffix for family in families for suffix in SUFFIXES[family.type]} <= set(series())
