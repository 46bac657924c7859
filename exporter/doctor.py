"""The doctor: looks once at everything, and says in words or as JSON what is wrong and what to change."""

from __future__ import annotations

import json
import math
import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from exporter.acquaintance import ENOUGH
from exporter.conclusions import Finding, Overview, Trouble
from exporter.config import Config
from exporter.labels import REJECTED
from exporter.owners import owners
from exporter.readable import printable
from exporter.records import PoolSnapshot, ServerView
from exporter.sidecar import Sidecar
from exporter.troubles import troubles

HEALTHY, ILL, UNSEEN = 0, 1, 2
"""The exit codes: nothing is wrong, something is, or not everything could be looked at."""

_EVERY = 0.1  # seconds between looks for the reports that are waited for


@dataclass(frozen=True)
class Unseen:
    """What could not be looked at, by kind and name, and why."""

    kind: str
    name: str
    why: str

    def __str__(self) -> str:
        return f"{self.kind} {self.name}: {self.why}"


@dataclass(frozen=True)
class Diagnosis:
    """All that one look found out. ``pools`` are by server; those of no server that is set up are under ""."""

    servers: Sequence[ServerView] = ()
    pools: Mapping[str, Sequence[str]] = field(default_factory=dict)
    findings: Sequence[Finding] = ()
    troubles: Sequence[Trouble] = ()
    unseen: Sequence[Unseen] = ()

    @property
    def exit_code(self) -> int:
        """Return the command's answer; that not all was seen weighs more than what was."""
        if self.unseen:
            return UNSEEN
        return ILL if self.findings or self.troubles else HEALTHY


def look(config: Config, *, wait: float) -> Diagnosis:
    """Look once, and say what is wrong with what was seen."""
    seen, reported = glance(config, wait=wait)
    return _diagnosis(config, seen, unseen=_unseen_processes(config, reported=reported))


def glance(config: Config, *, wait: float) -> tuple[Overview, bool]:
    """Sample every server, and hold it against what the processes report within ``wait`` seconds after that.

    A connection that the server does not know is stale only if its pool says afterwards that it still has it, and if
    the ids of its pool mean anything there. Where one sample cannot tell, it takes a few. Tells too whether any process
    has reported.
    """
    # A sample is shown for some intervals, which matters to a clock; here it is to last for this look, however long.
    lasting = [replace(each, interval=each.interval + ENOUGH * (wait + 2 * each.timeout)) for each in config.servers]
    sidecar = Sidecar(replace(config, servers=tuple(lasting)))
    try:
        _await(lambda: sidecar.reported_since(0.0), wait if config.processes.directory else 0.0)
        sidecar.sample()
        if any(view.reason == "timeout" for view in sidecar.overview().servers):
            # `serve` asks again soon. One look has only this: a new connection takes longer than all that follows.
            sidecar.sample()
        reported = sidecar.reported_since(0.0)
        _hear(sidecar, wait if reported else 0.0)
        for _ in range(ENOUGH):
            if _is_told(sidecar.overview()):
                break
            sidecar.sample()
            _hear(sidecar, wait if reported else 0.0)
        return sidecar.overview(), reported
    finally:
        sidecar.stop()


def for_people(diagnosis: Diagnosis) -> str:
    """Write it down by server and pool; what is well takes one line."""
    views = {view.name: view for view in diagnosis.servers}
    lines = [line for name in (*views, "") for line in _server(diagnosis, name, views.get(name))]
    lines += [f"could not look at {unseen}" for unseen in diagnosis.unseen]
    return "\n".join(map(printable, [*lines, _conclusion(diagnosis)]))


def for_machines(diagnosis: Diagnosis) -> str:
    """Write it down as JSON; keys are only ever added."""
    servers = [
        {
            "server": view.name,
            "up": view.up,
            "dialect": None if view.snapshot is None else view.snapshot.dialect,
            "version": None if view.snapshot is None else view.snapshot.version,
            "pools": list(diagnosis.pools.get(view.name, ())),
        }
        for view in diagnosis.servers
    ]
    content = {
        "exit_code": diagnosis.exit_code,
        "findings": [asdict(each) for each in diagnosis.findings],
        "troubles": [asdict(each) for each in diagnosis.troubles],
        "unseen": [asdict(each) for each in diagnosis.unseen],
        "servers": servers,
        "pools_of_no_server": list(diagnosis.pools.get("", ())),
    }
    return json.dumps(content, indent=2)


def _hear(sidecar: Sidecar, wait: float) -> None:
    now = time.time()
    _await(lambda: sidecar.reported_since(now), wait)


def _is_told(seen: Overview) -> bool:
    """Tell whether it is known of every connection what the server says of it, where that can be known."""
    placed = {match.pool: sum(match.pairs.values()) for match in seen.matches if match.possible}
    return all(pool.idle + pool.used <= placed.get(pool.identity.name, math.inf) for pool in seen.pools)


def _await(happened: Callable[[], bool], seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not happened() and time.monotonic() < deadline:
        time.sleep(_EVERY)


def _diagnosis(config: Config, seen: Overview, *, unseen: Iterable[Unseen]) -> Diagnosis:
    by_server: dict[str, list[PoolSnapshot]] = {server.name: [] for server in config.servers}
    for pool in seen.pools:
        for name in _servers_of(pool, config, seen) or [""]:
            by_server.setdefault(name, []).append(pool)
    return Diagnosis(
        servers=seen.servers,
        pools={name: [pool.identity.name for pool in pools] for name, pools in by_server.items()},
        findings=seen.findings,
        troubles=[
            trouble
            for name, pools in by_server.items()
            for pool in pools
            for trouble in troubles(pool, name, matches=seen.matches)
        ],
        unseen=[*unseen, *_rejected(seen, config.processes.directory), *_unseen_servers(seen.servers)],
    )


def _servers_of(pool: PoolSnapshot, config: Config, seen: Overview) -> list[str]:
    """Return the servers of a pool. One name may stand for pools on several: the sum has the address of one of them."""
    name = pool.identity.name
    met = {match.server for match in seen.matches if match.pool == name}
    found = {finding.server for finding in seen.findings if finding.pool == name}
    return sorted(met | found | {server.name for server in owners(pool.identity, config.servers)})


def _unseen_processes(config: Config, *, reported: bool) -> Iterator[Unseen]:
    directory = config.processes.directory
    if directory is None:
        why = "is not set, so no pool can be seen; set it to the POOL_EXPORTER_DIR of the applications"
        yield Unseen("setting", "processes.directory", why)
        return
    try:
        os.scandir(directory).close()
    except OSError as error:
        why = f"{error.strerror or error}; make it, readable to this process and writable for the applications"
        yield Unseen("directory", str(directory), why)
        return
    if not reported:
        why = "no process that lives publishes there; start the applications with POOL_EXPORTER_DIR set to it"
        yield Unseen("directory", str(directory), why)


def _rejected(seen: Overview, directory: Path | None) -> Iterator[Unseen]:
    for reason, count in seen.rejected.items():
        if count:  # of versions, of which one file may have had several meanwhile
            yield Unseen("directory", str(directory), f"a file in it could not be read: {REJECTED[reason]}")


def _unseen_servers(views: Sequence[ServerView]) -> Iterator[Unseen]:
    if not views:
        yield Unseen("setting", "servers", "is empty; name each database server there")
    for view in views:
        if view.snapshot is None or not view.up:
            yield Unseen("server", view.name, f"{view.message} ({view.reason})" if view.reason else view.message)


def _server(diagnosis: Diagnosis, name: str, view: ServerView | None) -> Iterator[str]:
    pools = diagnosis.pools.get(name, ())
    if view is not None:
        yield f"{name}: {_state(view)}"
    elif pools:
        yield "of no server that is set up:"
    for pool in pools:
        wrong = list(_pool(diagnosis, name, pool))
        yield f"  {pool}{':' if wrong else ': healthy' if view is not None and view.snapshot is not None else ''}"
        yield from wrong
    if view is not None and not pools:
        yield "  no pool of this server is published"


def _state(view: ServerView) -> str:
    if view.snapshot is None:
        return "not seen"
    sample = view.snapshot
    most = "" if sample.connections_max is None else f" of {sample.connections_max}"
    return f"{sample.dialect} {sample.version}, {sample.connections}{most} connections"


def _pool(diagnosis: Diagnosis, server: str, pool: str) -> Iterator[str]:
    for trouble in diagnosis.troubles:
        if (trouble.server, trouble.pool) == (server, pool):
            yield f"    now: {trouble.what} ({trouble.trouble})"
            yield from (f"      {count} taken at {site}" for site, count in trouble.sites.items())
    for finding in diagnosis.findings:
        if (finding.server, finding.pool) == (server, pool):
            yield f"    {finding.severity}: {finding.pool_says}; {finding.held_against} ({finding.finding})"
            yield f"      {finding.why}"
            yield f"      change: {finding.change}"


def _conclusion(diagnosis: Diagnosis) -> str:
    counts = ((len(diagnosis.troubles), "trouble"), (len(diagnosis.findings), "finding"))
    wrong = " and ".join(f"{count} {thing}{'' if count == 1 else 's'}" for count, thing in counts if count)
    partly = "; not everything could be looked at" if diagnosis.unseen else ""
    return f"{wrong or 'nothing wrong was found'}{partly}"
