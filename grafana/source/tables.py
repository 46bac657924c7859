"""Tables: one row for each pool, server or client, the worst first."""

from __future__ import annotations

from dataclasses import dataclass, field

from grafana_foundation_sdk.models import common, dashboard, table
from grafana_foundation_sdk.models.prometheus import PromQueryFormat

from faces import NO_LEVELS, Face, Levels, dressed, reference, target
from panels import in_words, override
from queries import Query

CHOSEN = "&${datasource:queryparam}&${job:queryparam}&${instance:queryparam}&${__url_time_range}"
"""What a link to another dashboard takes along."""


UNKNOWN = "-"
"""What stands in a cell without a value: else Grafana writes there what it writes for a table without rows."""


@dataclass(frozen=True, slots=True)
class Column:
    """A column of figures: its query, and how they are written."""

    title: str
    expr: str
    unit: str = "short"
    decimals: int | None = None
    levels: Levels = NO_LEVELS
    words: dict[str, tuple[str, str]] = field(default_factory=dict)
    filled: bool = False
    """Whether a figure is a bar from 0 to 1."""


@dataclass(frozen=True, slots=True)
class Key:
    """A column that comes from a label: what it is called, and where a click on it leads."""

    label: str
    title: str
    link: str = ""
    hidden: bool = False


def to_dashboard(uid: str, label: str) -> str:
    """Return the address of a dashboard, opened on what stands in the cell that is clicked."""
    return f"/d/{uid}?var-{label}=${{__value.raw:percentencode}}{CHOSEN}"


def grid(
    face: Face,
    keys: tuple[Key, ...],
    columns: tuple[Column, ...],
    *,
    first: tuple[tuple[str, bool], ...],
    empty: str = "",
) -> dashboard.Panel:
    """Make a table, sorted by the titles in ``first`` (each with whether it falls); ``empty``: what no row means."""
    panel = dashboard.Panel(
        type_val="table",
        options=table.Options(
            sort_by=[common.TableSortByFieldState(display_name=title, desc=falls) for title, falls in first],
            cell_height=common.TableCellHeight.SM,
            show_header=True,
        ),
        field_config=dashboard.FieldConfigSource(
            defaults=dashboard.FieldConfig(
                custom=table.FieldConfig(cell_options=common.TableAutoCellOptions(), filterable=True),
                no_value=empty or None,
            ),
            overrides=[*(_look(column) for column in columns), *(_named(key) for key in keys if not key.hidden)],
        ),
        transformations=_transformations(keys, columns),
    )
    targets = [
        target(Query(column.expr, column.title), place, instant=True, kind=PromQueryFormat.TABLE)
        for place, column in enumerate(columns)
    ]
    return dressed(panel, face, targets)


def _transformations(keys: tuple[Key, ...], columns: tuple[Column, ...]) -> list[dashboard.DataTransformerConfig]:
    """Join the queries on their labels, leave out what nobody reads, and put the columns in order."""
    titles = {f"Value #{reference(place)}": column.title for place, column in enumerate(columns)}
    if len(columns) == 1:
        titles["Value"] = columns[0].title  # what Grafana calls the column of a query that stands alone
    labels = [key.label for key in keys]
    organize = {
        "excludeByName": {"Time": True, **{key.label: True for key in keys if key.hidden}},
        "indexByName": {name: place for place, name in enumerate((*labels, *titles))},
        "renameByName": {
            **{key.label: key.title for key in keys if not key.hidden},
            **titles,
        },
    }
    return [
        dashboard.DataTransformerConfig(id_val="merge", options={}),
        dashboard.DataTransformerConfig(id_val="organize", options=organize),
    ]


def _look(column: Column) -> dashboard.DashboardFieldConfigSourceOverrides:
    properties: dict[str, object] = {"unit": column.unit, "custom.align": "right", "noValue": UNKNOWN}
    if column.decimals is not None:
        properties["decimals"] = column.decimals
    if column.levels != NO_LEVELS:
        properties["thresholds"] = column.levels.thresholds()
        properties["color"] = {"mode": "thresholds"}
        properties["custom.cellOptions"] = {"type": "color-background", "mode": "basic"}
    if column.filled:
        properties |= {"min": 0, "max": 1, "custom.cellOptions": {"type": "gauge", "mode": "basic"}}
    if column.words:
        properties["mappings"] = [in_words(column.words)]
    return override("byName", column.title, properties)


def _named(key: Key) -> dashboard.DashboardFieldConfigSourceOverrides:
    link = {"links": [{"title": f"Open this {key.label}", "url": key.link}]} if key.link else {}
    return override("byName", key.title, {"noValue": UNKNOWN, **link})
