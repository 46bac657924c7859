"""Whether it lasts: `scripts/bench soak`.

An application at full speed on 64 threads, on MariaDB, and its twin of 64 tasks, on PostgreSQL, each once watched by us
and once bare, side by side; half of their workers are recycled again and again, the servers restarted, and 20 scrapers
look at the sidecar. Before that, 20 scrapers on a page of 50 pools and on prometheus_client's own server, in turns.
Prints a table, writes the figures as JSON, exits 1 when a requirement is missed.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import platform
import re
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path
from typing import Any

import soak_page
import soak_report
from soak_run import Soak

HERE = Path(__file__).resolve().parent
UNITS = {"s": 1, "m": 60, "h": 3600}


def main() -> int:
    """Measure, print, write; return 0 when every requirement is kept, else 1."""
    options = _options()
    figures = measured(options.seconds, scrapers=options.scrapers, turns=options.turns, turn=options.turn)
    print(soak_report.report(figures))
    options.json.parent.mkdir(parents=True, exist_ok=True)
    options.json.write_text(json.dumps(figures, indent=2) + "\n")
    print(f"\nwritten to {options.json}", file=sys.stderr)
    return 0 if all(bound.kept for bound in soak_report.bounds(figures)) else 1


def measured(seconds: float, *, scrapers: int, turns: int, turn: float) -> dict[str, Any]:
    """Return all figures, of a soak of so many seconds and so many turns on either page."""
    with tempfile.TemporaryDirectory() as name, contextlib.ExitStack() as ends:
        folder = Path(name)
        folder.chmod(0o711)  # PostgreSQL runs as another user where we are root
        say(f"{scrapers} scrapers on 50 pools, {turns} turns of {turn:g} s in two forms on two servers")
        page = soak_page.measured(folder, scrapers=scrapers, turns=turns, seconds=turn)
        soak = Soak(folder, ends)
        say(f"soaking for {seconds:g} s")
        figures = soak.run(seconds, scrapers=scrapers)
    versions = {each: version(each) for each in ("sqlalchemy", "prometheus_client", "pymysql", "psycopg")}
    return {
        "versions": {"python": platform.python_version(), **versions},
        "cores": len(os.sched_getaffinity(0)),
        "page": page,
        "soak": figures,
    }


def say(what: str) -> None:
    """Tell whoever waits what is going on."""
    print(what, file=sys.stderr, flush=True)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="scripts/bench soak", description="Whether it lasts under load.")
    parser.add_argument("--for", dest="seconds", type=_seconds, default=180.0, help="how long (default 3m; or 90s, 8h)")
    parser.add_argument("--turns", type=int, default=3, help="on each of the two pages, in each form (default 3)")
    parser.add_argument("--turn", type=float, default=4.0, help="seconds of each turn (default 4)")
    parser.add_argument("--scrapers", type=int, default=20, help="how many (default 20)")
    parser.add_argument("--json", type=Path, default=HERE / "results" / "soak.json", help="where to write")
    return parser.parse_args()


def _seconds(text: str) -> float:
    found = re.fullmatch(r"(\d+(?:\.\d+)?)([smh])", text)
    if found is None:
        raise argparse.ArgumentTypeError(f"{text!r} is no time; write 90s, 5m or 2h")
    return float(found[1]) * UNITS[found[2]]


if __name__ == "__main__":
    sys.exit(main())
