"""No memory for a moment, at every single place: an application's trouble is what it would be without us."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

PROGRAM = Path(__file__).parent / "starved.py"

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("_testcapi") is None,
    reason="this Python was built without _testcapi, which takes memory away",
)


def starved(folder: Path, what: str, *, instrumented: bool) -> dict[str, Any]:
    """Run the program; return what it tells."""
    box = folder / f"box-{instrumented}"
    box.mkdir()
    done = subprocess.run(
        [sys.executable, "-W", "ignore", str(PROGRAM), what, "yes" if instrumented else "no"],
        env={**os.environ, "BOX": str(box)}, capture_output=True, text=True, check=False, timeout=100,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    told: dict[str, Any] = json.loads(done.stdout)
    return told


def test_no_memory_in_a_use_of_a_pool(tmp_path: Path) -> None:
    """No error that an application meets is raised by us, no place of its pool is lost by us, and counts are right."""
    ours, bare = (starved(tmp_path, "uses", instrumented=instrumented) for instrumented in (True, False))
    # SQLAlchemy itself loses a place where memory fails at certain points; it does so without us, too.
    for told in (ours, bare):
        assert told["outcomes"].keys() == {"ok", "MemoryError"}
        assert told["lost"].keys() <= {"MemoryError"}
    assert ours["away"] == [0, 0, 0]
    assert ours["contained"]["checkout"] > 0


@pytest.mark.skipif(sys.version_info[:3] == (3, 13, 0), reason="Python 3.13.0 itself crashes here, for want of memory")
def test_no_memory_while_a_letter_is_written(tmp_path: Path) -> None:
    """The letter before stays whole, the next one is written, and neither a file nor a handle is left behind."""
    told = starved(tmp_path, "letters", instrumented=True)
    assert told["outcomes"].get("MemoryError", 0) + told["outcomes"].get("ours", 0) < 10  # before it has begun
    assert (told["left"], told["files"]) == ([".json", ".lock"], 0)
    assert told["contained"]["publish"] > 50
