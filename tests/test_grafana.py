"""The dashboards: they load, keep the rules of Grafana's dashboard linter, and can be read."""

from __future__ import annotations

import itertools
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from boards import (
    DASHBOARDS,
    GRAFANA,
    VARIABLES,
    asked_by_panels,
    load,
    panels,
)
from conftest import NOT_RUN

DATASOURCE = {"type": "prometheus", "uid": "${datasource}"}
UNITS = {"none", "short", "s", "ops", "percentunit", "bool_yes_no"}
FORMATS = {"heatmap": "heatmap", "table": "table"}
DOCS = GRAFANA.parent / "docs"
ROOT = GRAFANA.parent

each_dashboard = pytest.mark.parametrize("path", DASHBOARDS, ids=lambda path: str(path.stem))


def _expressions(path: Path) -> list[str]:
    return [asked.expr for asked in asked_by_panels(path)]


def test_there_are_three_dashboards() -> None:
    """An overview, one of pools and one of servers; the second has the uid that there was first, for users' links."""
    assert [path.stem for path in DASHBOARDS] == ["sqlalchemy-overview", "sqlalchemy-pools", "sqlalchemy-servers"]


@pytest.mark.skipif(sys.version_info < (3, 11), reason=f"{NOT_RUN} on Python 3.10, which cannot make the dashboards")
def test_the_dashboards_are_what_the_code_makes() -> None:
    """Nobody has changed a file by hand, or forgotten to make it anew."""
    made = (sys.executable, "grafana/source", "--check")
    result = subprocess.run(made, cwd=ROOT, check=False, capture_output=True, text=True, timeout=60)
    assert result.returncode == 0, result.stderr


@each_dashboard
def test_a_dashboard_can_be_imported_and_provisioned(path: Path) -> None:
    """It is of Grafana 10 or newer, has a fixed address, and names all that it needs, as Grafana's own exports do."""
    dashboard = load(path)
    assert dashboard["schemaVersion"] >= 38
    assert dashboard["uid"] == path.stem
    assert dashboard["id"] is None
    assert dashboard["editable"] is False
    assert (dashboard["__inputs"], dashboard["__elements"]) == ([], {})
    needed = {(need["type"], need["id"]) for need in dashboard["__requires"]}
    kinds = {("panel", panel["type"]) for panel in panels(path)}
    assert needed == {("grafana", "grafana"), ("datasource", "prometheus")} | kinds


@each_dashboard
def test_links_lead_to_the_other_dashboards(path: Path) -> None:
    """At the top stand the two others, and they take the time and the choice along."""
    links = load(path)["links"]
    others = {other.stem for other in DASHBOARDS} - {path.stem}
    assert {link["url"].removeprefix("/d/") for link in links} == others
    assert all(link["includeVars"] and link["keepTime"] for link in links)
    assert not any("placement" in link for link in links), "in the menu nobody would see them"


@each_dashboard
def test_variables_choose_datasource_job_instance_pool_and_server(path: Path) -> None:
    """Every variable has a label, takes several values or all, and follows the time range."""
    datasource, *queries, docs = load(path)["templating"]["list"]
    assert (datasource["name"], datasource["label"], datasource["query"]) == ("datasource", "Data source", "prometheus")
    assert docs["name"] == "docs"
    assert [variable["name"] for variable in queries] == list(VARIABLES)
    for variable in queries:
        assert variable["label"] == variable["name"].title()
        assert variable["datasource"] == DATASOURCE
        assert (variable["multi"], variable["includeAll"], variable["allValue"]) == (True, True, ".+")
        assert variable["refresh"] == 2, "a variable must follow the time range"
        assert variable["definition"] == variable["query"]["query"]


@each_dashboard
def test_the_address_of_the_runbooks_is_set_in_one_place(path: Path) -> None:
    """A hidden variable holds where docs/ is kept, and it is a whole address."""
    docs = load(path)["templating"]["list"][-1]
    assert (docs["name"], docs["type"], docs["hide"]) == ("docs", "textbox", 2)
    assert docs["query"] == docs["current"]["value"] == docs["options"][0]["value"]
    assert docs["query"].startswith("https://")


@each_dashboard
def test_panels_lead_to_a_page_that_exists(path: Path) -> None:
    """Each panel has one link, to a runbook or a page of docs/."""
    for panel in panels(path):
        (link,) = panel["links"]
        where, _, page = link["url"].partition("/")
        assert where == "${docs}"
        assert (DOCS / page).is_file(), page
        assert link["title"] == f"Runbook: {Path(page).stem}"
    for page in re.findall(r'"runbook", "([^"]+)"', " ".join(_expressions(path))):
        assert (DOCS / page).is_file(), page


@each_dashboard
def test_panels_say_what_they_show(path: Path) -> None:
    """Each panel has a title, a description, a unit, the chosen datasource, and a legend for each query."""
    for panel in panels(path):
        assert panel["title"]
        assert panel["description"].endswith(".")
        assert panel["datasource"] == DATASOURCE
        assert panel["fieldConfig"]["defaults"]["unit"] in UNITS
        assert panel["targets"], panel["title"]
        for target in panel["targets"]:
            assert target["datasource"] == DATASOURCE
            assert target["legendFormat"]
            assert target["format"] == FORMATS.get(panel["type"], "time_series")
            assert target["instant"] != target["range"]
            assert target["instant"] == (panel["type"] in {"stat", "bargauge", "table"})


@each_dashboard
def test_series_of_a_panel_can_be_told_apart(path: Path) -> None:
    """The legend of a query names each label that its outermost sum keeps."""
    for panel in panels(path):
        for target in panel["targets"]:
            kept = re.match(r"(?:sum|max|min|count) by \(([^)]*)\)", target["expr"])
            if kept is None or target["format"] != "time_series":
                continue
            legend = set(re.findall(r"\{\{(\w+)\}\}", target["legendFormat"]))
            assert legend == set(filter(None, kept[1].split(", "))), panel["title"]


@each_dashboard
def test_titles_and_references_are_unique(path: Path) -> None:
    """No two panels of a dashboard have one title, and no two queries of a panel one reference."""
    titles = [panel["title"] for panel in panels(path)]
    assert len(set(titles)) == len(titles)
    for panel in panels(path):
        references = [target["refId"] for target in panel["targets"]]
        assert len(set(references)) == len(references)


@each_dashboard
def test_panels_lie_side_by_side(path: Path) -> None:
    """No two share an id or a place, none leaves a hole above it, and all stay within the 24 columns."""
    placed = load(path)["panels"]
    assert len({panel["id"] for panel in placed}) == len(placed)
    taken: set[tuple[int, int]] = set()
    for panel in placed:
        at = panel["gridPos"]
        cells = set(itertools.product(range(at["x"], at["x"] + at["w"]), range(at["y"], at["y"] + at["h"])))
        assert at["x"] + at["w"] <= 24
        assert not taken & cells, panel["title"]
        assert at["y"] == 0 or (at["x"], at["y"] - 1) in taken, panel["title"]
        taken |= cells


@each_dashboard
def test_figures_come_first(path: Path) -> None:
    """What is read from afar stands above all else, below a heading."""
    kinds = [panel["type"] for panel in load(path)["panels"]]
    assert kinds[:2] == ["row", "stat"]


@each_dashboard
def test_tables_begin_with_the_worst(path: Path) -> None:
    """A table sorts by columns that it has, and each of its columns has a name of its own."""
    for panel in panels(path):
        if panel["type"] != "table":
            continue
        (organize,) = (each["options"] for each in panel["transformations"] if each["id"] == "organize")
        titles = [title for name, title in organize["renameByName"].items() if name != "Value"]
        assert len(set(titles)) == len(titles)
        assert {by["displayName"] for by in panel["options"]["sortBy"]} <= set(titles)
        assert panel["options"]["sortBy"]


def test_the_provisioning_examples_load() -> None:
    """Both files are what Grafana's provisioning reads."""
    datasources = yaml.safe_load((GRAFANA / "provisioning/datasources/prometheus.yaml").read_text(encoding="utf-8"))
    assert datasources["datasources"][0]["type"] == "prometheus"
    providers = yaml.safe_load((GRAFANA / "provisioning/dashboards/sqlalchemy-pools.yaml").read_text(encoding="utf-8"))
    assert providers["providers"][0]["options"]["path"].startswith("/")
