"""One process of `scripts/bench overhead`: what a cycle costs with each way of watching. Prints JSON.

usage: cycles.py ROUNDS VARIANT...
"""

from __future__ import annotations

import contextlib
import json
import platform
import sys
from importlib.metadata import PackageNotFoundError, version

import variants
from measure import Cycle, interleaved
from sqlalchemy import Engine, text

VARIANTS: dict[str, variants.Attach] = {
    "bare": variants.bare,
    "bare, again": variants.bare,
    "two empty listeners": variants.empty,
    "ours": variants.ours,
    "ours, without call sites": variants.ours_without_sites,
    "prometheus_client": variants.prometheus,
    "sqlalchemy-collectd": variants.collectd,
    "opentelemetry": variants.opentelemetry,
}
SELECT = text("select 1")


def pool_cycle(engine: Engine) -> Cycle:
    """Take a connection from the pool itself and give it back."""

    def cycle() -> None:
        engine.pool.connect().close()

    return cycle


def engine_cycle(engine: Engine) -> Cycle:
    """Connect, ask for the smallest thing, close."""

    def cycle() -> None:
        connection = engine.connect()
        connection.execute(SELECT)
        connection.close()

    return cycle


def main() -> None:
    """Measure the variants that are asked for, in both cycles."""
    rounds, names = int(sys.argv[1]), sys.argv[2:]
    engines = {name: variants.make_engine(VARIANTS[name]) for name in names}
    nanoseconds = {
        "pool": interleaved({name: pool_cycle(engine) for name, engine in engines.items()}, rounds=rounds, turn=400),
        "engine": interleaved(
            {name: engine_cycle(engine) for name, engine in engines.items()}, rounds=rounds, turn=200
        ),
    }
    json.dump({"versions": _versions(), "nanoseconds": nanoseconds}, sys.stdout)


def _versions() -> dict[str, str]:
    found = {"python": platform.python_version()}
    for name in ("sqlalchemy", "prometheus-client", "sqlalchemy-collectd", "opentelemetry-instrumentation-sqlalchemy"):
        with contextlib.suppress(PackageNotFoundError):
            found[name] = version(name)
    return found


if __name__ == "__main__":
    main()
