"""The dashboard: it loads, keeps the rules of Grafana's dashboard linter, and asks for metrics that exist."""

from __future__ import annotations

import itertools
import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from promql import faults, series

GRAFANA = Path(__file__).parents[1] / "grafana"
DASHBOARDS = sorted((GRAFANA / "dashboards").glob("*.json"))
DATASOURCE = {"type": "prometheus", "uid": "${datasource}"}
UNITS = {"none", "short", "s", "ops", "percentunit"}
NAME = r"\b(?:sqlalchemy|pool_exporter)_\w+"
TRIED_VALUES = {"$__rate_interval": "5m"}

each_dashboard = pytest.mark.parametrize("path", DASHBOARDS, ids=lambda path: str(path.stem))


def _load(path: Path) -> dict[str, Any]:
    dashboard: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return dashboard


def _panels(path: Path) -> list[dict[str, Any]]:
    return [panel for panel in _load(path)["panels"] if panel["type"] != "row"]


def _expressions(path: Path) -> Iterator[str]:
    for panel in _panels(path):
        for target in panel["targets"]:
            yield target["expr"]


def _tried(expression: str) -> str:
    for variable, value in TRIED_VALUES.items():
        expression = expression.replace(variable, value)
    return re.sub(r"\$\w+", "anything", expression)


def test_there_is_a_dashboard() -> None:
    """The tests below look at something."""
    assert DASHBOARDS


@each_dashboard
def test_a_dashboard_can_be_imported_and_provisioned(path: Path) -> None:
    """It is of Grafana 10 or newer, has a fixed address and no number of somebody's database."""
    dashboard = _load(path)
    assert dashboard["schemaVersion"] >= 38
    assert dashboard["uid"] == path.stem
    assert dashboard["id"] is None
    assert dashboard["editable"] is False


@each_dashboard
def test_variables_choose_datasource_job_instance_pool_and_server(path: Path) -> None:
    """Every variable has a label, takes several values or all, and follows the time range."""
    datasource, *queries = _load(path)["templating"]["list"]
    assert (datasource["name"], datasource["label"], datasource["query"]) == ("datasource", "Data source", "prometheus")
    assert [variable["name"] for variable in queries] == ["job", "instance", "pool", "server"]
    for variable in queries:
        assert variable["label"] == variable["name"].title()
        assert variable["datasource"] == DATASOURCE
        assert (variable["multi"], variable["includeAll"], variable["allValue"]) == (True, True, ".+")
        assert variable["refresh"] == 2, "a variable must follow the time range"
        assert variable["definition"] == variable["query"]["query"]


@each_dashboard
def test_variables_ask_for_metrics_that_exist(path: Path) -> None:
    """The choices come from metrics and labels of the tables."""
    for variable in _load(path)["templating"]["list"][1:]:
        queried = re.fullmatch(r"label_values\((.*), (\w+)\)", variable["query"]["query"])
        assert queried is not None
        assert queried[2] == variable["name"]
        selector = re.fullmatch(r'\{__name__=~"([^"]*)"(.*)\}', queried[1])
        names = selector[1].split("|") if selector else [queried[1]]
        assert [fault for name in names for fault in faults(name)] == []


@each_dashboard
def test_panels_say_what_they_show(path: Path) -> None:
    """Each panel has a title, a description, a unit, the chosen datasource, and a legend for each query."""
    for panel in _panels(path):
        assert panel["title"]
        assert panel["description"].endswith(".")
        assert panel["datasource"] == DATASOURCE
        assert panel["fieldConfig"]["defaults"]["unit"] in UNITS
        assert panel["targets"], panel["title"]
        for target in panel["targets"]:
            assert target["datasource"] == DATASOURCE
            assert "{{" in target["legendFormat"] or len(panel["targets"]) > 1
            assert target["format"] == ("heatmap" if panel["type"] == "heatmap" else "time_series")


@each_dashboard
def test_panels_lie_side_by_side(path: Path) -> None:
    """No two share an id or a place, and all stay within the 24 columns."""
    panels = _load(path)["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    taken: set[tuple[int, int]] = set()
    for panel in panels:
        at = panel["gridPos"]
        cells = set(itertools.product(range(at["x"], at["x"] + at["w"]), range(at["y"], at["y"] + at["h"])))
        assert at["x"] + at["w"] <= 24
        assert not taken & cells, panel["title"]
        taken |= cells


@each_dashboard
def test_queries_ask_for_metrics_that_exist(path: Path) -> None:
    """Every metric, label and label value is in the tables."""
    assert [fault for expression in _expressions(path) for fault in faults(expression)] == []


@each_dashboard
def test_queries_follow_the_variables(path: Path) -> None:
    """Each selector keeps to the chosen job and instance, and to pool and server where it has them."""
    known = series()
    for expression in _expressions(path):
        for name, matchers in re.findall(rf"({NAME})(?:\{{([^}}]*)\}})?", expression):
            labels = {"job", "instance", *({"pool", "server"} & known[name][1])}
            assert labels == {label for label in labels if f'{label}=~"${label}"' in matchers}, expression


@each_dashboard
def test_counters_are_read_as_rates_and_gauges_are_not(path: Path) -> None:
    """Counters and histograms stand in rate or increase over $__rate_interval; a gauge histogram never does."""
    known = series()
    for expression in _expressions(path):
        for name in re.findall(NAME, expression):
            counted = known[name][0].kind in {"counter", "histogram"}
            rated = re.search(rf"\b(rate|increase)\({name}\{{[^}}]*\}}\[\$__rate_interval\]\)", expression)
            assert counted == (rated is not None), expression


@each_dashboard
def test_every_metric_of_the_tables_that_changes_is_shown(path: Path) -> None:
    """A metric that nobody sees is missed here; those left out are named, each with its reason."""
    left_out = {
        "sqlalchemy_pool_info",  # what a pool is does not change
        "sqlalchemy_server_info",
        "sqlalchemy_pool_size",  # the limit that hurts is connections_max
        "sqlalchemy_pool_overflow",
        "sqlalchemy_pool_recycle_seconds",  # settings change with a release
        "sqlalchemy_pool_timeout_seconds",
        "sqlalchemy_pool_pre_ping",
        "sqlalchemy_pool_checkins",  # the same curve as the checkouts
        "pool_exporter_build_info",
        "pool_exporter_config_last_reload_successful",  # it cannot be read again yet
        "pool_exporter_config_last_reload_timestamp_seconds",
    }
    shown = " ".join(_expressions(path))
    rows = {row.name for row, _ in series().values()}
    assert {name for name in rows if name not in shown} == left_out


@pytest.mark.servers
@each_dashboard
def test_prometheus_understands_every_query(path: Path, tmp_path: Path) -> None:
    """Each query, its variables filled in, is accepted as a rule."""
    rules = [
        {"record": f"tried:query:{number}", "expr": _tried(expression)}
        for number, expression in enumerate(_expressions(path))
    ]
    file = tmp_path / "rules.yaml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "tried", "rules": rules}]}), encoding="utf-8")
    result = subprocess.run(
        ("promtool", "check", "rules", str(file)), check=False, capture_output=True, text=True, timeout=60
    )
    assert result.returncode == 0, result.stdout + result.stderr
    assert f"{len(rules)} rules found" in result.stdout


def test_the_provisioning_examples_load() -> None:
    """Both files are what Grafana's provisioning reads."""
    datasources = yaml.safe_load((GRAFANA / "provisioning/datasources/prometheus.yaml").read_text(encoding="utf-8"))
    assert datasources["datasources"][0]["type"] == "prometheus"
    providers = yaml.safe_load((GRAFANA / "provisioning/dashboards/sqlalchemy-pools.yaml").read_text(encoding="utf-8"))
    assert providers["providers"][0]["options"]["path"].startswith("/")
