"""What sampling costs a server, beside others that ask it, and whether it is within bounds: `scripts/bench sampling`.

Opens real sessions on private servers, runs our sidecar and its peers side by side, prints tables, writes the figures
as JSON, and exits 1 when a requirement is missed.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import platform
import resource
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from prometheus_client import CollectorRegistry
from sampling_connects import connects
from sampling_exporters import Exporter, running_exporter
from sampling_peers import floor, peers
from sampling_report import bounds, report, table
from sampling_rounds import Rounds
from sampling_servers import Kind, Server, kinds, serving
from sampling_sessions import Sessions
from sampling_stage import Stage
from sqlalchemy import create_engine

import exporter
from exporter.demo.client import ask

HERE = Path(__file__).resolve().parent
POOLED = 20
"""So many of the sessions are a pool's, which a process publishes: their ids are what the match asks for."""


def main() -> int:
    """Measure, print, write; return 0 when every requirement is kept, else 1."""
    options = _options()
    _raise_limit(max(options.sessions) + 1000)
    figures = _measured(options)
    print(report(figures))
    written = options.json or HERE / "results" / "sampling.json"
    written.parent.mkdir(parents=True, exist_ok=True)
    written.write_text(json.dumps(figures, indent=2) + "\n")
    print(f"\nwritten to {written}", file=sys.stderr)
    return 0 if all(bound.kept or bound.is_goal for bound in bounds(figures)) else 1


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="scripts/bench sampling", description="What sampling a server costs it.")
    parser.add_argument("--servers", nargs="+", choices=kinds(), default=list(kinds()), help="which (default: all)")
    parser.add_argument("--sessions", nargs="+", type=int, default=[100, 1000, 5000], help="default: 100 1000 5000")
    parser.add_argument("--rounds", type=int, default=40, help="at most so many samples of each (default 40)")
    parser.add_argument("--turns", type=int, default=4, help="turns of connecting, with and without (default 4)")
    parser.add_argument("--quick", action="store_true", help="few sessions: shows that it runs, not what it costs")
    parser.add_argument("--json", type=Path, help="where to write (default: benchmarks/results/sampling.json)")
    parser.add_argument("--query-exporter", metavar="PROGRAM", help="of the environment that has it")
    options = parser.parse_args()
    if options.quick:
        options.sessions, options.rounds, options.turns = [60], 4, 2
    return options


def _measured(options: argparse.Namespace) -> dict[str, Any]:
    servers = {}
    for key in options.servers:
        kind = kinds()[key]
        if kind.missing:
            print(f"NOT MEASURED: {kind.name}: {kind.missing}", file=sys.stderr)
        else:
            servers[key] = _rounded(_server_figures(kind, options))
            _say(table(servers[key]))
    return {"python": platform.python_version(), "cores": os.cpu_count(), "servers": servers}


def _server_figures(kind: Kind, options: argparse.Namespace) -> dict[str, Any]:
    sizes: dict[str, Any] = {}
    source = ""
    with (
        _folder() as folder,
        serving(kind, folder / "server", max(options.sessions)) as server,
        contextlib.closing(Sessions(server.applications)) as sessions,
        _pool(server) as pool,
    ):
        for size in sorted(options.sessions):
            _say(f"{kind.name}: {size} sessions")
            sessions.grow(size - POOLED)
            stage = Stage(server, sessions, pool, folder / str(size), size)
            sizes[str(size)], source = _side_by_side(stage, options)
        sizes[str(size)]["connects"] = _connects(stage, options)
    return {"name": kind.name, "version": server.version, "source": source, "sizes": sizes}


def _side_by_side(stage: Stage, options: argparse.Namespace) -> tuple[dict[str, Any], str]:
    """Return what one number of sessions costs, and the table that was asked."""
    interval = 0.5 if options.quick else 1.0 if stage.size <= 1000 else 2.0
    with contextlib.ExitStack() as stack:
        running = [stack.enter_context(running_exporter(stage.ours(interval), stage.folder))]
        launches = [
            floor(_page(stage, running[0])),
            *peers(stage.server, stage.folder, query_exporter=options.query_exporter),
        ]
        running += [stack.enter_context(running_exporter(launch, stage.folder)) for launch in launches]
        rounds = Rounds(
            running,
            stage.clock(),
            wake=lambda: stage.sessions.touch(max(stage.size // 50, 1)),
            publishing=stage.publishing,
        )
        rounds.run(least=min(options.rounds, 20), most=options.rounds)
        with stage.publishing():
            return rounds.figures(), stage.check(running[0])


def _page(stage: Stage, sidecar: Exporter) -> Path:
    """Keep a page of ours that shows everything, for a peer that is to have as many series."""
    page = stage.folder / "page.txt"
    with stage.publishing():
        stage.check(sidecar)
        page.write_text(ask(sidecar.page).body)
    return page


def _connects(stage: Stage, options: argparse.Namespace) -> dict[str, Any]:
    with stage.publishing(), running_exporter(stage.ours(1.0), stage.folder) as ours_again:
        seconds = 0.5 if options.quick else 10.0
        return connects(stage.server.applications, ours_again.pid, turns=options.turns, seconds=seconds)


@contextlib.contextmanager
def _pool(server: Server) -> Iterator[exporter.Instrumentation]:
    """Hold a pool of an application, with all of its connections open and idle."""
    engine = create_engine(server.applications, pool_size=POOLED, max_overflow=0)
    try:
        handle = exporter.instrument(engine, name="shop", registry=CollectorRegistry())
        for connection in [engine.connect() for _ in range(POOLED)]:
            connection.close()
        yield handle
    finally:
        engine.dispose()


@contextlib.contextmanager
def _folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="pool-exporter-bench-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        folder.chmod(0o711)  # PostgreSQL runs as another user, who has to get through
        yield folder


def _raise_limit(descriptors: int) -> None:
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    if most != resource.RLIM_INFINITY and most < descriptors:
        sys.exit(f"error: {descriptors} open files are needed, {most} allowed; raise it with ulimit -n, or --sessions")
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def _say(what: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} {what}", file=sys.stderr, flush=True)


def _rounded(figures: Any) -> Any:
    return json.loads(json.dumps(figures), parse_float=lambda text: round(float(text), 2))


if __name__ == "__main__":
    sys.exit(main())
