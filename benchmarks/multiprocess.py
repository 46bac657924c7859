"""prometheus_client's multiprocess mode with as many series as our pools have: figures as JSON.

usage: multiprocess.py PROCESSES
"""

from __future__ import annotations

import json
import os
import platform
import statistics
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

import fleet
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest, multiprocess, values

ROUNDS = 10


def main() -> None:
    """Fork the processes, let each write its series and end, then collect them all a few times."""
    processes = int(sys.argv[1])
    families = [*fleet.Pools().registry.collect()]
    with tempfile.TemporaryDirectory() as name:
        for _ in range(processes):
            _in_a_child(name, families)
        collector: Any = multiprocess.MultiProcessCollector
        times, cpu = [], time.process_time()
        for _ in range(ROUNDS):
            began = time.perf_counter()
            registry = CollectorRegistry()
            collector(registry, path=name)
            generate_latest(registry)
            times.append(time.perf_counter() - began)
        cpu = time.process_time() - cpu
        files = list(Path(name).iterdir())
        figures = {
            "versions": {"python": platform.python_version(), "prometheus_client": version("prometheus_client")},
            "series": sum(len(family.samples) for family in families),
            "files": len(files),
            "bytes": sum(path.stat().st_size for path in files),
            "milliseconds": round(statistics.median(times) * 1000, 1),
            "cpu": round(cpu / ROUNDS * 1000, 1),
        }
    json.dump(figures, sys.stdout)


def _in_a_child(directory: str, families: list[Any]) -> None:
    pid = os.fork()
    if pid:
        _, status = os.waitpid(pid, 0)
        if status:
            raise SystemExit(f"a process of multiprocess mode ended with {status}")
        return
    try:
        _write(directory, families)
    except BaseException as error:
        print(error, file=sys.stderr)
        os._exit(1)
    os._exit(0)


def _write(directory: str, families: list[Any]) -> None:
    """Make a metric of the same kind for each family, in files that others can add up."""
    os.environ["PROMETHEUS_MULTIPROC_DIR"] = directory
    in_files: Any = values.MultiProcessValue
    values.ValueClass = in_files()  # what importing the library with the variable set would have done
    registry = CollectorRegistry()
    for family in families:
        fill(registry, family)


def fill(registry: CollectorRegistry, family: Any) -> None:
    """Make a metric of the same kind as ``family``, and set each of its series once."""
    # The last bucket stands for its histogram: that of gauges has its sums and counts elsewhere in the text format.
    samples = [
        each
        for each in family.samples
        if not each.name.endswith(("_sum", "_created", "_bucket" if family.type != "histogram" else "_count"))
        and each.labels.get("le", "+Inf") == "+Inf"
    ]
    names = [label for label in samples[0].labels if label != "le"] if samples else []
    if family.type == "histogram":
        bounds = sorted({float(each.labels["le"]) for each in family.samples if "le" in each.labels})
        made: Any = Histogram(family.name, family.documentation, names, registry=registry, buckets=bounds)
    elif family.type == "counter":
        made = Counter(family.name, family.documentation, names, registry=registry)
    else:
        made = Gauge(family.name, family.documentation, names, registry=registry, multiprocess_mode="livesum")
    for sample in samples:
        child = made.labels(**{name: sample.labels[name] for name in names}) if names else made
        (child.observe if family.type == "histogram" else child.inc)(1.0)


if __name__ == "__main__":
    main()
