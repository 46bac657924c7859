"""What watching a pool costs, beside others that do, and whether that is within bounds: `scripts/bench overhead`.

Prints a table, writes the figures as JSON, and exits 1 when a bound is missed. Take the ratios from it, not the
nanoseconds: those are of one machine at one moment. It means little while the machine is busy with something else.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
EMPTY, OURS, OPENTELEMETRY = "two empty listeners", "ours", "opentelemetry"
NAMES = ("bare", "bare, again", EMPTY, OURS, "ours, without call sites", "prometheus_client", "sqlalchemy-collectd")
# Refuses SQLAlchemy 2.1, hence measured apart, beside all that it is compared with.
NAMES_APART = ("bare", "bare, again", EMPTY, OURS, OPENTELEMETRY)
CYCLES = {"pool": "pool.connect() + close()", "engine": "engine.connect() + select 1 + close()"}
MOST = {EMPTY: 3.0, "prometheus_client": 0.45, "sqlalchemy-collectd": 0.20, OPENTELEMETRY: 0.15}

Extras = dict[str, dict[str, float]]
"""By cycle and variant: the nanoseconds that watching adds."""


@dataclass(frozen=True)
class Bound:
    """A figure, and what it may be at most."""

    what: str
    value: float
    most: float

    @property
    def kept(self) -> bool:
        """Tell whether the figure is within the bound."""
        return self.value <= self.most


def main() -> int:
    """Measure, print, write; return 0 when every bound is kept, else 1."""
    options = _options()
    figures = _rounded(_measured(options.opentelemetry, options.rounds))
    print(report(figures))
    written = options.json or HERE / "results" / _file_name(figures["here"]["versions"])
    written.parent.mkdir(parents=True, exist_ok=True)
    written.write_text(json.dumps(figures, indent=2) + "\n")
    print(f"\nwritten to {written}", file=sys.stderr)
    return 0 if all(bound.kept for bound in bounds(figures)) else 1


def report(figures: Any) -> str:
    """Return the tables, and how the figures stand to the bounds."""
    verdicts = [
        f"{'kept  ' if bound.kept else 'MISSED'}  {bound.what}: {bound.value:.2f}, at most {bound.most:g}"
        for bound in bounds(figures)
    ]
    return "\n\n".join((_table(figures["here"]), _table(figures["apart"]), "\n".join(verdicts)))


def bounds(figures: Any) -> list[Bound]:
    """Return all that is bounded."""
    return [
        *_cycle_bounds(figures["here"]),
        *_cycle_bounds(figures["apart"]),
        *_reading_bounds(figures["reading"]),
    ]


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="scripts/bench overhead", description="What watching a pool costs.")
    parser.add_argument("--rounds", type=int, default=300, help="turns of each variant (default 300, about 2 minutes)")
    parser.add_argument("--json", type=Path, help="where to write (default: benchmarks/results/, named by versions)")
    parser.add_argument("--opentelemetry", required=True, metavar="PYTHON", help="of the environment that has it")
    return parser.parse_args()


def _measured(opentelemetry: str, rounds: int) -> dict[str, Any]:
    return {
        "rounds": rounds,
        "here": _run(sys.executable, "cycles.py", str(rounds), *NAMES),
        "apart": _run(opentelemetry, "cycles.py", str(rounds), *NAMES_APART),
        # A page takes as long as a thousand cycles: fewer of them do.
        "reading": _run(sys.executable, "reading.py", str(max(rounds // 6, 3))),
    }


def _run(python: str, script: str, *arguments: str) -> Any:
    # sqlalchemy-collectd listens in a way that SQLAlchemy deprecates; that is not to be read at each run.
    command = [python, "-W", "ignore", str(HERE / script), *arguments]
    return json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)


def _extras(run: Any) -> Extras:
    return {
        cycle: {name: nanoseconds[name] - nanoseconds["bare"] for name in nanoseconds}
        for cycle, nanoseconds in run["nanoseconds"].items()
    }


def _cycle_bounds(run: Any) -> Iterator[Bound]:
    for cycle, extras in _extras(run).items():
        for name, most in MOST.items():
            if name in extras:
                what = f"{CYCLES[cycle]}, SQLAlchemy {run['versions']['sqlalchemy']}: ours / {name}"
                yield Bound(what, extras[OURS] / extras[name], most)


def _reading_bounds(reading: Any) -> Iterator[Bound]:
    yield Bound("memory of a pooled connection, kB", reading["bytes"] / 1000, 1.5)
    yield Bound("snapshot of 20 pools of 15 connections, ms", reading["snapshot"], 5.0)
    what = f"the page of it, {reading['series']:g} series / as many plain gauges of prometheus_client"
    yield Bound(what, reading["page"] / reading["plain"], 1.3)


def _table(run: Any) -> str:
    versions, extras = run["versions"], _extras(run)
    lines = [
        f"CPython {versions['python']}, SQLAlchemy {versions['sqlalchemy']}",
        f"CPU time added to a cycle, and as a multiple of {EMPTY}",
        "",
        f"{'':26}" + "".join(f"{title:>39}" for title in CYCLES.values()),
    ]
    bare = "".join(f"{nanoseconds['bare'] / 1000:>26.2f} us{'':10}" for nanoseconds in run["nanoseconds"].values())
    lines.append(f"{'bare, all of it':26}{bare}")
    for name in list(extras["pool"])[1:]:
        columns = (f"{of[name] / 1000:>+26.2f} us {of[name] / of[EMPTY]:>8.2f}x" for of in extras.values())
        lines.append(f"{name:26}" + "".join(columns))
    return "\n".join(line.rstrip() for line in lines)


def _file_name(versions: dict[str, str]) -> str:
    python, sqlalchemy = (".".join(versions[name].split(".")[:2]) for name in ("python", "sqlalchemy"))
    return f"overhead-python-{python}-sqlalchemy-{sqlalchemy}.json"


def _rounded(figures: Any) -> Any:
    return json.loads(json.dumps(figures), parse_float=lambda text: round(float(text), 2))


if __name__ == "__main__":
    sys.exit(main())
