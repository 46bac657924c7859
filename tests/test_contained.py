"""What our code does when it fails is shown, and what it does when it is interrupted or meets itself harms nobody."""

from __future__ import annotations

import ast
import gc
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine

import exporter
from exporter.contained import PLACES, contain, contained_errors
from exporter.ear import Ear
from exporter.listeners import Listeners
from exporter.seam import ear_of
from pages import Page

PACKAGE = Path(exporter.__file__).parent


def test_contained_errors_are_on_every_page_from_the_start(watched: Engine, page: Page) -> None:
    """Each place where an error may be contained is on the application's page, with 0 until there is one."""
    assert ear_of(watched.pool) is not None
    shown = {
        sample.labels["where"]
        for family in page.registry.collect()
        for sample in family.samples
        if sample.name == "pool_exporter_contained_errors_total"
    }
    assert shown >= set(PLACES)
    assert {where for where in shown if where not in PLACES} <= set(contained_errors())


def test_every_place_is_known_in_advance() -> None:
    """Wherever our code contains an error, it does so under a name of the list."""
    called = {
        argument.value
        for path in PACKAGE.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call) and getattr(node.func, "id", "") in ("contain", "contain_ours", "_note")
        for argument in node.args
        if isinstance(argument, ast.Constant)
    }
    ear = Ear("", leak_after=1, call_sites=False, asynchronous=False)
    assert called | set(Listeners(ear).by_event()) <= set(PLACES)


def test_an_error_is_said_once(caplog: pytest.LogCaptureFixture) -> None:
    """However often a place fails, the log has one warning."""
    for _ in range(3):
        contain("a place of this test")
    assert len(caplog.records) == 1
    assert contained_errors()["a place of this test"] == 3


# Interrupted, and met by the collector.


@pytest.fixture
def _interruptible() -> Iterator[None]:
    """Let Ctrl-C be heard, which a program that was started in the background of a shell ignores."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("_interruptible")
@pytest.mark.parametrize("name", ["gave_back", "took", "opened"])
def test_ctrl_c_inside_our_code_loses_no_place(watched: Engine, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """A signal's exception that is raised in our part of a return is the user's to see; the place comes back."""

    def interrupted(*_args: object, **_options: object) -> None:
        signal.raise_signal(signal.SIGINT)

    for _ in range(5):
        raw = watched.raw_connection()
        with monkeypatch.context() as patch:
            patch.setattr(Ear, name, interrupted)
            with pytest.raises(KeyboardInterrupt):
                provoke(watched, raw, name)
        del raw
        gc.collect()
        with watched.connect(), watched.connect():
            pass


def provoke(engine: Engine, raw: Any, name: str) -> None:
    """Do what runs a part of ours."""
    if name != "gave_back":
        raw.invalidate()
    raw.close()
    engine.connect()


class TimeIsUpError(Exception):
    """What a task queue raises into a task that takes too long."""


@pytest.mark.parametrize("error", [TimeIsUpError, TimeoutError])
@pytest.mark.parametrize("name", ["gave_back", "took", "opened"])
def test_what_a_signal_handler_raises_inside_our_code_is_the_application_s(
    watched: Engine, monkeypatch: pytest.MonkeyPatch, name: str, error: type[Exception]
) -> None:
    """An application's own exception reaches it, whatever its class is; the place comes back while it is looked at."""

    def is_up(_number: int, _frame: object) -> None:
        raise error

    before, own = contained_errors(), signal.signal(signal.SIGALRM, is_up)
    caught: list[BaseException] = []
    try:
        for _ in range(5):
            raw = watched.raw_connection()
            with monkeypatch.context() as patch:
                patch.setattr(Ear, name, lambda *_args, **_options: signal.raise_signal(signal.SIGALRM))
                with pytest.raises(error) as raised:
                    provoke(watched, raw, name)
            caught.append(raised.value)  # with its traceback, and with all that its frames hold
            del raw
            with watched.connect(), watched.connect():
                pass
    finally:
        signal.signal(signal.SIGALRM, own)
    assert contained_errors() == before


DEADLOCK = """
import gc, sys
from collections import Counter
from prometheus_client import CollectorRegistry
from sqlalchemy import create_engine
from sqlalchemy.pool import QueuePool
import exporter

gc.disable()
gc.collect()
gc.freeze()
engine = create_engine("sqlite:///shop.db", poolclass=QueuePool, pool_size=0)
registry = CollectorRegistry()
handle = exporter.instrument(engine, registry=registry, leak_after=1e-9)

def leak():
    # A connection that only the collector can find, in the midst of whatever runs.
    circle = [engine.raw_connection()]
    circle.append(circle)

busy, seen = False, Counter()
QUICK = ("exporter.collectors", "exporter.merge", *("exporter.metrics." + n for n in ("table", "pool", "pool_counts")))

def collect(frame, event, argument):
    global busy
    name = frame.f_globals.get("__name__", "")
    if not name.startswith("exporter.") or name in QUICK:
        return None
    here = frame.f_code, frame.f_lineno
    seen[here] += 1
    if not busy and seen[here] < 5:
        busy = True
        leak()
        gc.collect()
        busy = False
    return collect

for _ in range(3):
    leak()
sys.settrace(collect)
for _ in range(3):
    engine.connect().close()
    raw = engine.raw_connection(); raw.invalidate(); raw.close()
    raw = engine.raw_connection(); raw.detach(); raw.close()
    engine.dispose()
    list(registry.collect())
    handle.snapshot()
sys.settrace(None)
gc.collect()
value = lambda name: registry.get_sample_value(f"sqlalchemy_pool_{name}_total", {"pool": "sqlite:///shop.db"})
print(value("checkouts") == value("checkins") + value("detaches") > 500, value("garbage_collected") > 500)
print(len(seen) > 200, exporter.contained.contained_errors())
"""


def test_a_collection_at_every_line_of_ours_deadlocks_nothing(tmp_path: Path) -> None:
    """With a forgotten connection finalized at every single line of our code, locks held or not, all goes on."""
    ran = subprocess.run(
        [sys.executable, "-c", DEADLOCK], cwd=tmp_path, capture_output=True, text=True, check=False, timeout=100,
        env={"PYTHONPATH": str(PACKAGE.parent), "PYTHONWARNINGS": "ignore"},
    )  # fmt: skip
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.splitlines() == ["True True", "True {}"]
