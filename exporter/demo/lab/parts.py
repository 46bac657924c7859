"""What the lab's application is told when it starts."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from exporter.demo.accounts import Accounts
from exporter.demo.parts import Start
from exporter.demo.scenarios.scenario import Scenario, Setup


def application(directory: Path, accounts: Accounts, port: int, *, scenario: Scenario, setup: Setup) -> Start:
    """Start the application as its users would: uvicorn, and all that differs in the environment."""
    command = (sys.executable, "-m", "uvicorn", "exporter.demo.lab_application:app", "--workers", str(setup.workers))
    options = ("--port", str(port), "--no-access-log", "--timeout-graceful-shutdown", "1")
    env = {
        "SHOP_DATABASE_URL": accounts.shop.render_as_string(hide_password=False),
        "SHOP_POOL": json.dumps(dict(setup.pool)),
        "POOL_EXPORTER_DIR": str(directory),
        "POOL_EXPORTER_LEAK_AFTER": str(scenario.leak_after),
    }
    if setup.archive is not None:
        env["ARCHIVE_POOL"] = json.dumps(dict(setup.archive))
    return Start((*command, *options), env, f"http://127.0.0.1:{port}")
