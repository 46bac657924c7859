"""What is set up so that it will fail, with the line to change; and the processes that all this comes from."""

from __future__ import annotations

from exporter.conclusions import Finding, Overview
from exporter.page.cells import Cell, Row, identifier, nothing, number_cell, section, table, text
from exporter.processes import process_name
from exporter.readable import span
from exporter.records import ProcessReport

_HEAD = ("process", "state", "#pools", "#connections", "#reported")
_MOST = 100
_SILENT = '<p class="quiet">Silent: it lives, but its last report is old. That still counts.</p>\n'


def findings(seen: Overview) -> str:
    """Return how pools are set up so that they will fail, what will fail first, and the cure of each."""
    ordered = sorted(seen.findings, key=lambda each: each.severity, reverse=True)
    return section(
        "findings", "Settings that will hurt", "".join(map(_finding, ordered)) or nothing("Nothing to change is known.")
    )


def processes(seen: Overview) -> str:
    """Return the processes that publish, folded up: the silent ones and the oldest reports first."""
    ordered = sorted(seen.processes, key=lambda each: (each.state, each.age), reverse=True)
    body = table("processes", _HEAD, map(_process, ordered[:_MOST]), "No process publishes.")
    silent = sum(each.state == "silent" for each in seen.processes)
    summary = f"{len(seen.processes)} in all{f', {silent} silent' if silent else ''}"
    folded = f'<details id="all-processes"><summary>{summary}</summary>{body}{_SILENT}</details>\n'
    return section("processes", "Processes", folded)


def _finding(finding: Finding) -> str:
    key = identifier("finding", finding.pool, finding.server, finding.finding)
    return (
        f'<div class="finding" id="{key}"><h3>{text(finding.pool)} on {text(finding.server)}: '
        f"{text(finding.finding.replace('_', ' '))}</h3>\n"
        f'<p class="quiet">{text(finding.severity)}: {text(finding.pool_says)}; {text(finding.held_against)}</p>\n'
        f'<p>{text(finding.why)}</p>\n<p class="change">Change: <code>{text(finding.change)}</code></p></div>\n'
    )


def _process(report: ProcessReport) -> Row:
    pools = report.snapshot.pools
    silent = report.state == "silent"
    cells = (
        Cell(process_name(report)),
        Cell("resting" if report.snapshot.resting else report.state, level="warning" if silent else None),
        number_cell(len(pools)),
        number_cell(sum(pool.idle + pool.used for pool in pools)),
        Cell(f"{span(report.age)} ago", number=True),
    )
    return Row((report.snapshot.id, process_name(report)), cells)
