"""The page docs/panels.md: every panel with what it says, for whoever reads without a Grafana."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import Any

HEAD = """# Panels

<!-- Made by scripts/dashboards from grafana/source. Change that, then run it. -->

What each panel of the [dashboards](dashboards.md) answers, in the order in which they stand, and where it links to.
"""


def page(texts: Iterable[str]) -> str:
    """Return the whole page for dashboards, each the text of its file."""
    return "\n".join((HEAD, *(line for text in texts for line in _section(json.loads(text))))) + "\n"


def _section(dashboard: dict[str, Any]) -> Iterator[str]:
    yield f"## {dashboard['title']}"
    yield ""
    yield dashboard["description"]
    for panel in dashboard["panels"]:
        if panel["type"] == "row":
            yield from ("", f"### {panel['title']}", "", "| panel | it shows | runbook |", "|---|---|---|")
        else:
            yield f"| {panel['title']} | {panel['description']} | {_runbook(panel)} |"
    yield ""


def _runbook(panel: dict[str, Any]) -> str:
    link = panel["links"][0]
    return f"[{link['title'].removeprefix('Runbook: ')}]({link['url'].removeprefix('${docs}/')})"
