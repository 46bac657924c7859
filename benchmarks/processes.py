"""What many processes on one page cost, beside prometheus_client's multiprocess mode: `scripts/bench processes`.

The snapshots of 200 processes, 5 pools of 15 connections each, lie in one directory, the real sidecar serves them, and
all are published anew between two scrapes. Prints a table, writes the figures as JSON, exits 1 when a bound is missed.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import fleet

HERE = Path(__file__).resolve().parent
CONFIG = "web: {{listen: '127.0.0.1:0'}}\nprocesses: {{directory: '{directory}'}}\n"
LIFE = 100  # scrapes after which every process has ended and another stands in its place
WARM = 0.25  # of the scrapes: by then processes have been replaced twice, which takes the memory that it takes


@dataclass(frozen=True)
class Bound:
    """A figure, what it may be at most, and what it should be."""

    what: str
    value: float
    most: float
    goal: float | None = None

    @property
    def kept(self) -> bool:
        """Tell whether the figure is within the bound."""
        return self.value <= self.most


def main() -> int:
    """Measure, print, write; return 0 when every bound is kept, else 1."""
    options = _options()
    figures = measured(options.processes, options.scrapes)
    print(report(figures))
    written = options.json or HERE / "results" / "processes-python-{}.{}.json".format(*sys.version_info)
    written.parent.mkdir(parents=True, exist_ok=True)
    written.write_text(json.dumps(figures, indent=2) + "\n")
    print(f"\nwritten to {written}", file=sys.stderr)
    return 0 if all(bound.kept for bound in bounds(figures)) else 1


def measured(processes: int, scrapes: int) -> dict[str, Any]:
    """Return all figures, of so many processes and scrapes."""
    peer = _run("multiprocess.py", str(processes))
    ours = _scraped(processes, scrapes)
    return {
        "versions": peer.pop("versions"),
        "processes": processes,
        "scrapes": scrapes,
        "publish": _run("fleet.py"),
        "ours": ours,
        "multiprocess": peer,
    }


def bounds(figures: Any) -> list[Bound]:
    """Return all that is bounded."""
    ours, peer = figures["ours"], figures["multiprocess"]
    return [
        Bound(f"one scrape of {figures['processes']} processes, ms", ours["milliseconds"], 150.0, goal=60.0),
        Bound("the same / prometheus_client's multiprocess mode", ours["milliseconds"] / peer["milliseconds"], 1.0),
        Bound("memory after all scrapes / after a quarter of them", ours["last"] / ours["first"], 1.02),
        Bound("publishing once a second, % of a core", figures["publish"]["percent"], 0.5, goal=0.2),
    ]


def report(figures: Any) -> str:
    """Return the table, and how the figures stand to the bounds."""
    ours, peer, versions = figures["ours"], figures["multiprocess"], figures["versions"]
    rows = [
        ("", "ours", "multiprocess mode"),
        ("series of one process", f"{ours['series']}", f"{peer['series']}"),
        ("files read", f"{ours['files']}", f"{peer['files']}"),
        ("MB on disk", f"{ours['bytes'] / 1e6:.1f}", f"{peer['bytes'] / 1e6:.1f}"),
        ("ms a scrape, median", f"{ours['milliseconds']:.1f}", f"{peer['milliseconds']:.1f}"),
        ("ms of processor a scrape", f"{ours['cpu']:.1f}", f"{peer['cpu']:.1f}"),
    ]
    head = (
        f"CPython {versions['python']}, prometheus_client {versions['prometheus_client']}: "
        f"{figures['processes']} processes of {fleet.POOLS} pools of {fleet.SIZE} connections, "
        f"{figures['scrapes']} scrapes, all processes replaced every {LIFE}"
    )
    memory = f"memory of the sidecar: {ours['first']:.1f} MB after a quarter, {ours['last']:.1f} MB at the end"
    table = "\n".join(f"{name:26}{left:>12}{right:>20}" for name, left, right in rows)
    return "\n\n".join((head, table, memory, "\n".join(map(_verdict, bounds(figures)))))


def _verdict(bound: Bound) -> str:
    goal = "" if bound.goal is None else f" (goal {bound.goal:g}{'' if bound.value <= bound.goal else ', missed'})"
    return f"{'kept  ' if bound.kept else 'MISSED'}  {bound.what}: {bound.value:.2f}, at most {bound.most:g}{goal}"


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="scripts/bench processes", description="What many processes cost.")
    parser.add_argument("--processes", type=int, default=200, help="how many (default 200)")
    parser.add_argument("--scrapes", type=int, default=1000, help="how many (default 1000, about 5 minutes)")
    parser.add_argument("--json", type=Path, help="where to write (default: benchmarks/results/, named by versions)")
    return parser.parse_args()


def _run(script: str, *arguments: str) -> Any:
    command = [sys.executable, str(HERE / script), *arguments]
    return json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)


def _scraped(processes: int, scrapes: int) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as name:
        box = Path(name) / "box"
        box.mkdir()
        crew = fleet.Fleet(box, processes)
        with _sidecar(Path(name), box) as (pid, url):
            crew.publish()
            files = [path for path in box.iterdir() if path.suffix == ".json"]
            sizes = sum(path.stat().st_size for path in box.iterdir())
            times, cpu, memory = _scrape_on(crew, pid, url, scrapes)
    return {
        "series": crew.series,
        "files": len(files),
        "bytes": sizes,
        "milliseconds": round(statistics.median(times) * 1000, 1),
        "cpu": round(cpu / scrapes * 1000, 1),
        "first": memory[int(scrapes * WARM)],
        "last": memory[-1],
    }


def _scrape_on(crew: fleet.Fleet, pid: int, url: str, scrapes: int) -> tuple[list[float], float, list[float]]:
    times, memory, cpu = [], [], _cpu(pid)
    for number in range(1, scrapes + 1):
        crew.publish()
        began = time.perf_counter()
        with urlopen(url) as page:  # noqa: S310  our own sidecar's
            page.read()
        times.append(time.perf_counter() - began)
        memory.append(_memory(pid))
        if number % LIFE == 0:
            crew.replace()
    return times, _cpu(pid) - cpu, memory


@contextmanager
def _sidecar(folder: Path, box: Path) -> Iterator[tuple[int, str]]:
    config = folder / "config.yaml"
    config.write_text(CONFIG.format(directory=box))
    command = [sys.executable, "-m", "exporter", "serve", "--config", str(config)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        said = process.stderr or ()
        address = next(line for line in said if "http://" in line)
        try:
            yield process.pid, "http://" + address.partition("http://")[2].split("/")[0].strip() + "/metrics"
        finally:
            process.terminate()


def _cpu(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / 100


def _memory(pid: int) -> float:
    status = Path(f"/proc/{pid}/status").read_text()
    return round(int(status.partition("VmRSS:")[2].split()[0]) / 1000, 1)


if __name__ == "__main__":
    sys.exit(main())
