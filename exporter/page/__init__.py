"""The status page for people: what is known now, the worst first, as one HTML document that needs nothing else."""

from __future__ import annotations

import time

from exporter.conclusions import Overview
from exporter.page.assets import BUILD, ICONS, POLICY, SCRIPT, STYLE
from exporter.page.cells import text
from exporter.page.conclusion import conclusion, headline
from exporter.page.held import holders, unowned
from exporter.page.matrix import matrices
from exporter.page.pools import pools
from exporter.page.servers import servers
from exporter.page.settings import findings, processes
from exporter.verdicts import verdicts
from exporter.version import VERSION

__all__ = ["POLICY", "SCRIPT", "STYLE", "render"]

_PAGE = """<!DOCTYPE html>
<html lang="en" data-build="{build}">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{headline} - connection pools</title>
<link rel="icon" id="icon" href="{icon}">
<noscript><meta http-equiv="refresh" content="5"></noscript>
<style>{style}</style>
</head>
<body>
<div id="lost" role="alert" hidden><p>The sidecar is not reachable: <span id="lost-why"></span>. What stands below is
<span aria-live="off"><span id="lost-age"></span> old</span> and may be wrong by now.
It is tried again all the time.</p></div>
<header><h1>Connection pools and their servers</h1><p id="freshness"><span id="age">as of</span></p></header>
<p id="said" class="said" role="status">{headline}</p>
<main data-now="{now!r}">
<p class="quiet">As of <time datetime="{iso}">{moment} UTC</time>, {processes}. pool-exporter {version}.</p>
{sections}</main>
<footer><nav aria-label="For programs"><a href="metrics">Metrics</a><a href="-/healthy">Healthy</a>
<a href="-/ready">Ready</a><a href="api/v1/pools">Pools as JSON</a><a href="api/v1/holders">Holders as JSON</a></nav>
</footer>
<script>{script}</script>
</body>
</html>
"""


def render(seen: Overview, *, leak_after: float) -> str:
    """Return the page. A checkout older than ``leak_after`` seconds is marked."""
    found, when = verdicts(seen), time.gmtime(seen.now)
    parts = (
        conclusion(found),
        pools(seen, found, leak_after=leak_after),
        holders(seen, leak_after=leak_after),
        matrices(seen, found),
        servers(seen, found),
        unowned(seen),
        findings(seen),
        processes(seen),
    )
    return _PAGE.format(
        build=BUILD,
        style=STYLE,
        script=SCRIPT,
        icon=ICONS[found[0].level],
        headline=text(headline(found)),
        version=text(VERSION),
        now=seen.now,
        iso=time.strftime("%Y-%m-%dT%H:%M:%SZ", when),
        moment=time.strftime("%Y-%m-%d %H:%M:%S", when),
        processes=_processes(seen),
        sections="".join(parts),
    )


def _processes(seen: Overview) -> str:
    live = sum(report.state == "live" for report in seen.processes)
    silent, rejected = len(seen.processes) - live, sum(seen.rejected.values())
    said = f"{live} live process{'' if live == 1 else 'es'}"
    said += f", {silent} alive but silent" if silent else ""
    return said + (f", {rejected} file{'' if rejected == 1 else 's'} rejected" if rejected else "")
