"""The alert rules and the example configuration of Prometheus."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from promql import faults

ROOT = Path(__file__).parents[1]
RULES = ROOT / "prometheus" / "alerts.yaml"
UNIT_TESTS = ROOT / "prometheus" / "alerts_test.yaml"


def _alerts() -> list[dict[str, Any]]:
    groups = yaml.safe_load(RULES.read_text(encoding="utf-8"))["groups"]
    return [rule for group in groups for rule in group["rules"]]


def _promtool(*arguments: str) -> str:
    result = subprocess.run(("promtool", *arguments), check=False, capture_output=True, text=True, timeout=60)
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


@pytest.mark.servers
def test_promtool_accepts_the_rules_and_the_example_configuration() -> None:
    """Prometheus can load what we ship."""
    _promtool("check", "rules", str(RULES))
    assert "1 rule files found" in _promtool("check", "config", str(ROOT / "prometheus" / "prometheus.yml"))


@pytest.mark.servers
def test_each_alert_fires_and_is_silent_when_it_should() -> None:
    """The unit tests of the rules pass."""
    _promtool("test", "rules", str(UNIT_TESTS))


def test_each_alert_is_tested_firing_and_silent() -> None:
    """No alert is without both kinds of unit test."""
    cases = [
        case
        for situation in yaml.safe_load(UNIT_TESTS.read_text(encoding="utf-8"))["tests"]
        for case in situation["alert_rule_test"]
    ]
    names = {alert["alert"] for alert in _alerts()}
    assert {case["alertname"] for case in cases if case.get("exp_alerts")} == names
    assert {case["alertname"] for case in cases if not case.get("exp_alerts")} == names


@pytest.mark.parametrize("alert", _alerts(), ids=lambda alert: str(alert["alert"]))
def test_an_alert_tells_what_whoever_is_called_needs(alert: dict[str, Any]) -> None:
    """Name, patience, severity, a sentence, the figures and the way to the runbook are there."""
    assert re.fullmatch(r"Sqlalchemy(Pool|Server)([A-Z][a-z]+)+", alert["alert"])
    assert alert["for"]
    assert alert["labels"]["severity"] in {"critical", "warning", "info"}
    annotations = alert["annotations"]
    assert annotations["summary"].endswith(".")
    assert "{{" not in annotations["summary"]
    assert "$labels." in annotations["description"]
    assert annotations["runbook_url"] == f"docs/runbooks/{alert['alert']}.md"


@pytest.mark.parametrize("alert", _alerts(), ids=lambda alert: str(alert["alert"]))
def test_an_alert_asks_for_metrics_that_exist(alert: dict[str, Any]) -> None:
    """Every metric, label and label value of the expression is in the tables."""
    assert list(faults(alert["expr"])) == []


@pytest.mark.parametrize("alert", _alerts(), ids=lambda alert: str(alert["alert"]))
def test_a_description_names_labels_that_the_alert_has(alert: dict[str, Any]) -> None:
    """A description never prints an empty label: each unit test's expectation has the labels that are named."""
    firing = [
        expected["exp_labels"]
        for situation in yaml.safe_load(UNIT_TESTS.read_text(encoding="utf-8"))["tests"]
        for case in situation["alert_rule_test"]
        if case["alertname"] == alert["alert"]
        for expected in case.get("exp_alerts", [])
    ]
    named = set(re.findall(r"\$labels\.(\w+)", alert["annotations"]["description"]))
    assert all(named <= set(labels) for labels in firing)


def test_each_alert_has_a_runbook_and_each_runbook_an_alert() -> None:
    """Pages and alerts go together, and every page answers the same questions."""
    pages = {page.stem: page.read_text(encoding="utf-8") for page in (ROOT / "docs" / "runbooks").glob("*.md")}
    assert set(pages) == {alert["alert"] for alert in _alerts()}
    for name, text in pages.items():
        headings = ["What it means", "Confirm", "Stop the bleeding", "Cure", "What it is not"]
        assert re.findall(r"^#+ (.*)$", text, re.MULTILINE) == [name, *headings]


@pytest.mark.parametrize("page", sorted((ROOT / "docs" / "runbooks").glob("*.md")), ids=lambda page: str(page.stem))
def test_a_runbook_names_metrics_and_pages_that_exist(page: Path) -> None:
    """Whoever follows a runbook at night finds what it points to."""
    text = page.read_text(encoding="utf-8")
    for code in re.findall(r"`([^`]+)`", text):
        # ``{cause="ping"}`` alone continues the metric named before it.
        assert list(faults(code)) == [], code
    for link in re.findall(r"\]\(([^)#]+)", text):
        assert (page.parent / link).is_file(), link


@pytest.mark.parametrize(
    ("expression", "fault"),
    [
        ("sqlalchemy_pool_sessions", "no such metric: sqlalchemy_pool_sessions"),
        ('sqlalchemy_pool_size{server="x"}', "sqlalchemy_pool_size has no label server"),
        ('sqlalchemy_pool_connections{state="busy"}', "no state is ever busy"),
        ("sum by (site) (sqlalchemy_pool_overdue)", "no metric here has the label site"),
    ],
)
def test_a_wrong_name_in_an_expression_is_found(expression: str, fault: str) -> None:
    """The check above would notice a metric, label or value that was renamed."""
    assert list(faults(expression)) == [fault]
