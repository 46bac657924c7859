"""What the parts are told when they start: their commands, their environment and the files that they read."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from exporter.demo.accounts import Accounts
from exporter.demo.databases import free_port

WORKERS = 2
LEAK_AFTER = 5
"""Seconds after which a connection in use counts as leaked; in earnest it would be a minute or more."""

REPORTS_TIMEOUT = 3
"""Seconds after which the server ends a sleeping connection of the pool ``reports``; in earnest it would be hours."""

RULES = Path(__file__).parents[2] / "prometheus" / "alerts.yaml"
"""Where they lie in the repository; an installed wheel does not have them."""


CONFIG = """\
web:
  listen: 127.0.0.1:{port}
processes:
  directory: {directory}
leak_after: {leak_after}s
servers:
"""
SERVER = """\
  {name}:
    url: {url}
    password: !env {variable}
    interval: 1s
    timeout: 500ms
"""
PROMETHEUS = """\
global:
  scrape_interval: 2s
  evaluation_interval: 2s
rule_files: {rules}
scrape_configs:
  - job_name: pool-exporter
    static_configs:
      - targets: ["{target}"]
"""


@dataclass(frozen=True)
class Start:
    """How to start a part, and where it will answer."""

    command: tuple[str | Path, ...]
    env: Mapping[str, str]
    address: str


def shop(directory: Path, main: Accounts, reports: Accounts) -> Start:
    """Start the shop as its users would: uvicorn, with more than one worker."""
    port = free_port()
    command = (sys.executable, "-m", "uvicorn", "exporter.demo.shop:app", "--workers", str(WORKERS))
    options = ("--port", str(port), "--no-access-log", "--timeout-graceful-shutdown", "1")
    env = {
        "SHOP_DATABASE_URL": main.shop.render_as_string(hide_password=False),
        "REPORTS_DATABASE_URL": reports.impatient(REPORTS_TIMEOUT).render_as_string(hide_password=False),
        "POOL_EXPORTER_DIR": str(directory),
        "POOL_EXPORTER_LEAK_AFTER": str(LEAK_AFTER),
    }
    return Start((*command, *options), env, f"http://127.0.0.1:{port}")


def sidecar(folder: Path, directory: Path, accounts: Mapping[str, Accounts], *, leak_after: int = LEAK_AFTER) -> Start:
    """Write the sidecar's configuration, which names its secrets and holds none, and start it."""
    port = free_port()
    config = folder / "config.yaml"
    servers = [
        SERVER.format(name=name, url=each.exporter.render_as_string(), variable=_variable(name))
        for name, each in accounts.items()
    ]
    config.write_text(
        "".join([CONFIG.format(port=port, directory=json.dumps(str(directory)), leak_after=leak_after), *servers])
    )
    env = {_variable(name): each.exporter_password for name, each in accounts.items()}
    return Start((sys.executable, "-m", "exporter", "serve", "--config", config), env, f"http://127.0.0.1:{port}")


def prometheus(folder: Path, scraped: str) -> Start | None:
    """Write Prometheus's configuration, with our rules where they are; None when Prometheus is not on this machine."""
    program = shutil.which("prometheus")
    if program is None:
        return None
    port = free_port()
    config = folder / "prometheus.yml"
    rules = [str(RULES)] if RULES.exists() else []
    config.write_text(PROMETHEUS.format(rules=json.dumps(rules), target=scraped.removeprefix("http://")))
    options = (f"--storage.tsdb.path={folder / 'prometheus'}", f"--web.listen-address=127.0.0.1:{port}")
    return Start((program, f"--config.file={config}", "--log.level=warn", *options), {}, f"http://127.0.0.1:{port}")


def _variable(server: str) -> str:
    return f"{server.upper()}_PASSWORD"
