"""The alert rules, the recording rules, and the example configurations of Prometheus and Alertmanager."""

from __future__ import annotations

import functools
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from promql import faults

ROOT = Path(__file__).parents[1]
RULES = ROOT / "prometheus" / "alerts.yaml"
UNIT_TESTS = ROOT / "prometheus" / "alerts_test.yaml"
RECORDING = ROOT / "prometheus" / "recording.yaml"
RECORDING_TESTS = ROOT / "prometheus" / "recording_test.yaml"
ALERTMANAGER = ROOT / "prometheus" / "alertmanager.yml"
PAGE = ROOT / "docs" / "alerts.md"


def _rules(path: Path) -> list[dict[str, Any]]:
    return [rule for group in _yaml(path)["groups"] for rule in group["rules"]]


def _alerts() -> list[dict[str, Any]]:
    return [rule for rule in _rules(RULES) if "alert" in rule]


def _records() -> list[dict[str, Any]]:
    return [rule for rule in (*_rules(RULES), *_rules(RECORDING)) if "record" in rule]


def _names() -> set[str]:
    return {alert["alert"] for alert in _alerts()}


@functools.cache
def _yaml(path: Path) -> Any:
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def _promtool(*arguments: str) -> str:
    result = subprocess.run(("promtool", *arguments), check=False, capture_output=True, text=True, timeout=110)
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


@pytest.mark.servers
def test_promtool_accepts_the_rules_and_the_example_configuration() -> None:
    """Prometheus can load what we ship."""
    _promtool("check", "rules", str(RULES), str(RECORDING))
    assert "2 rule files found" in _promtool("check", "config", str(ROOT / "prometheus" / "prometheus.yml"))


@pytest.mark.servers
def test_amtool_accepts_the_example_of_who_is_told() -> None:
    """Alertmanager can load what we ship."""
    result = subprocess.run(
        ("amtool", "check-config", str(ALERTMANAGER)), check=False, capture_output=True, text=True, timeout=60
    )
    assert result.returncode == 0, result.stdout + result.stderr


@pytest.mark.servers
def test_each_alert_fires_and_is_silent_when_it_should() -> None:
    """The unit tests of the rules pass."""
    _promtool("test", "rules", str(UNIT_TESTS), str(RECORDING_TESTS))


def test_each_alert_is_tested_silent_firing_and_over() -> None:
    """Every alert has a situation in which it is silent, then rings, and then is over."""
    whole = {name for situation in _yaml(UNIT_TESTS)["tests"] for name in _whole_stories(situation)}
    assert whole == _names()


def _whole_stories(situation: dict[str, Any]) -> Iterator[str]:
    rings: dict[str, str] = {}
    for case in sorted(situation["alert_rule_test"], key=lambda case: int(case["eval_time"].removesuffix("m"))):
        rings[case["alertname"]] = rings.get(case["alertname"], "") + "-+"[bool(case.get("exp_alerts"))]
    return (name for name, story in rings.items() if re.fullmatch(r"-\++-", story))


def test_each_recording_rule_is_tested() -> None:
    """Every series that we record is compared with figures worked out by hand."""
    asked = " ".join(case["expr"] for test in _yaml(RECORDING_TESTS)["tests"] for case in test["promql_expr_test"])
    assert {rule["record"] for rule in _rules(RECORDING) if rule["record"] not in asked} == set()


@pytest.mark.parametrize("rule", _records(), ids=lambda rule: str(rule["record"]))
def test_a_recorded_series_has_a_good_name_and_asks_for_what_exists(rule: dict[str, Any]) -> None:
    """Names are level:metric:operations, as Prometheus advises, and every metric and label is in the tables."""
    assert re.fullmatch(r"[a-z_]+:sqlalchemy_pool_[a-z_]+:[a-z0-9_]+", rule["record"])
    assert list(faults(_without_records(rule["expr"]))) == []


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
    """Every metric, label and label value of the expression, and of what the description asks, is in the tables."""
    asked = re.findall(r'"((?:[^"\\]|\\.)*sqlalchemy_(?:[^"\\]|\\.)*)"', alert["annotations"]["description"])
    for expression in (alert["expr"], *(each.replace('\\"', '"').replace("%q", '"$any"') for each in asked)):
        assert list(faults(_without_records(expression))) == []


@pytest.mark.parametrize("alert", _alerts(), ids=lambda alert: str(alert["alert"]))
def test_a_description_names_labels_that_the_alert_has(alert: dict[str, Any]) -> None:
    """A description never prints an empty label: each unit test's expectation has the labels that are named."""
    firing = [
        expected["exp_labels"]
        for situation in _yaml(UNIT_TESTS)["tests"]
        for case in situation["alert_rule_test"]
        if case["alertname"] == alert["alert"]
        for expected in case.get("exp_alerts", [])
    ]
    named = set(re.findall(r"\$labels\.(\w+)", alert["annotations"]["description"]))
    assert all(named <= set(labels) for labels in firing)


def _without_records(expression: str) -> str:
    """Leave out the series that rules of ours record: their names only look like metrics."""
    for rule in _records():
        expression = expression.replace(rule["record"], "recorded")
    return expression


def test_what_is_muted_and_what_mutes_exists() -> None:
    """Every name in the inhibitions is an alert's, and nothing mutes itself or the harm that users feel."""
    for rule in _yaml(ALERTMANAGER)["inhibit_rules"]:
        sources, targets = (_matching(rule[f"{side}_matchers"]) for side in ("source", "target"))
        assert sources
        assert targets
        assert not sources & targets
        assert "job" in rule["equal"]
        assert "instance" in rule["equal"]
        if sources != {"SqlalchemyServerDown"}:
            assert not targets & {"SqlalchemyPoolTimeouts", "SqlalchemyPoolConnectErrors"}


def _matching(matchers: list[str]) -> set[str]:
    found = _names()
    for matcher in matchers:
        operator, value = re.fullmatch(r'alertname (=|=~|!=) "(.*)"', matcher).groups()  # type: ignore[union-attr]
        if operator == "!=":
            found -= {value}
            continue
        assert operator == "=~" or value in found
        for name in value.split("|") if ".+" not in value else ():
            assert name in found, name
        found = {name for name in found if re.fullmatch(value, name)}
    return found


def test_the_page_of_alerts_is_complete() -> None:
    """The table names every alert with its severity and its runbook, and every recorded series is explained."""
    text = PAGE.read_text(encoding="utf-8")
    rows = re.findall(r"^\| .* \| (Sqlalchemy\w+) \| (\w+) \| \[[^]]+\]\(runbooks/(\w+)\.md\) \|$", text, re.MULTILINE)
    assert sorted(rows) == sorted((alert["alert"], alert["labels"]["severity"], alert["alert"]) for alert in _alerts())
    assert set(re.findall(r"^\| `(\w+:\w+:\w+)` \|", text, re.MULTILINE)) == {r["record"] for r in _rules(RECORDING)}


def test_the_page_of_alerts_points_to_files_that_exist() -> None:
    """Whoever loads the rules finds every file that the page names."""
    links = re.findall(r"\]\(([^)#]+)\)", PAGE.read_text(encoding="utf-8"))
    assert [link for link in links if not (PAGE.parent / link).is_file()] == []


def test_the_page_of_alerts_says_what_mutes_what() -> None:
    """Its second table has a line for each inhibition, with the same names."""
    text = PAGE.read_text(encoding="utf-8").partition("| rings | mutes |")[2].partition("\n\n")[0]
    told = [
        [set(re.findall(r"Sqlalchemy\w+", cell)) for cell in line.split("|")[1:3]] for line in text.splitlines()[2:]
    ]
    rules = _yaml(ALERTMANAGER)["inhibit_rules"]
    assert len(told) == len(rules)
    for (sources, targets), rule in zip(told, rules, strict=True):
        assert sources == _matching(rule["source_matchers"])
        assert targets in (set(), _matching(rule["target_matchers"]))


def test_each_alert_has_a_runbook_and_each_runbook_an_alert() -> None:
    """Pages and alerts go together, and every page answers the same questions."""
    pages = {page.stem: page.read_text(encoding="utf-8") for page in (ROOT / "docs" / "runbooks").glob("*.md")}
    assert set(pages) == _names()
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
