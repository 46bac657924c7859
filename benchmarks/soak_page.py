"""Twenty scrapers on our page and, in turns, on prometheus_client's own server with as many series."""

from __future__ import annotations

import contextlib
import json
import random
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fleet
from sampling_exporters import OURS, Exporter, Launch, running_exporter
from soak_scrapers import percentile

from exporter.demo.client import ask

HERE = Path(__file__).resolve().parent
POOLS = 50
FORMS = ("gzip", "plain")
PEER = "start_http_server"


def measured(folder: Path, *, scrapers: int, turns: int, seconds: float) -> dict[str, Any]:
    """Let both be scraped by so many in turns, in each form, and return what the scrapes took."""
    with _both(folder) as exporters:
        series = {name: _series(exporter.page) for name, exporter in exporters.items()}
        pages = {name: exporter.page for name, exporter in exporters.items()}
        commands = {
            form: {name: scraped(page, count=scrapers, seconds=seconds, form=form) for name, page in pages.items()}
            for form in FORMS
        }
        forms = {form: _in_turns(commands[form], turns) for form in FORMS}
    return {"pools": POOLS, "scrapers": scrapers, "turns": turns, "seconds": seconds, "series": series, "forms": forms}


def scraped(url: str, *, count: int, seconds: float, pause: float = 0.0, form: str = "gzip") -> list[str]:
    """Return the command by which so many scrape a page for so many seconds, and which prints the figures."""
    return [sys.executable, str(HERE / "soak_scrapers.py"), url, str(count), str(seconds), str(pause), form]


def summary(turns: list[Any]) -> dict[str, float]:
    """Return what all scrapes of some turns took."""
    taken = [each for turn in turns for each in turn["milliseconds"]]
    return {
        "scrapes": len(taken),
        "failures": sum(turn["failures"] for turn in turns),
        "per_second": round(len(taken) / sum(turn["seconds"] for turn in turns), 1),
        "p50": round(percentile(taken, 50), 1),
        "p99": round(percentile(taken, 99), 1),
    }


def _in_turns(commands: dict[str, list[str]], turns: int) -> dict[str, Any]:
    order, names = random.Random(0), list(commands)
    seen: dict[str, list[Any]] = {name: [] for name in names}
    for _ in range(turns):
        order.shuffle(names)
        for name in names:
            done = subprocess.run(commands[name], check=True, stdout=subprocess.PIPE)
            seen[name].append(json.loads(done.stdout))
    return {name: summary(seen[name]) for name in commands}


@contextlib.contextmanager
def _both(folder: Path) -> Iterator[dict[str, Exporter]]:
    box = folder / "box"
    box.mkdir()
    config = json.dumps({"web": {"listen": "{address}"}, "processes": {"directory": str(box)}})
    tree = {"PYTHONPATH": str(HERE.parent)}
    ours = Launch(OURS, [sys.executable, "-m", "exporter", "serve", "--config", "config.yaml"], tree, config)
    with _publishing(box), running_exporter(ours, folder) as sidecar:
        page = folder / "page.txt"
        page.write_text(ask(sidecar.page).body)
        peer = Launch(PEER, [sys.executable, str(HERE / "soak_peer.py"), str(page), "{port}"])
        with running_exporter(peer, folder) as server:
            yield {OURS: sidecar, PEER: server}


@contextlib.contextmanager
def _publishing(box: Path) -> Iterator[None]:
    """Publish as an application with 50 pools does, once a second, while the body runs."""
    crew, done = fleet.Fleet(box, 1, pools_each=POOLS), threading.Event()
    crew.publish()

    def publish() -> None:
        while not done.wait(1.0):
            crew.publish()

    thread = threading.Thread(target=publish)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()
        crew.stop()


def _series(url: str) -> int:
    return sum(not line.startswith("#") for line in ask(url).body.splitlines())
