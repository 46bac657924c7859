"""What the tests of attaching share: engines that are cleared away, a page to ask, programs that are started."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from prometheus_client import CollectorRegistry
from sqlalchemy import text
from sqlalchemy.engine import Engine

import exporter.runner

ROOT = Path(exporter.__file__).resolve().parent.parent
SHOP = "sqlite:///shop.db"
LAUNCHER = (
    sys.executable,
    "-I",  # as little as possible, for many are started: not the package, and no sitecustomize of a test's
    "-c",
    f"import runpy, sys; sys.exit(runpy.run_path({exporter.runner.__file__!r})['run'](sys.argv[1:]))",
)
"""What `pool-exporter run` does, before the arguments."""


ENGINE = "from sqlalchemy import create_engine\nengine = create_engine('sqlite:///shop.db')\nengine.connect().close()\n"
SHOW = (
    "from prometheus_client import REGISTRY\n"
    "def show(pool='sqlite:///shop.db'):\n"
    "    count = REGISTRY.get_sample_value('sqlalchemy_pool_checkouts_total', {'pool': pool})\n"
    "    print(count if count is None else int(count), flush=True)\n"
)
PROGRAM = f"{SHOW}{ENGINE}show()\n"
"""A program that uses one connection of its engine, and shows how many checkouts were counted."""

Keep = Callable[[Engine], Engine]


@contextmanager
def cleared_away() -> Iterator[Keep]:
    """Give a function for engines to pass through; at the end none of them is watched or open."""
    engines: list[Engine] = []

    def keep(engine: Engine) -> Engine:
        engines.append(engine)
        return engine

    try:
        yield keep
    finally:
        for engine in engines:
            exporter.uninstrument(engine)
            engine.dispose()


def use(engine: Engine) -> None:
    """Take a connection, ask something, and give it back."""
    with engine.connect() as connection:
        connection.execute(text("select 1"))


def value(registry: CollectorRegistry, name: str, *, pool: str = SHOP, **labels: str) -> float | None:
    """Return one number of a pool; None when it is not on the page."""
    return registry.get_sample_value(f"sqlalchemy_pool_{name}", {"pool": pool, **labels})


def checkouts(registry: CollectorRegistry) -> dict[str, float]:
    """Return how many checkouts each pool on the page had."""
    samples = [sample for family in registry.collect() for sample in family.samples]
    name = "sqlalchemy_pool_checkouts_total"
    return {sample.labels["pool"]: sample.value for sample in samples if sample.name == name}


def environment(folder: Path, **more: str) -> dict[str, str]:
    """Return the environment of a program that has ``folder`` and this package on its path, and no setting of ours."""
    kept = {key: text for key, text in os.environ.items() if not key.startswith("POOL_EXPORTER")}
    return {**kept, "PYTHONPATH": os.pathsep.join([str(folder), str(ROOT)]), **more}


def launch(folder: Path, *command: str, **more: str) -> subprocess.CompletedProcess[str]:
    """Do what `pool-exporter run -- COMMAND` does, in ``folder``."""
    return subprocess.run(
        [*LAUNCHER, *command],
        cwd=folder,
        env=environment(folder, **more),
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def write(folder: Path, name: str, code: str) -> str:
    """Write a file of a program; return its name."""
    (folder / name).write_text(code)
    return name


def launch_code(folder: Path, code: str, **more: str) -> tuple[int, str, str]:
    """Launch ``code`` as a script; return its exit code and what it said."""
    done = launch(folder, sys.executable, write(folder, "program.py", code), **more)
    return done.returncode, done.stdout, done.stderr
