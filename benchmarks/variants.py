"""The variants: an engine on in-memory SQLite, the cheapest driver there is, with each way of watching its pool."""

from __future__ import annotations

import importlib
import time
from collections.abc import Callable
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Histogram
from sqlalchemy import Engine, create_engine, event
from sqlalchemy.pool import QueuePool

import exporter

Attach = Callable[[Engine], object]


def make_engine(attach: Attach, **options: Any) -> Engine:
    """Return an engine with a QueuePool, watched in the given way before its first connection is made."""
    engine = create_engine("sqlite://", poolclass=QueuePool, connect_args={"check_same_thread": False}, **options)
    attach(engine)
    return engine


def bare(_engine: Engine) -> None:
    """Watch nothing."""


def empty(engine: Engine) -> None:
    """Listen to checkout and checkin, and do nothing: the floor for whatever is built on SQLAlchemy's events."""

    @event.listens_for(engine, "checkout")
    def checkout(_dbapi_connection: Any, _record: Any, _proxy: Any) -> None:
        pass

    @event.listens_for(engine, "checkin")
    def checkin(_dbapi_connection: Any, _record: Any) -> None:
        pass


def ours(engine: Engine) -> None:
    """Watch as this project does by default: everything, call sites too."""
    exporter.instrument(engine, registry=CollectorRegistry())


def ours_without_sites(engine: Engine) -> None:
    """Watch as this project does, but without the call sites."""
    exporter.instrument(engine, registry=CollectorRegistry(), call_sites=False)


def prometheus(engine: Engine) -> None:
    """Count and time with prometheus_client as one would at first: a label look-up for each of three metrics."""
    registry = CollectorRegistry()
    checkouts = Counter("checkouts", "Connections taken.", ["pool"], registry=registry)
    checkins = Counter("checkins", "Connections given back.", ["pool"], registry=registry)
    use_seconds = Histogram("use_seconds", "How long connections were out.", ["pool"], registry=registry)

    @event.listens_for(engine, "checkout")
    def checkout(_dbapi_connection: Any, record: Any, _proxy: Any) -> None:
        checkouts.labels("shop").inc()
        record.info["taken"] = time.perf_counter()

    @event.listens_for(engine, "checkin")
    def checkin(_dbapi_connection: Any, record: Any) -> None:
        checkins.labels("shop").inc()
        use_seconds.labels("shop").observe(time.perf_counter() - record.info["taken"])


def collectd(engine: Engine) -> None:
    """Watch with sqlalchemy-collectd, as its plugin does. What it sends goes to a port where nobody listens."""
    plugin = importlib.import_module("sqlalchemy_collectd.client.plugin")
    plugin.start_plugin(engine, collectd_host="127.0.0.1")


def opentelemetry(engine: Engine) -> None:
    """Watch with OpenTelemetry's instrumentation and its SDK, with a reader but no exporter behind it."""
    metrics, export, trace = (
        importlib.import_module(f"opentelemetry.sdk.{name}") for name in ("metrics", "metrics.export", "trace")
    )
    instrumentation = importlib.import_module("opentelemetry.instrumentation.sqlalchemy")
    own = vars(Engine)["connect"]
    instrumentation.SQLAlchemyInstrumentor().instrument(
        engine=engine,
        meter_provider=metrics.MeterProvider([export.InMemoryMetricReader()]),
        tracer_provider=trace.TracerProvider(),
    )
    # It wraps Engine.connect for every engine of the process; the variants beside it are to stay as they are.
    traced = vars(Engine)["connect"]
    Engine.connect = own  # type: ignore[method-assign]
    engine.__class__ = type("Engine", (Engine,), {"connect": traced})
