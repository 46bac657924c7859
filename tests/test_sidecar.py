"""The sidecar: what it puts together, and that looking at it waits for nobody."""

from __future__ import annotations

import dataclasses
import json
import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from prometheus_client import generate_latest
from prometheus_client.parser import text_string_to_metric_families as parse_text

from exporter.conclusions import Overview
from exporter.contained import PLACES, contain
from exporter.labels import REJECT_REASONS
from exporter.records import ProcessSnapshot
from exporter.sidecar import REVISION_VARIABLE, Sidecar
from exporter.version import VERSION
from overviews import NOW, SHOP, Showing, config, publish, server, silent_server
from waiting import eventually


def closed_port() -> int:
    """Return a port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def test_processes_are_added_up(tmp_path: Path) -> None:
    """Live processes with a pool of one name are one pool; what a dead one had counted stays; a bad file is told."""
    publish(tmp_path, ProcessSnapshot(7, NOW - 1, (SHOP,)), name="7")
    publish(tmp_path, ProcessSnapshot(8, NOW - 2, (SHOP,)), name="8")
    publish(tmp_path, ProcessSnapshot(9, NOW - 60, (SHOP,)), name="9")
    (tmp_path / "bad.json").write_text("{")
    seen = Sidecar(config(tmp_path), clock=lambda: NOW).overview()
    (pool,) = seen.pools
    assert (pool.idle, pool.used, pool.checkouts, pool.overdue, len(pool.connections)) == (6, 4, 360, 2, 4)
    assert [report.state for report in seen.processes] == ["live", "live"]
    assert seen.rejected == {**dict.fromkeys(REJECT_REASONS, 0), "malformed": 1}
    assert (seen.now, seen.servers, seen.matches) == (NOW, (), ())


def contained(sidecar: Sidecar, where: str) -> float | None:
    """Return how many errors the sidecar's page shows of a place."""
    return sidecar.registry.get_sample_value("pool_exporter_contained_errors_total", {"where": where})


def test_contained_errors_of_all_processes_and_its_own_are_added_up(tmp_path: Path) -> None:
    """Errors that processes kept to themselves show on the one page that everybody looks at, with the sidecar's own."""
    sidecar = Sidecar(config(tmp_path), clock=lambda: NOW)
    own = {where: contained(sidecar, where) or 0 for where in PLACES}
    publish(tmp_path, ProcessSnapshot(7, NOW - 1, contained={"checkin": 2, "ping": 1}), name="7")
    publish(tmp_path, ProcessSnapshot(8, NOW - 2, contained={"checkin": 3, "a place of a newer version": 4}), name="8")
    publish(tmp_path, ProcessSnapshot(9, NOW - 60, contained={"checkin": 100}), name="9")  # a dead one
    (tmp_path / "6.0000000000000000.json").write_text(
        json.dumps({"format": 1, "pid": 6, "taken": NOW})
    )  # of an older version
    assert sidecar.overview().contained == {"checkin": 105, "ping": 1, "other": 4}
    contain("ping")
    assert {where: contained(sidecar, where) for where in PLACES} == {
        **own,
        "checkin": own["checkin"] + 105,
        "ping": own["ping"] + 2,
        "other": own["other"] + 4,
    }


UNLUCKY = """
import sys
from sqlalchemy import create_engine
import exporter
from exporter.contained import contain
exporter.instrument(create_engine("sqlite://"))
contain("checkout")
sys.stdin.read()
"""


def test_a_process_tells_what_it_contained(tmp_path: Path) -> None:
    """What an application never saw stands on the sidecar's page, and stays there when the application has ended."""
    sidecar = Sidecar(config(tmp_path))
    own = contained(sidecar, "checkout") or 0
    with subprocess.Popen(
        (sys.executable, "-c", UNLUCKY), stdin=subprocess.PIPE, stderr=subprocess.DEVNULL,
        env={**os.environ, "POOL_EXPORTER_DIR": str(tmp_path)},
    ) as process:  # fmt: skip
        eventually(lambda: contained(sidecar, "checkout") == own + 1)
        process.communicate(timeout=30)
    assert contained(sidecar, "checkout") == own + 1


def test_nothing_configured_is_an_empty_page_and_ready() -> None:
    """Without a directory and without servers there is nothing to show and nothing to wait for."""
    sidecar = Sidecar(config(), clock=lambda: NOW)
    assert sidecar.overview() == Overview(NOW, (), (), (), rejected=dict.fromkeys(REJECT_REASONS, 0))
    assert sidecar.ready()


def test_ready_once_every_server_was_tried() -> None:
    """A server that refuses has been tried; it is down, and has no match."""
    sidecar = Sidecar(config(None, server(closed_port()), server(closed_port(), name="stock")))
    assert not sidecar.ready()
    sidecar.start()
    eventually(sidecar.ready)
    assert sidecar.stop()
    seen = sidecar.overview()
    assert [(view.name, view.up, view.reason) for view in seen.servers] == [
        ("orders", False, "connect"),
        ("stock", False, "connect"),
    ]
    assert seen.matches == ()


def test_a_silent_server_delays_no_look(tmp_path: Path) -> None:
    """While a sample hangs on a server that never answers, the page is made at once, and stopping is bounded."""
    publish(tmp_path, ProcessSnapshot(7, time.time(), (SHOP,)))
    with silent_server() as port:
        sidecar = Sidecar(config(tmp_path, server(port, timeout=2.0)))
        sidecar.start()
        began = time.perf_counter()
        page = generate_latest(sidecar.registry).decode()
        took = time.perf_counter() - began
        assert not sidecar.ready()
        assert not sidecar.stop(within=0.05)
        assert sidecar.stop(within=10.0)
        assert sidecar.ready()
    assert took < 0.5
    assert 'sqlalchemy_pool_connections{pool="shop",state="idle"} 3.0' in page
    assert 'sqlalchemy_server_up{server="orders"} 0.0' in page


PAGE = """\
sqlalchemy_pool_connections{pool="endless",state="idle"} 3.0
sqlalchemy_pool_connections{pool="shop",state="used"} 2.0
sqlalchemy_pool_connections_max{pool="endless"} +Inf
sqlalchemy_pool_closes_total{pool="shop",reason="recycle"} 2.0
sqlalchemy_pool_closes_total{pool="shop",reason="garbage_collected"} 0.0
sqlalchemy_server_up{server="orders"} 1.0
sqlalchemy_server_up{server="stock"} 0.0
sqlalchemy_server_info{dialect="mysql",server="orders",source="performance_schema.threads",version="8.4.0"} 1.0
sqlalchemy_server_sample_errors_total{reason="auth",server="stock"} 3.0
sqlalchemy_pool_matched_connections{pool="shop",server="orders",session="gone",state="idle"} 1.0
sqlalchemy_pool_matched_connections{pool="shop",server="orders",session="active",state="used"} 0.0
pool_exporter_config_last_reload_successful 1.0
pool_exporter_config_last_reload_timestamp_seconds 1.7e+09
pool_exporter_snapshots_rejected_total{reason="malformed"} 1.0
pool_exporter_snapshots_rejected_total{reason="too_big"} 0.0
"""


def test_the_page_shows_both_sides_the_match_and_the_exporter() -> None:
    """One page has the pools, the servers, the match, the exporter itself and its process, the same each time."""
    sidecar = Showing()
    page = generate_latest(sidecar.registry).decode()
    lines = page.splitlines()
    shown = {sample.name: sample.labels for family in parse_text(page) for sample in family.samples}
    assert [line for line in PAGE.splitlines() if line not in lines] == []
    assert shown["pool_exporter_build_info"]["version"] == VERSION
    assert {"process_resident_memory_bytes", "python_info", "python_gc_collections_total"} <= set(shown)
    assert 'pool_exporter_contained_errors_total{where="collect"}' in page
    assert 'sqlalchemy_pool_size{pool="files"}' not in page
    assert 'sqlalchemy_server_sessions{server="stock"' not in page


@pytest.mark.servers
def test_promtool_has_nothing_to_say(tmp_path: Path) -> None:
    """Prometheus's own linter accepts the full page."""
    page = tmp_path / "page"
    page.write_bytes(generate_latest(Showing().registry))
    with page.open() as file:
        done = subprocess.run(
            ("promtool", "check", "metrics"), stdin=file, capture_output=True, text=True, check=False, timeout=30
        )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_the_revision_is_what_the_builder_said(monkeypatch: pytest.MonkeyPatch) -> None:
    """An image carries the commit that it was built from in its environment."""
    monkeypatch.setenv(REVISION_VARIABLE, "abc123")
    page = generate_latest(Showing().registry).decode()
    assert 'revision="abc123"' in page


def test_a_look_that_fails_costs_its_part_of_the_page_only() -> None:
    """An error of ours leaves the page standing, and shows at the next scrape."""

    class Broken(Showing):
        broken = False

        def overview(self) -> Overview:
            if self.broken:
                raise RuntimeError("planted")
            return dataclasses.replace(super().overview(), pools=())

    sidecar = Broken()
    sidecar.broken = True
    page = generate_latest(sidecar.registry).decode()
    assert "python_info" in page
    assert "sqlalchemy_server_up" not in page
    sidecar.broken = False
    again = generate_latest(sidecar.registry).decode()
    assert 'pool_exporter_contained_errors_total{where="collect"} 0.0' not in again
