"""A real Prometheus that scrapes sidecars which come and go, and what it answers."""

from __future__ import annotations

import contextlib
import json
import shutil
import subprocess
import time
import urllib.parse
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from exporter.demo.client import ask
from exporter.demo.databases import free_port
from waiting import eventually

LOOK_BACK = 30.0
"""How much of the past a graph is asked for; the lab's seconds are minutes elsewhere."""


@dataclass(frozen=True)
class Series:
    """A series of an answer."""

    labels: dict[str, str]
    values: tuple[float, ...]


class Prometheus:
    """Scrapes every second; ``observe`` adds a page under a job's name, ``forget`` takes it off."""

    def __init__(self, folder: Path, address: str) -> None:
        self._targets = folder / "targets"
        self._address = address

    def observe(self, job: str, page: str) -> None:
        """Scrape a page from now on."""
        target = {"targets": [urllib.parse.urlsplit(page).netloc], "labels": {"job": job}}
        unfinished = self._targets / f"{job}.new"
        unfinished.write_text(json.dumps([target]), encoding="utf-8")
        unfinished.replace(self._targets / f"{job}.json")

    def forget(self, job: str) -> None:
        """Scrape a page no longer."""
        (self._targets / f"{job}.json").unlink(missing_ok=True)

    def ready(self) -> bool:
        """Tell whether it answers."""
        with contextlib.suppress(OSError):
            return ask(f"{self._address}/-/ready").status == 200
        return False

    def answer(self, query: str, *, instant: bool) -> list[Series]:
        """Return all series, now or over the last seconds; raise when it takes the query amiss."""
        now = time.time()
        when: dict[str, Any] = {} if instant else {"start": now - LOOK_BACK, "end": now, "step": 1}
        path = "query" if instant else "query_range"
        answer = ask(f"{self._address}/api/v1/{path}?{urllib.parse.urlencode({'query': query, **when})}")
        body = json.loads(answer.body)
        if body["status"] != "success":
            raise AssertionError(f"{body['error']}: {query}")
        return [
            Series(each["metric"], tuple(float(value) for _, value in ([each["value"]] if instant else each["values"])))
            for each in body["data"]["result"]
        ]


@contextlib.contextmanager
def observing(folder: Path, rules: Path) -> Iterator[Prometheus]:
    """Start a Prometheus with these rules, and end it."""
    binary = shutil.which("prometheus")
    assert binary is not None, "no Prometheus on this machine: install Debian's prometheus, or pass --without-servers"
    port, config = free_port(), folder / "prometheus.yml"
    (folder / "targets").mkdir()
    discovery = {"files": [str(folder / "targets" / "*.json")], "refresh_interval": "1s"}
    config.write_text(
        yaml.safe_dump(
            {
                "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
                "rule_files": [str(rules)],
                "scrape_configs": [{"job_name": "lab", "file_sd_configs": [discovery]}],
            }
        )
    )
    command = (
        binary,
        f"--config.file={config}",
        f"--storage.tsdb.path={folder / 'data'}",
        f"--web.listen-address=127.0.0.1:{port}",
        "--log.level=error",
    )
    with subprocess.Popen(command) as process:
        try:
            prometheus = Prometheus(folder, f"http://127.0.0.1:{port}")
            assert eventually(prometheus.ready, within=30.0)
            yield prometheus
        finally:
            process.terminate()


def at_once(source: Path, folder: Path) -> Path:
    """Write the rules that a Prometheus loads anew, so that an alert fires as soon as it is true; return where."""
    names = yaml.safe_load((source / "prometheus.yml").read_text(encoding="utf-8"))["rule_files"]
    documents = [yaml.safe_load((source / name).read_text(encoding="utf-8")) for name in names]
    groups = [group for document in documents for group in document["groups"]]
    for group in groups:
        group.pop("interval", None)
        for rule in group["rules"]:
            rule.pop("for", None)
    hasty = folder / "rules.yaml"
    hasty.write_text(yaml.safe_dump({"groups": groups}), encoding="utf-8")
    return hasty
