"""What is around the panels: rows, variables, links, the alerts, and the envelope that Grafana's import takes."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models import dashboard

from alerting import marks
from faces import DATASOURCE
from variables import variables

COLUMNS = 24
SCHEMA = 38
"""The shape of a dashboard since Grafana 10; newer ones bring it up to date as they load it."""

OVERVIEW, POOLS, SERVERS = "sqlalchemy-overview", "sqlalchemy-pools", "sqlalchemy-servers"
"""The uids: what links, bookmarks and provisioning know a dashboard by."""

TITLES = {OVERVIEW: "SQLAlchemy overview", POOLS: "SQLAlchemy pools", SERVERS: "SQLAlchemy servers"}


@dataclass(frozen=True, slots=True)
class Row:
    """A heading, which is a question, and the panels that answer it."""

    number: int
    title: str
    panels: tuple[dashboard.Panel, ...]


def made(uid: str, says: str, rows: tuple[Row, ...]) -> str:
    """Return a whole dashboard as the text of its file."""
    panels = _placed(rows)
    model = dashboard.Dashboard(
        uid=uid,
        title=TITLES[uid],
        description=says,
        tags=["sqlalchemy", "connection pool"],
        timezone="browser",
        editable=False,
        graph_tooltip=dashboard.DashboardCursorSync.CROSSHAIR,
        time=dashboard.DashboardDashboardTime(from_val="now-1h", to="now"),
        refresh="30s",
        schema_version=SCHEMA,
        version=1,
        panels=panels,
        templating=dashboard.DashboardDashboardTemplating(list_val=variables()),
        annotations=dashboard.AnnotationContainer(list_val=marks()),
        links=[_link(other) for other in TITLES if other != uid],
    )
    plain = _in_sight(json.loads(json.dumps(model, cls=JSONEncoder)))
    return json.dumps({**_envelope(panels), **plain}, indent=2, sort_keys=True, ensure_ascii=False) + "\n"


def _placed(rows: tuple[Row, ...]) -> list[dashboard.Panel | dashboard.RowPanel]:
    """Place the panels from left to right and down. The SDK's own layout runs over the edge."""
    placed: list[dashboard.Panel | dashboard.RowPanel] = []
    y = 0
    for row in rows:
        at = dashboard.GridPos(x=0, y=y, w=COLUMNS, h=1)
        placed.append(dashboard.RowPanel(id_val=row.number, title=row.title, grid_pos=at))
        y = _line_up(row.panels, y + 1)
        placed.extend(row.panels)
    return placed


def _line_up(panels: tuple[dashboard.Panel, ...], y: int) -> int:
    """Give the panels of a row their places, and return where the next row begins."""
    x = height = 0
    for panel in panels:
        at = panel.grid_pos
        assert at is not None
        if x + at.w > COLUMNS:
            x, y, height = 0, y + height, 0
        at.x, at.y = x, y
        x, height = x + at.w, max(height, at.h)
    return y + height


def _in_sight(node: Any) -> Any:
    """Leave out where the SDK puts every link and annotation: into a menu, in which nobody would look for them."""
    if isinstance(node, dict):
        return {key: _in_sight(value) for key, value in node.items() if value != "inControlsMenu"}
    return [_in_sight(each) for each in node] if isinstance(node, list) else node


def _link(uid: str) -> dashboard.DashboardLink:
    return dashboard.DashboardLink(
        title=TITLES[uid],
        type_val=dashboard.DashboardLinkType.LINK,
        icon="dashboard",
        url=f"/d/{uid}",
        include_vars=True,
        keep_time=True,
    )


def _envelope(panels: list[dashboard.Panel | dashboard.RowPanel]) -> dict[str, Any]:
    """Return what Grafana itself adds when it exports a dashboard for others, and reads when it imports one."""
    kinds = sorted({panel.type_val for panel in panels} - {"row"})
    return {
        "__inputs": [],
        "__elements": {},
        "__requires": [
            {"type": "grafana", "id": "grafana", "name": "Grafana", "version": "10.0.0"},
            {"type": "datasource", "id": DATASOURCE.type_val, "name": "Prometheus", "version": "1.0.0"},
            *({"type": "panel", "id": kind, "name": kind.title(), "version": ""} for kind in kinds),
        ],
        "id": None,
    }
