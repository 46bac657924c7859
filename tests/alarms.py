"""A real Prometheus and a real Alertmanager on our rules, made faster, and the one who is called: a webhook."""

from __future__ import annotations

import contextlib
import json
import shutil
import subprocess
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import yaml
from prometheus_client.parser import text_string_to_metric_families

from exporter.demo.client import ask
from exporter.demo.databases import free_port
from faster import faster, seconds
from waiting import eventually

PROMETHEUS = Path(__file__).parents[1] / "prometheus"
TIMES = 30
"""How much faster the rules are than those that we ship. `for: 2m` is 4 s: a moment's trouble still rings nothing."""

ENOUGH = 8
"""Evaluations, one a second, after which whatever was due has long arrived at the webhook."""


@dataclass
class Webhook:
    """Who is called: what rang, and what rings still, by alert and the labels that tell one from another."""

    messages: list[dict[str, Any]] = field(default_factory=list)

    def rang(self) -> set[str]:
        """Name the alerts that have ever arrived."""
        return {alert["labels"]["alertname"] for alert in self._alerts() if alert["status"] == "firing"}

    def rings(self) -> set[str]:
        """Name the alerts that have arrived and of which nobody has said that they are over."""
        last = {json.dumps(alert["labels"], sort_keys=True): alert for alert in self._alerts()}
        return {alert["labels"]["alertname"] for alert in last.values() if alert["status"] == "firing"}

    def story(self) -> str:
        """Tell in which order what arrived, for whoever reads a failure."""
        return "\n".join(f"{alert['status']}: {alert['labels']}" for alert in self._alerts()) or "nothing arrived"

    def _alerts(self) -> list[dict[str, Any]]:
        return [alert for message in list(self.messages) for alert in message["alerts"]]


@dataclass(frozen=True)
class Alarms:
    """Prometheus at its address, and who is called."""

    prometheus: str
    webhook: Webhook
    processes: Mapping[str, subprocess.Popen[bytes]]

    def check(self) -> None:
        """Fail when a program of ours has ended, or a rule could not be evaluated."""
        assert {name: process.poll() for name, process in self.processes.items() if process.poll() is not None} == {}
        assert self._sum("prometheus_rule_evaluation_failures_total") == 0, self._failures()

    def evaluations(self) -> int:
        """Return how often every group of rules was evaluated so far."""
        counts = self._values("prometheus_rule_group_iterations_total")
        return int(min(counts)) if counts else 0

    def evaluate(self, times: int) -> None:
        """Wait until every group of rules was evaluated so many times more."""
        goal = self.evaluations() + times
        eventually(lambda: self.evaluations() >= goal, within=10 + 5 * times, every=0.2)

    def pending(self) -> set[str]:
        """Name the alerts that Prometheus holds for true, arrived or not."""
        answer = json.loads(ask(f"{self.prometheus}/api/v1/alerts").body)
        return {f"{each['labels']['alertname']} ({each['state']})" for each in answer["data"]["alerts"]}

    def _sum(self, name: str) -> float:
        return sum(self._values(name))

    def _values(self, name: str) -> list[float]:
        families = text_string_to_metric_families(ask(f"{self.prometheus}/metrics").body)
        return [sample.value for family in families for sample in family.samples if sample.name == name]

    def _failures(self) -> list[str]:
        groups = json.loads(ask(f"{self.prometheus}/api/v1/rules").body)["data"]["groups"]
        return [
            f"{rule['name']}: {rule['lastError']}" for group in groups for rule in group["rules"] if rule["lastError"]
        ]


@contextlib.contextmanager
def alarming(sidecar: str, folder: Path, *, times: int = TIMES) -> Iterator[Alarms]:
    """Scrape a sidecar's page and ring, with the shipped rules and inhibitions, while the body runs."""
    folder.mkdir(parents=True, exist_ok=True)
    with contextlib.ExitStack() as running:
        address, webhook = running.enter_context(_listening())
        manager, prometheus = f"127.0.0.1:{free_port()}", f"127.0.0.1:{free_port()}"
        processes = {}
        for name, at, command in (
            ("alertmanager", manager, _alertmanager(folder, manager, address)),
            ("prometheus", prometheus, _prometheus(folder, prometheus, manager=manager, sidecar=sidecar, times=times)),
        ):
            processes[name] = running.enter_context(_running(command, folder / f"{name}.log"))
            eventually(lambda at=at: ask(f"http://{at}/-/ready").status == 200, within=60)  # type: ignore[misc]
        yield Alarms(f"http://{prometheus}", webhook, processes)


def longest(times: int = TIMES) -> int:
    """Return the evaluations, one a second, after which the most patient of the rules would have rung."""
    rules = yaml.safe_load((PROMETHEUS / "alerts.yaml").read_text(encoding="utf-8"))
    patience = max(
        seconds(rule["for"]) for group in faster(rules, times)["groups"] for rule in group["rules"] if "for" in rule
    )
    return int(patience) + ENOUGH


def _prometheus(folder: Path, at: str, *, manager: str, sidecar: str, times: int) -> list[str]:
    for name in ("alerts.yaml", "recording.yaml"):
        rules = yaml.safe_load((PROMETHEUS / name).read_text(encoding="utf-8"))
        (folder / name).write_text(yaml.safe_dump(faster(rules, times)), encoding="utf-8")
    config = {
        "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
        "rule_files": ["alerts.yaml", "recording.yaml"],
        "alerting": {"alertmanagers": [_targets(manager)]},
        "scrape_configs": [{"job_name": "pool-exporter", **_targets(sidecar.removeprefix("http://"))}],
    }
    (folder / "prometheus.yml").write_text(yaml.safe_dump(config), encoding="utf-8")
    return [
        _program("prometheus"),
        f"--config.file={folder / 'prometheus.yml'}",
        f"--storage.tsdb.path={folder / 'prometheus-data'}",
        f"--web.listen-address={at}",
        "--rules.alert.resend-delay=10s",
        "--log.level=warn",
    ]


def _alertmanager(folder: Path, at: str, webhook: str) -> list[str]:
    config = yaml.safe_load((PROMETHEUS / "alertmanager.yml").read_text(encoding="utf-8"))
    # Our own hurry, and somebody at the end of each line; which alert mutes which stays as shipped.
    config["route"] |= {"group_wait": "2s", "group_interval": "1s", "repeat_interval": "1h"}
    for receiver in config["receivers"]:
        receiver["webhook_configs"] = [{"url": webhook, "send_resolved": True}]
    (folder / "alertmanager.yml").write_text(yaml.safe_dump(config), encoding="utf-8")
    return [
        _program("prometheus-alertmanager", "alertmanager"),
        f"--config.file={folder / 'alertmanager.yml'}",
        f"--storage.path={folder / 'alertmanager-data'}",
        f"--web.listen-address={at}",
        "--cluster.listen-address=",
        "--log.level=warn",
    ]


def _targets(address: str) -> dict[str, Any]:
    return {"static_configs": [{"targets": [address]}]}


def _program(*names: str) -> str:
    found = next(filter(None, map(shutil.which, names)), None)
    assert found is not None, f"no {names[-1]} on this machine: install Debian's {names[0]}, or pass --without-servers"
    return found


@contextlib.contextmanager
def _running(command: list[str], log: Path) -> Iterator[subprocess.Popen[bytes]]:
    with log.open("ab") as output, subprocess.Popen(command, stdout=output, stderr=output) as process:
        try:
            yield process
        finally:
            process.terminate()


@contextlib.contextmanager
def _listening() -> Iterator[tuple[str, Webhook]]:
    webhook = Webhook()

    class Receiver(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            webhook.messages.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(200)
            self.end_headers()

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  the name is BaseHTTPRequestHandler's
            """Keep quiet: what arrived is told by the story."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Receiver) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.1})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/", webhook
        finally:
            server.shutdown()
            thread.join()
