"""The kinds of panels: large figures, bars, lines over time, heatmaps."""

from __future__ import annotations

from grafana_foundation_sdk.models import bargauge, common, dashboard, heatmap, stat, timeseries
from grafana_foundation_sdk.models.prometheus import PromQueryFormat

from faces import NO_LEVELS, Face, Levels, dressed, target
from queries import Query

UP_OR_DOWN = {"0": ("down", "red"), "1": ("up", "green")}

LIMIT_STROKES: dict[str, object] = {
    "custom.fillOpacity": 0,
    "custom.lineStyle": {"dash": [10, 10], "fill": "dash"},
    "custom.stacking": {"group": "A", "mode": "none"},
}
"""A limit is a dashed line without a surface, and on top of nothing."""


def figures(
    face: Face, *queries: Query, levels: Levels = NO_LEVELS, words: dict[str, tuple[str, str]] | None = None
) -> dashboard.Panel:
    """Make a panel of large figures as they are now; ``words``: what is written, in which colour, for a value."""
    named = len(queries) > 1 or "{{" in queries[0].legend
    options = stat.Options(
        color_mode=common.BigValueColorMode.VALUE if levels == NO_LEVELS else common.BigValueColorMode.BACKGROUND,
        graph_mode=common.BigValueGraphMode.NONE,
        text_mode=common.BigValueTextMode.VALUE_AND_NAME if named else common.BigValueTextMode.VALUE,
        reduce_options=_last(),
    )
    defaults = dashboard.FieldConfig(
        color=dashboard.FieldColor(mode=dashboard.FieldColorModeId.THRESHOLDS),
        mappings=[in_words(words)] if words else None,
    )
    targets = [target(query, place, instant=True) for place, query in enumerate(queries)]
    return dressed(_panel("stat", options, defaults), face, targets, levels=levels)


def bars(face: Face, query: Query, *, levels: Levels, top: float | None = None) -> dashboard.Panel:
    """Make a panel of bars as they are now, in the order of the query; ``top`` is where a bar is full."""
    options = bargauge.Options(
        orientation=common.VizOrientation.HORIZONTAL,
        display_mode=common.BarGaugeDisplayMode.BASIC,
        reduce_options=_last(),
    )
    defaults = dashboard.FieldConfig(
        min_val=0, max_val=top, color=dashboard.FieldColor(mode=dashboard.FieldColorModeId.THRESHOLDS)
    )
    return dressed(_panel("bargauge", options, defaults), face, [target(query, instant=True)], levels=levels)


def lines(
    face: Face,
    *queries: Query,
    stacked: bool = False,
    levels: Levels = NO_LEVELS,
    colours: dict[str, str] | None = None,
) -> dashboard.Panel:
    """Make a panel of lines over time, stacked where their sum means something; a limit's line is dashed."""
    options = timeseries.Options(
        legend=common.VizLegendOptions(
            display_mode=common.LegendDisplayMode.TABLE,
            placement=common.LegendPlacement.BOTTOM,
            show_legend=True,
            calcs=["lastNotNull", "max"],
        ),
        tooltip=common.VizTooltipOptions(mode=common.TooltipDisplayMode.MULTI, sort=common.SortOrder.DESCENDING),
    )
    panel = _panel("timeseries", options, dashboard.FieldConfig(min_val=0, custom=_strokes(levels, stacked=stacked)))
    assert panel.field_config is not None
    panel.field_config.overrides = [
        *(override("byName", name, {"color": _fixed(colour)}) for name, colour in (colours or {}).items()),
        override("byRegexp", "(.* )?limit", {"color": _fixed("red"), **LIMIT_STROKES}),
    ]
    targets = [target(query, place) for place, query in enumerate(queries)]
    return dressed(panel, face, targets, levels=levels)


def heat(face: Face, expr: str) -> dashboard.Panel:
    """Make a heatmap of buckets over time; its vertical axis is in seconds, its cells in what the face says."""
    options = heatmap.Options(
        color=heatmap.HeatmapColorOptions(
            mode=heatmap.HeatmapColorMode.SCHEME,
            scheme="Oranges",
            fill="dark-orange",
            scale=heatmap.HeatmapColorScale.EXPONENTIAL,
            exponent=0.5,
            steps=64,
            reverse=False,
        ),
        rows_frame=heatmap.RowsHeatmapOptions(layout=common.HeatmapCellLayout.AUTO),
        show_value=common.VisibilityMode.NEVER,
        tooltip=heatmap.HeatmapTooltip(mode=common.TooltipDisplayMode.SINGLE),
        y_axis=heatmap.YAxisConfig(unit="s", axis_placement=common.AxisPlacement.LEFT, reverse=False),
    )
    panel = _panel("heatmap", options, dashboard.FieldConfig(custom=heatmap.FieldConfig()))
    return dressed(panel, face, [target(Query(expr, "{{le}}"), kind=PromQueryFormat.HEATMAP)])


def in_words(words: dict[str, tuple[str, str]]) -> dashboard.ValueMap:
    """Write words, each in a colour, for values."""
    return dashboard.ValueMap(
        options={
            value: dashboard.ValueMappingResult(text=text, color=colour) for value, (text, colour) in words.items()
        }
    )


def override(
    matcher: str, options: str, properties: dict[str, object]
) -> dashboard.DashboardFieldConfigSourceOverrides:
    """Give the series or columns that a matcher finds properties of their own."""
    return dashboard.DashboardFieldConfigSourceOverrides(
        matcher=dashboard.MatcherConfig(id_val=matcher, options=options),
        properties=[dashboard.DynamicConfigValue(id_val=name, value=value) for name, value in properties.items()],
    )


def _panel(kind: str, options: object, defaults: dashboard.FieldConfig) -> dashboard.Panel:
    return dashboard.Panel(
        type_val=kind, options=options, field_config=dashboard.FieldConfigSource(defaults=defaults, overrides=[])
    )


def _strokes(levels: Levels, *, stacked: bool) -> timeseries.FieldConfig:
    thresholds = common.GraphThresholdsStyleConfig(mode=common.GraphThresholdsStyleMode.DASHED)
    return timeseries.FieldConfig(
        draw_style=common.GraphDrawStyle.LINE,
        line_width=1,
        fill_opacity=60 if stacked else 10,
        show_points=common.VisibilityMode.AUTO,
        span_nulls=False,
        stacking=common.StackingConfig(
            mode=common.StackingMode.NORMAL if stacked else common.StackingMode.NONE, group="A"
        ),
        thresholds_style=None if levels == NO_LEVELS else thresholds,
    )


def _last() -> common.ReduceDataOptions:
    return common.ReduceDataOptions(calcs=["lastNotNull"], fields="", values=False)


def _fixed(colour: str) -> dict[str, str]:
    return {"mode": "fixed", "fixedColor": colour}
