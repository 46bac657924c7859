"""What the dashboards ask for: metrics that exist, what the variables choose, and in a way that Prometheus takes."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from boards import (
    DASHBOARDS,
    GRAFANA,
    VARIABLES,
    asked_by_annotations,
    asked_by_panels,
    asked_by_variables,
    load,
    selected,
)
from promql import faults, series

DATASOURCE = {"type": "prometheus", "uid": "${datasource}"}
NAME = r"\b(?:sqlalchemy|pool_exporter)_\w+"
ROOT = GRAFANA.parent

each_dashboard = pytest.mark.parametrize("path", DASHBOARDS, ids=lambda path: str(path.stem))


def _expressions(path: Path) -> list[str]:
    return [asked.expr for asked in asked_by_panels(path)]


def _choices(path: Path) -> list[dict[str, Any]]:
    return [variable for variable in load(path)["templating"]["list"] if variable["type"] == "query"]


@each_dashboard
def test_variables_are_used(path: Path) -> None:
    """A choice that changes nothing would mislead."""
    shown = " ".join(_expressions(path))
    assert [name for name in VARIABLES if f'{name}=~"${name}"' not in shown] == []


@each_dashboard
def test_variables_ask_for_metrics_that_exist(path: Path) -> None:
    """The choices come from metrics and labels of the tables."""
    for variable in _choices(path):
        selector, label = selected(variable)
        assert label == variable["name"]
        any_of = re.fullmatch(r'\{__name__=~"([^"]*)"(.*)\}', selector)
        names = any_of[1].split("|") if any_of else [selector]
        assert [fault for name in names for fault in faults(name)] == []


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
    """Counters and histograms stand in rate over $__rate_interval or in increase; a gauge histogram never does."""
    known = series()
    for expression in _expressions(path):
        for name in re.findall(NAME, expression):
            counted = known[name][0].kind in {"counter", "histogram"}
            selector = rf"{name}\{{[^}}]*\}}"
            rated = re.search(rf"\brate\({selector}\[\$__rate_interval\]\)", expression) or re.search(
                rf"\bincrease\({selector}\[(\$__rate_interval|\$__range|10m)\]\)", expression
            )
            assert counted == (rated is not None), expression


@each_dashboard
def test_alerts_are_marked_on_every_graph(path: Path) -> None:
    """Grafana's own annotations are there, and the alerts that Prometheus knows, with what rang and where."""
    own, alerts = load(path)["annotations"]["list"]
    assert (own["builtIn"], own["datasource"]["uid"]) == (1, "-- Grafana --")
    assert (alerts["datasource"], alerts["enable"]) == (DATASOURCE, True)
    (asked,) = asked_by_annotations(path)
    assert 'ALERTS{job=~"$job", instance=~"$instance"' in asked.expr
    assert 'alertstate="firing"' in asked.expr
    assert alerts["titleFormat"] == "{{alertname}}"


def test_alerts_are_called_what_the_dashboards_look_for() -> None:
    """Every alert of the rules is among those that the dashboards ask for."""
    names = re.search(r'alertname=~"([^"]*)"', next(asked_by_annotations(DASHBOARDS[0])).expr)
    assert names is not None
    rules = yaml.safe_load((ROOT / "prometheus/alerts.yaml").read_text(encoding="utf-8"))
    alerts = [rule["alert"] for group in rules["groups"] for rule in group["rules"] if "alert" in rule]
    assert alerts
    assert [alert for alert in alerts if re.fullmatch(names[1], alert) is None] == []


def test_every_metric_of_the_tables_is_shown_on_some_dashboard() -> None:
    """A metric that nobody sees is missed here; those left out are named, each with its reason."""
    left_out = {
        "sqlalchemy_pool_checkins",  # the same curve as the checkouts
        "pool_exporter_labels_folded",  # 0 in health, and said in the log when it is not
        "pool_exporter_build_info",  # for whoever asks which version runs, not at night
    }
    shown = " ".join(expression for path in DASHBOARDS for expression in _expressions(path))
    rows = {row.name for row, _ in series().values()}
    assert {name for name in rows if name not in shown} == left_out


@pytest.mark.servers
@each_dashboard
def test_prometheus_understands_every_query(path: Path, tmp_path: Path) -> None:
    """Each query of a panel, a variable or an annotation, its variables filled in, is accepted as a rule."""
    asked = [*asked_by_panels(path), *asked_by_variables(path), *asked_by_annotations(path)]
    rules = [{"record": f"tried:query:{number}", "expr": each.filled(".+")} for number, each in enumerate(asked)]
    file = tmp_path / "rules.yaml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "tried", "rules": rules}]}), encoding="utf-8")
    result = subprocess.run(
        ("promtool", "check", "rules", str(file)), check=False, capture_output=True, text=True, timeout=60
    )
    assert result.returncode == 0, result.stdout + result.stderr
    assert f"{len(rules)} rules found" in result.stdout
