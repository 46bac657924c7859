"""What every panel has, whatever its kind: a face for the reader, colours, queries, a way to the runbook."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import PurePosixPath

from grafana_foundation_sdk.models import common, dashboard, prometheus

from queries import Query

DATASOURCE = common.DataSourceRef(type_val="prometheus", uid="${datasource}")


@dataclass(frozen=True, slots=True)
class Face:
    """What a reader sees of a panel before its data. The number is for ever: links to a panel carry it."""

    number: int
    title: str
    says: str
    runbook: str
    unit: str = "short"
    decimals: int | None = None
    width: int = 12
    height: int = 8

    def sized(self, width: int, height: int) -> Face:
        """Return the same face of another size, in columns and lines of the grid."""
        return replace(self, width=width, height=height)


@dataclass(frozen=True, slots=True)
class Levels:
    """From which value on a figure is orange or red; ``falling``: below which."""

    orange: float | None = None
    red: float | None = None
    falling: bool = False

    def thresholds(self) -> dashboard.ThresholdsConfig:
        """Return them as Grafana takes them: a colour, and from where on it holds."""
        steps = self._falling() if self.falling else self._rising()
        return dashboard.ThresholdsConfig(
            mode=dashboard.ThresholdsMode.ABSOLUTE,
            steps=[dashboard.Threshold(color=colour, value=value) for colour, value in steps],
        )

    def _rising(self) -> list[tuple[str, float | None]]:
        above = [(colour, value) for colour, value in (("orange", self.orange), ("red", self.red)) if value is not None]
        return [("green", None), *above]

    def _falling(self) -> list[tuple[str, float | None]]:
        if self.orange is None:
            return [("red", None), ("green", self.red)]
        return [("red", None), ("orange", self.red), ("green", self.orange)]


NO_LEVELS = Levels()
ANY_IS_BAD = Levels(red=1)
SHARE = Levels(orange=0.7, red=0.9)
"""Of a share of a limit: from where on it is worth a look, and from where on it hurts."""


def dressed(
    panel: dashboard.Panel, face: Face, targets: list[prometheus.Dataquery], *, levels: Levels = NO_LEVELS
) -> dashboard.Panel:
    """Give a panel its face, its queries and its colours; where it stands is decided by the row it is in."""
    assert panel.field_config is not None
    assert panel.field_config.defaults is not None
    panel.id_val, panel.title, panel.description = face.number, face.title, face.says
    panel.datasource = DATASOURCE
    panel.targets = list(targets)
    panel.links = [_to_runbook(face.runbook)]
    panel.grid_pos = dashboard.GridPos(w=face.width, h=face.height)
    panel.repeat_direction = panel.transparent = None
    defaults = panel.field_config.defaults
    defaults.unit, defaults.decimals = face.unit, face.decimals
    if levels != NO_LEVELS:
        defaults.thresholds = levels.thresholds()
    return panel


def target(
    query: Query,
    place: int = 0,
    *,
    instant: bool = False,
    kind: prometheus.PromQueryFormat = prometheus.PromQueryFormat.TIME_SERIES,
) -> prometheus.Dataquery:
    """Return a query as a panel holds it, the first as A."""
    return prometheus.Dataquery(
        datasource=DATASOURCE,
        editor_mode=prometheus.QueryEditorMode.CODE,
        expr=query.expr,
        format_val=kind,
        instant=instant,
        legend_format=query.legend,
        range_val=not instant,
        ref_id=reference(place),
    )


def reference(place: int) -> str:
    """Return what Grafana calls the query at a place."""
    return "ABCDEFGHIJKLMNOPQRSTUVWXYZ"[place]


def _to_runbook(page: str) -> dashboard.DashboardLink:
    return dashboard.DashboardLink(
        title=f"Runbook: {PurePosixPath(page).stem}",
        type_val=dashboard.DashboardLinkType.LINK,
        url=f"${{docs}}/{page}",
        target_blank=True,
    )
