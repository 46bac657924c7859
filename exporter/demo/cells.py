"""The cells of the terminal's tables: how a figure of the page is written."""

from __future__ import annotations

from rich import box
from rich.table import Table

from exporter.demo.page import Page


def make(*columns: str) -> Table:
    """Make an empty table with these columns."""
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, title_justify="left", title_style="bold")
    for column in columns:
        table.add_column(column)
    return table


def names(page: Page, metric: str, label: str, **labels: str) -> list[str]:
    """Return the values that a label has on the samples of a metric."""
    return sorted({sample.labels[label] for sample in page.select(metric, **labels)})


def number(value: float | None) -> str:
    """Write a number; what is not known is a dash."""
    return "-" if value is None else f"{value:g}"


def seconds(value: float | None) -> str:
    """Write so many seconds; what is not known is a dash."""
    return "-" if value is None else f"{value:.0f} s"
