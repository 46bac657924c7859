"""The command line: what `pool-exporter` understands, and the exit code that each answer has.

0 is good, 1 is bad news (the answer itself), 2 is used wrongly or cannot run.
"""

from __future__ import annotations

import contextlib
import difflib
import functools
import gc
import sys
from collections.abc import Iterator
from pathlib import Path

import click

from exporter import runner, servers, serving
from exporter.commands import Commands
from exporter.config import Config, ConfigError, load
from exporter.demo.scenarios import SCENARIOS, Scenario
from exporter.doctor import Diagnosis, Unseen, for_machines, for_people, look
from exporter.extras import missing_library
from exporter.stdout import writing
from exporter.top.command import top
from exporter.values import duration
from exporter.version import VERSION

GOOD, BAD_NEWS, CANNOT_RUN = 0, 1, 2

_FILE = click.Path(path_type=Path)


def _seconds(_context: click.Context, _option: click.Parameter, value: str | None) -> float | None:
    try:
        return None if value is None else duration(value)
    except ValueError as error:
        raise click.BadParameter(str(error)) from None


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(VERSION, prog_name="pool-exporter", message="%(prog)s %(version)s")
def cli() -> None:
    """Hold SQLAlchemy's connection pools against the database server's own sessions, for Prometheus.

    Exit codes: 0 good, 1 the answer is bad news, 2 used wrongly or cannot run.
    """


@cli.command(epilog="Example: pool-exporter serve --config config.yaml")
@click.option(
    "--config",
    "file",
    type=_FILE,
    required=True,
    metavar="FILE",
    help="The configuration, for example config.example.yaml.",
)
def serve(file: Path) -> None:
    """Sample the servers, gather the pools and serve the page, until SIGTERM or Ctrl-C.

    With faults in the configuration nothing is started, and the exit code is 2.
    """
    try:
        config = _load(file)
    except ConfigError as error:
        _print_faults(file, error, to_stderr=True)
        click.echo("pool-exporter: nothing was started", err=True)
        sys.exit(CANNOT_RUN)
    # What was loaded stays to the end. A scrape of many processes makes so many objects that the collector would go
    # through all of it each time, which takes as long as the scrape itself.
    gc.collect()
    gc.freeze()
    sys.exit(serving.serve(config, file=file, again=functools.partial(load, file, offers=servers.offers())))


@cli.command(
    context_settings={"allow_interspersed_args": False}, epilog="Example: pool-exporter run -- gunicorn app:app"
)
@click.argument("command", nargs=-1, required=True, type=click.UNPROCESSED, metavar="-- COMMAND...")
def run(command: tuple[str, ...]) -> None:
    """Start a program as it is, with every SQLAlchemy engine of it and of its child processes instrumented.

    It takes the place of this command: signals and the exit code are the program's own. What it counts is on its own
    /metrics, if it has one, and with POOL_EXPORTER_DIR set in that directory, for the sidecar. The exit code is 2 when
    the program cannot be started.
    """
    sys.exit(runner.run(command))


@cli.command("check-config", epilog="Example: pool-exporter check-config config.yaml")
@click.argument("file", type=_FILE, metavar="FILE")
def check_config(file: Path) -> None:
    """Check a configuration, its secrets included, and list every fault as FILE:LINE:COLUMN: KEY: what to do.

    The exit code is 0 when it is good, 1 when it has faults, and 2 when it cannot be read. Nothing is started, and no
    server is asked.
    """
    try:
        config = _load(file)
    except ConfigError as error:
        with writing():
            _print_faults(file, error, to_stderr=False)
        sys.exit(BAD_NEWS)
    with writing():
        click.echo(f"{click.format_filename(file)}: good; {_summary(config)}")


@cli.command(epilog="Example: pool-exporter doctor --config config.yaml")
@click.option("--config", "file", type=_FILE, required=True, metavar="FILE", help="The configuration of the sidecar.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON, for machines.")
@click.option(
    "--wait",
    callback=_seconds,
    default="3s",
    show_default=True,
    metavar="DURATION",
    help="How long at most to wait for the processes' reports, for example 10s.",
)
def doctor(file: Path, *, as_json: bool, wait: float) -> None:
    """Look once at every pool and server, and say what is wrong and which line to change.

    The exit code is 0 when all is healthy, 1 when something is wrong, and 2 when not everything could be looked at: a
    server is down, no process publishes, or the configuration is faulty. What could be seen is printed all the same.
    """
    try:
        diagnosis = look(load(file, offers=servers.offers()), wait=wait)
    except (OSError, ConfigError) as error:
        faults = (
            [(fault.file or file, str(fault)) for fault in error.faults]
            if isinstance(error, ConfigError)
            else ([(file, str(error.strerror))])
        )
        unseen = [Unseen("configuration", click.format_filename(name), fault) for name, fault in faults]
        diagnosis = Diagnosis(unseen=unseen)
    with writing():
        click.echo(for_machines(diagnosis) if as_json else for_people(diagnosis))
    sys.exit(diagnosis.exit_code)


@cli.command(epilog="Example: pool-exporter demo --scenario leak --for 60s")
@click.option(
    "--for",
    "seconds",
    callback=_seconds,
    metavar="DURATION",
    help="End by itself after this long, for example 30s. Default: run until Ctrl-C; a scenario takes about a minute.",
)
@click.option("--scenario", "name", metavar="NAME", help="Play one trouble alone, explain it, and cure it.")
@click.option(
    "--on",
    type=click.Choice(["postgresql", "mariadb"]),
    help="The database server of the scenario.  [default: postgresql]",
)
@click.option("--list", "listing", is_flag=True, help="List the scenarios, one a line.")
def demo(seconds: float | None, name: str | None, on: str | None, *, listing: bool) -> None:
    """Show the whole thing at work on this machine: real servers, a small shop with traffic, and the sidecar.

    With --scenario it is one trouble alone: how it comes about, what shows it, and what cures it. Everything that is
    started is gone afterwards.
    """
    if listing:
        with writing():
            click.echo("\n".join(f"{each.name:<20} {each.title}" for each in SCENARIOS.values()))
        return
    if name is None and on is not None:
        raise click.UsageError("--on chooses the server of a scenario; name one with --scenario, see --list")
    scenario = None if name is None else _scenario(name, on or "postgresql")
    with _demo_extra():
        sys.exit(_play(scenario, on or "postgresql", seconds))


cli.add_command(top)


def _scenario(name: str, on: str) -> Scenario:
    scenario = SCENARIOS.get(name)
    if scenario is None:
        near = difflib.get_close_matches(name, SCENARIOS, n=1)
        hint = f"did you mean {near[0]!r}? " if near else ""
        raise click.BadParameter(f"there is no scenario {name!r}; {hint}--list shows all", param_hint="--scenario")
    if on not in scenario.servers:
        where = " or ".join(scenario.servers)
        raise click.BadParameter(f"{name} cannot be played on {on}; write --on {where}", param_hint="--on")
    return scenario


def _play(scenario: Scenario | None, on: str, seconds: float | None) -> int:
    # Inside: the demo's libraries are an extra of their own. The parts load the first where nobody could be told.
    import fastapi  # noqa: F401, PLC0415

    if scenario is None:
        from exporter.demo.run import run  # noqa: PLC0415

        return run(seconds)
    from exporter.demo.lab.run import run as play  # noqa: PLC0415

    return play(scenario, on, seconds)


@contextlib.contextmanager
def _demo_extra() -> Iterator[None]:
    try:
        yield
    except ModuleNotFoundError as error:
        click.echo(missing_library(error, "demo"), err=True)
        sys.exit(CANNOT_RUN)


def _load(file: Path) -> Config:
    try:
        return load(file, offers=servers.offers())
    except OSError as error:
        click.echo(
            f"pool-exporter: cannot read {click.format_filename(file)}: {error.strerror}; name a file that it may read",
            err=True,
        )
        sys.exit(CANNOT_RUN)


def _print_faults(file: Path, error: ConfigError, *, to_stderr: bool) -> None:
    for fault in error.faults:
        click.echo(f"{click.format_filename(fault.file or file)}:{fault}", err=to_stderr)


def _summary(config: Config) -> str:
    servers = ", ".join(f"{server.name} ({server.dialect})" for server in config.servers)
    host = f"[{config.web.host}]" if ":" in config.web.host else config.web.host
    return (
        f"listens on {host}:{config.web.port}; processes in {config.processes.directory or 'no directory'}; "
        f"servers: {servers or 'none'}"
    )
