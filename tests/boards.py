"""The dashboards as they are in their files: panels, and every query that Grafana sends for them."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

GRAFANA = Path(__file__).parents[1] / "grafana"
DASHBOARDS = sorted((GRAFANA / "dashboards").glob("*.json"))
VARIABLES = ("job", "instance", "pool", "server")
"""Those that choose: beside them there are the data source, and the address of the runbooks."""

_FUNCTION = re.compile(r"\$(\w+)|\$\{(\w+)\}")


@dataclass(frozen=True)
class Asked:
    """A query as a dashboard asks it, and where: a panel's number, or the name of a variable or an annotation."""

    dashboard: str
    where: int | str
    title: str
    expr: str
    instant: bool
    """Whether it is asked as of now; else over the time shown."""

    def filled(self, job: str) -> str:
        """Return the query with one job chosen, all else, and a time range as short as the lab's."""
        values = {"job": job, "__rate_interval": "10s", "__range": "5m", **dict.fromkeys(VARIABLES[1:], ".+")}
        return _FUNCTION.sub(lambda found: values[found[1] or found[2]], self.expr)

    def __str__(self) -> str:
        return f"{self.dashboard} {self.where} ({self.title}): {self.expr}"


def load(path: Path) -> dict[str, Any]:
    """Return a dashboard's file as it stands."""
    dashboard: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return dashboard


def panels(path: Path) -> list[dict[str, Any]]:
    """Return the panels of a dashboard, without the headings of its rows."""
    return [panel for panel in load(path)["panels"] if panel["type"] != "row"]


def asked_by_panels(path: Path) -> Iterator[Asked]:
    """Yield each query of each panel."""
    for panel in panels(path):
        for target in panel["targets"]:
            yield Asked(path.stem, panel["id"], panel["title"], target["expr"], target["instant"])


def asked_by_annotations(path: Path) -> Iterator[Asked]:
    """Yield what each annotation asks Prometheus for."""
    for annotation in load(path)["annotations"]["list"]:
        if "expr" in annotation:
            yield Asked(path.stem, annotation["name"], "annotation", annotation["expr"], instant=False)


def asked_by_variables(path: Path) -> Iterator[Asked]:
    """Yield the selector and the label of each variable's choices; Grafana asks for the label's values."""
    for variable in load(path)["templating"]["list"]:
        if variable["type"] == "query":
            selector, label = selected(variable)
            yield Asked(path.stem, variable["name"], "variable", f"group by ({label}) ({selector})", instant=True)


def selected(variable: dict[str, Any]) -> tuple[str, str]:
    """Return the selector and the label that a variable's choices come from."""
    found = re.fullmatch(r"label_values\((.*), (\w+)\)", variable["query"]["query"])
    assert found is not None, variable["query"]
    return found[1], found[2]
