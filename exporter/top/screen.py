"""What stands on the terminal: a reading as tables, the worst first, within the room that there is."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

from rich.console import Console, Group, RenderableType
from rich.segment import Segment, Segments
from rich.table import Table
from rich.text import Text

from exporter.readable import printable, span
from exporter.top import tables
from exporter.top.documents import Content, Verdict
from exporter.verdicts import name_of

MOST_HOLDERS = 50
"""Connections in use that are listed where there is room for them all."""

_FEWEST_HOLDERS = 4
_OTHERS = 4
_LEVELS = {
    "bad": "bold white on red",
    "warning": "bold black on yellow",
    "info": "reverse",
    "good": "bold white on green",
}
_BLOCKS = "\N{FULL BLOCK}\N{MEDIUM SHADE}\N{MIDDLE DOT}"


@dataclass(frozen=True)
class Reading:
    """What was read last, from where, how many seconds ago, and why nothing was read since."""

    content: Content
    source: str
    age: float = 0.0
    lost: str = ""


def whole(reading: Reading, console: Console) -> Group:
    """Return all there is, for a file or a pipe, or to scroll in."""
    return Group(*_head(reading, keys=False), *_body(reading.content, _room(console), holders=MOST_HOLDERS))


def fitting(reading: Reading, console: Console) -> RenderableType:
    """Return what fits into the terminal: of those who hold connections as many as there is room for."""
    room, height = _room(console), console.size.height

    def lines(holders: int) -> list[list[Segment]]:
        group = Group(*_head(reading, keys=True), *_body(reading.content, room, holders=holders))
        return console.render_lines(group, console.options.update(height=None), pad=False)

    free = height - len(lines(0)) - 3  # an empty line, the head, and how many more there are
    drawn = lines(max(min(free, MOST_HOLDERS), _FEWEST_HOLDERS))
    if len(drawn) > height:  # where a call site takes two lines, half as many have room
        drawn = lines(max(free // 2, _FEWEST_HOLDERS))
    if len(drawn) > height:
        rest = Text(f"... {len(drawn) - height + 1} more lines: make the window taller", style="dim")
        drawn = [*drawn[: height - 1], *console.render_lines(rest, pad=False)]
    joined = [segment for line in drawn for segment in (*line, Segment.line())]
    return Segments(joined[:-1])


def _room(console: Console) -> tables.Room:
    return tables.Room(console.width >= tables.WIDE, _BLOCKS if console.encoding.lower().startswith("utf") else "#=.")


def _head(reading: Reading, *, keys: bool) -> list[RenderableType]:
    when = time.strftime("%H:%M:%S UTC", time.gmtime(reading.content.now))
    title = Text.assemble(
        ("pool-exporter top", "bold"), f"  {printable(reading.source)}  as of {when}", overflow="fold"
    )
    if keys:
        title.append("  q quits", "dim")
    lost: list[RenderableType] = []
    if reading.lost:
        warning = f" NOT REACHABLE: {printable(reading.lost)}. What stands below is {span(reading.age)} old. "
        lost = [Text(warning, style="bold white on red")]
    return [title, *lost, Text(""), _verdicts(reading.content.verdicts)]


def _body(content: Content, room: tables.Room, *, holders: int) -> list[RenderableType]:
    parts: Sequence[RenderableType | None] = (
        tables.pools(content, room),
        tables.holders(content, room, most=holders),
        tables.matches(content, room),
        tables.servers(content, room),
        tables.unowned(content),
        tables.findings(content),
    )
    return [each for part in parts if part is not None for each in (Text(""), part)]


def _verdicts(found: Sequence[Verdict]) -> Table:
    grid = Table.grid(padding=(0, 1))
    grid.add_column(no_wrap=True)
    grid.add_column(overflow="fold")
    worst, *others = found
    grid.add_row(*_verdict(worst))
    if worst.do:
        grid.add_row(Text("do", style="bold", justify="right"), Text(printable(worst.do), style="bold"))
    for each in others[:_OTHERS]:
        grid.add_row(*_verdict(each))
    if len(others) > _OTHERS:
        grid.add_row("", Text(f"and {len(others) - _OTHERS} more, less bad", style="dim"))
    return grid


def _verdict(verdict: Verdict) -> tuple[Text, Text]:
    where = printable(verdict.pool or verdict.server)
    badge = Text(f" {printable(name_of(verdict.verdict)).upper()} ", style=_LEVELS.get(verdict.level, "bold"))
    return badge, Text.assemble((f"{where}: " if where else "", "bold"), printable(verdict.what))
