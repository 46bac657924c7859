"""The package imported anew, as test suites and notebooks do: it takes over, and nothing is heard or shown twice."""

from __future__ import annotations

import gc
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from prometheus_client import REGISTRY, CollectorRegistry, Gauge
from sqlalchemy import create_engine

from attaching import ROOT, checkouts, use
from exporter.contained import contained_errors
from exporter.watch import Watch
from exporter.wish import Wish
from wires import NewEngine

BEGIN = """
import gc, importlib, sys
from prometheus_client import REGISTRY, generate_latest
from sqlalchemy import create_engine
import exporter

def make(name):
    return create_engine(f"sqlite:///{name}.db")

def show():
    page = generate_latest().decode()
    print(page.count("# TYPE sqlalchemy_pool_checkouts_total"), end="")
    for name in ("first", "second", "third"):
        count = REGISTRY.get_sample_value("sqlalchemy_pool_checkouts_total", {"pool": f"sqlite:///{name}.db"})
        print("", count if count is None else int(count), end="")
    print(flush=True)

def forget():
    for name in [name for name in sys.modules if name.partition(".")[0] == "exporter"]:
        del sys.modules[name]

first, second = make("first"), make("second")
"""
RELOADED = f"""{BEGIN}
exporter.instrument(first)
first.connect().close()
importlib.reload(exporter)
exporter.instrument(second)
for engine in (first, second):
    engine.connect().close()
show()
"""
FORGOTTEN = f"""{BEGIN}
old = exporter
old.instrument(first)
first.connect().close()
forget()
import exporter
exporter.instrument(second)
for engine in (first, second):
    engine.connect().close()
show()
old.instrument(first)
old.instrument(make("third"))
show()
old.uninstrument(first)
show()
from exporter.contained import contained_errors
print(contained_errors())
"""
HOOKED = f"""{BEGIN}
exporter.instrument_all()
one = make("first")
forget()
import exporter
exporter.instrument(second)
two = make("third")
for engine in (one, second, two):
    engine.connect().close()
show()
"""


@pytest.mark.parametrize(
    ("code", "shown"),
    [
        (RELOADED, "1 1 1 None\n"),
        (FORGOTTEN, "1 1 1 None\n1 1 1 0\n1 None 1 0\n{}\n"),
        (HOOKED, "1 1 1 1\n"),
    ],
    ids=["reload", "forgotten", "instrument_all"],
)
def test_a_package_imported_anew_takes_over(tmp_path: Path, code: str, shown: str) -> None:
    """Engines watched before are watched on, from zero; what still calls the old package reaches the new one."""
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path, env={"PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert (done.stderr, done.stdout) == ("", shown)


def test_it_goes_on_publishing(tmp_path: Path) -> None:
    """The old package says its last word, and the new one has a file of its own."""
    letters = tmp_path / "letters"
    letters.mkdir()
    wait = (
        "import os, time\ndef files():\n"
        f"    return {{name for name in os.listdir({str(letters)!r}) if name.endswith('.json')}}\n"
        f"def ended(names):\n    texts = [open({str(letters)!r} + '/' + name).read() for name in names]\n"
        "    return all('\"ended\":true' in text for text in texts)\n"
        "def until(found):\n    while not found():\n        time.sleep(0.02)\n"
    )
    code = (
        f"{BEGIN}{wait}exporter.instrument(first)\nuntil(files)\nbefore = files()\nforget()\nimport exporter\n"
        "exporter.instrument(second)\nuntil(lambda: len(files() - before) == 1 and ended(before))\nprint('done')\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path, env={"PYTHONPATH": str(ROOT), "POOL_EXPORTER_DIR": str(letters)},
        capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert (done.stderr, done.stdout) == ("", "done\n")


def test_what_one_watch_hands_over(new_engine: NewEngine, tmp_path: Path) -> None:
    """Pools go to the heir with name, settings and registry, but for one whose registry is taken by now."""
    free, taken, gone = CollectorRegistry(), CollectorRegistry(), CollectorRegistry()
    old, heir = Watch(), Watch()
    engines = [new_engine() for _ in range(4)]
    old.add(engines[0], Wish(name="first", registry=taken, by_name=True))
    for collector in list(taken._collector_to_names):  # noqa: SLF001  as test suites do
        taken.unregister(collector)
    Gauge("sqlalchemy_pool_size", "Of somebody else.", registry=taken)
    old.add(engines[1], Wish(name="second", leak_after=7.0, call_sites=False, registry=free))
    short = create_engine(f"sqlite:///{tmp_path}/short.db")
    old.add(short, Wish(registry=gone))
    del short, gone
    gc.collect()
    before = contained_errors().get("listen", 0)
    old.hand_over(heir)
    assert contained_errors()["listen"] == before + 1
    old.add(engines[2], Wish(name="third", registry=free))
    for engine in engines:
        use(engine)
    assert checkouts(free) == {"second": 1, "third": 1}
    inherited = heir.find(engines[1])
    assert inherited is not None
    assert inherited.told() == (engines[1], {"name": "second", "leak_after": 7.0, "call_sites": False})
    old.remove(engines[1])
    assert (old.find(engines[2]), heir.find(engines[1]), checkouts(free)) == (None, None, {"third": 1})
    heir.remove(engines[2])


FIRST_TWO = f"""{BEGIN}
import threading
from exporter.watch import Watch

made, barrier, begin = [], threading.Barrier(2), Watch.__init__

def init(watch):
    made.append(watch)
    begin(watch)
    try:
        barrier.wait(timeout=0.5)
    except threading.BrokenBarrierError:
        pass  # nobody else makes one

Watch.__init__ = init
threads = [threading.Thread(target=exporter.instrument, args=(engine,)) for engine in (first, second)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
for engine in (first, second):
    engine.connect().close()
print(len(made), end=" ")
show()
"""


def test_two_threads_that_come_first(tmp_path: Path) -> None:
    """One watch is made, though two ask for it at the same moment; every metric stands on the page once."""
    done = subprocess.run(
        [sys.executable, "-c", FIRST_TWO],
        cwd=tmp_path, env={"PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert (done.stderr, done.stdout) == ("", "1 1 1 1 None\n")


class _Doorbell:
    """A lock that tells when somebody comes for it."""

    def __init__(self) -> None:
        self.lock, self.rung = threading.RLock(), threading.Event()

    def __enter__(self) -> None:
        self.rung.set()
        self.lock.acquire()

    def __exit__(self, *_error: object) -> None:
        self.lock.release()


def test_an_heir_that_comes_while_others_wait(new_engine: NewEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who waits for the old watch's lock while that hands over ends with the heir."""
    registry = CollectorRegistry()
    old, heir, engine, lock = Watch(), Watch(), new_engine(), _Doorbell()
    monkeypatch.setattr(old, "_lock", lock)
    waiting = threading.Thread(target=old.add, args=(engine, Wish(name="first", registry=registry)))
    with lock.lock:
        waiting.start()
        assert lock.rung.wait(timeout=60)
        old.hand_over(heir)
    waiting.join()
    assert (old.find(engine), heir.find(engine) is not None) == (None, True)
    use(engine)
    assert checkouts(registry) == {"first": 1}
    heir.remove(engine)


def test_an_elder_that_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever is found where the elder should be, the new watch begins; only then is it the elder."""
    watch, before = Watch(), contained_errors().get("listen", 0)
    monkeypatch.setitem(vars(REGISTRY), "pool_exporter_watch", "of somebody else")
    watch.succeed()
    assert contained_errors()["listen"] == before + 1
    assert vars(REGISTRY)["pool_exporter_watch"] is watch
    Watch().succeed()
    assert contained_errors()["listen"] == before + 1


def test_an_elder_that_publishes(new_engine: NewEngine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The elder's publisher ends, and the heir has one of its own."""
    monkeypatch.setenv("POOL_EXPORTER_DIR", str(tmp_path))
    old, heir = Watch(), Watch()
    engine = new_engine()
    old.add(engine, Wish(registry=CollectorRegistry()))
    old.hand_over(heir)
    try:
        threads = [thread.name for thread in threading.enumerate()]
        assert threads.count("pool-exporter") <= 1
    finally:
        heir.remove(engine)
        heir.stop()
