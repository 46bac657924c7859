"""Whatever comes from outside: files, requests and rows never raise anything but an error of ours, and make a page."""

from __future__ import annotations

import subprocess
from typing import Any

import pytest
from hypothesis import given, settings

from exporter.records import ServerSnapshot
from hostile import LETTERS, SNAPSHOTS
from properties import FUZZ, PROPERTIES, page_of


@pytest.mark.parametrize("check", PROPERTIES.values(), ids=PROPERTIES)
def test_anything_from_outside(check: Any) -> None:
    """What `scripts/fuzz` runs for minutes holds for a hundred examples of each."""
    check()


@pytest.mark.servers
@settings(FUZZ, max_examples=8)
@given(content=LETTERS, snapshot=SNAPSHOTS)
def test_promtool_reads_what_survives(content: bytes, snapshot: ServerSnapshot) -> None:
    """The page of whatever survives is one that Prometheus's own checker reads."""
    page = page_of(content, snapshot)
    result = subprocess.run(("promtool", "check", "metrics"), input=page, check=False, capture_output=True, timeout=60)
    assert b"error while linting" not in result.stderr, result.stderr
    assert result.returncode in (0, 3), result.stderr  # 3: it would name a metric otherwise
