"""Registries: the application's own metrics first, pools that move, and registries that are cleared or let go."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import REGISTRY, CollectorRegistry, Counter, Gauge, generate_latest
from sqlalchemy import Engine, create_engine
from sqlalchemy.engine import Dialect

import exporter
from attaching import SHOP, Keep, checkouts, cleared_away, launch_code, use, value

OWN = "from prometheus_client import Gauge\ngauge = Gauge('sqlalchemy_pool_size', 'my own')\ngauge.set(7)\n"
SHOP_ENGINE = "from sqlalchemy import create_engine\nengine = create_engine('sqlite:///shop.db')\n"
LOOK = (
    "from prometheus_client import REGISTRY\nengine.connect().close()\n"
    "print(REGISTRY.get_sample_value('sqlalchemy_pool_size'))\n"
    "print(REGISTRY.get_sample_value('sqlalchemy_pool_checkouts_total', {'pool': 'sqlite:///shop.db'}))\n"
)


@pytest.fixture(autouse=True)
def _only_here(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is hooked in a test is gone after it."""
    monkeypatch.setattr(Dialect, "engine_created", vars(Dialect)["engine_created"])


@pytest.fixture
def keep() -> Iterator[Keep]:
    with cleared_away() as keep:
        yield keep


@pytest.fixture
def registry() -> CollectorRegistry:
    return CollectorRegistry()


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/shop.db"


@pytest.fixture
def engine(url: str, keep: Keep) -> Engine:
    return keep(create_engine(url))


@pytest.mark.parametrize("code", [OWN + SHOP_ENGINE + LOOK, SHOP_ENGINE + OWN + LOOK], ids=["before", "after"])
def test_a_launched_program_keeps_its_own_metrics(tmp_path: Path, code: str) -> None:
    """A program with a metric of one of our names runs as ever under `run`; ours of that name is left out, and said."""
    status, out, err = launch_code(tmp_path, code)
    assert (status, out) == (0, "7.0\n1\n")
    assert err == (
        "the application has metrics of its own called sqlalchemy_pool_size; "
        "the pools' metrics of these names are left out; rename the application's to have both\n"
    )


def test_a_launched_program_of_such_metrics_publishes(tmp_path: Path) -> None:
    """Somebody else's metrics of our names keep no pool from the sidecar."""
    letters = tmp_path / "letters"
    letters.mkdir()
    wait = f"import os, time\nwhile not [name for name in os.listdir({str(letters)!r}) if name[0] != '.']:\n"
    code = f"{OWN}{SHOP_ENGINE}{wait}    time.sleep(0.02)\n"
    assert launch_code(tmp_path, code, POOL_EXPORTER_DIR=str(letters)) == (0, "", "")


def test_instrument_all_claims_no_name(url: str, keep: Keep, registry: CollectorRegistry) -> None:
    """Metrics of our names can be registered before instrument_all and after; a counter by its samples' names too."""
    Gauge("sqlalchemy_pool_size", "Of somebody else.", registry=registry).set(7)
    exporter.instrument_all(registry=registry)
    use(keep(create_engine(url)))
    Counter("sqlalchemy_pool_checkouts", "Of somebody else.", registry=registry)
    Gauge("sqlalchemy_pool_use_seconds_sum", "Of somebody else.", registry=registry)
    page = generate_latest(registry).decode()
    assert page.count("# TYPE sqlalchemy_pool_size gauge") == page.count("# TYPE sqlalchemy_pool_checkouts_total") == 1
    assert registry.get_sample_value("sqlalchemy_pool_size") == 7
    assert value(registry, "use_seconds_count") is None
    assert value(registry, "checkins_total") == 1


@pytest.mark.parametrize("options", [{}, {"support_collectors_without_names": True}], ids=["plain", "supporting"])
def test_a_page_that_claims_no_name_can_be_filtered(url: str, keep: Keep, options: dict[str, Any]) -> None:
    """The name[] filter of a /metrics page finds the pools that instrument_all has put there, once."""
    registry = CollectorRegistry(**options)
    exporter.instrument_all(registry=registry)
    keep(create_engine(url))
    page = generate_latest(registry.restricted_registry(["sqlalchemy_pool_size"])).decode()
    assert page.count("sqlalchemy_pool_size{") == 1
    assert "sqlalchemy_pool_checkouts" not in page


def test_a_pool_goes_to_the_registry_that_is_asked_for(engine: Engine, registry: CollectorRegistry) -> None:
    """A registry given by name wins, the default one too; without one, a pool stays where it is."""
    exporter.instrument(engine, registry=registry, name="moved")
    use(engine)
    exporter.instrument(engine, registry=None)
    assert checkouts(registry) == {"moved": 1}
    exporter.instrument(engine, registry=REGISTRY)
    assert checkouts(registry) == {}
    assert value(REGISTRY, "checkouts_total", pool="moved") == 1


def test_a_registry_that_was_cleared_shows_pools_again(engine: Engine, url: str, keep: Keep) -> None:
    """A test suite takes every collector out of a registry: whoever instruments next is shown, with all that counts."""
    registry = CollectorRegistry()
    exporter.instrument(engine, registry=registry)
    use(engine)
    for again in (engine, keep(create_engine(url))):
        for collector in list(registry._collector_to_names):  # noqa: SLF001  as test suites do
            registry.unregister(collector)
        assert checkouts(registry) == {}
        exporter.instrument(again, registry=registry)
        assert checkouts(registry) == {SHOP: 1}


def test_a_registry_can_go(engine: Engine, url: str, keep: Keep, registry: CollectorRegistry) -> None:
    """A registry that nobody has any more is let go; its pools stay watched, and can be shown elsewhere."""
    gone = CollectorRegistry()
    reference = weakref.ref(gone)
    exporter.instrument(engine, registry=gone)
    other = keep(create_engine(url))  # of the same name, which stays nowhere
    exporter.instrument(other, registry=gone)
    use(engine)
    del gone
    gc.collect()
    assert reference() is None
    exporter.instrument(keep(create_engine(url)), registry=registry)
    assert exporter.instrument(engine, registry=registry).snapshot().checkouts == 1
    assert checkouts(registry) == {SHOP: 1}
