"""The command `pool-exporter top`: its options, and where they lead."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import click

from exporter import servers
from exporter.commands import Command
from exporter.config import ConfigError, load
from exporter.top.documents import UnreadableError
from exporter.top.run import CANNOT_RUN, live, once
from exporter.top.sources import Glance, Local, Login, PasswordFile, Remote, Source

PASSWORD_VARIABLE = "POOL_EXPORTER_PASSWORD"  # noqa: S105  where it is, not what it is
"""Where the password of --user is: whoever may list processes reads every command line."""

_WAIT = 3.0  # seconds that one look waits for the processes' reports
_FILE = click.Path(path_type=Path)


@click.command(cls=Command, epilog="Example: pool-exporter top --url http://127.0.0.1:10306")
@click.option("--config", "file", type=_FILE, metavar="FILE", help="Sample by itself, as this configuration says.")
@click.option("--url", metavar="URL", help="Show what a running sidecar shows, for example http://127.0.0.1:10306.")
@click.option("--once", "just_once", is_flag=True, help="Print everything once, and end.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON once, for machines.")
@click.option("--user", metavar="NAME", help=f"Who asks the sidecar; the password is in {PASSWORD_VARIABLE}.")
@click.option("--password-file", type=_FILE, metavar="FILE", help="The password is the first line of this file.")
@click.option("--ca-file", type=_FILE, metavar="FILE", help="Whose word to take for the certificate of https, as PEM.")
def top(  # noqa: PLR0913  one for each option
    file: Path | None,
    *,
    url: str | None,
    just_once: bool,
    as_json: bool,
    user: str | None,
    password_file: Path | None,
    ca_file: Path | None,
) -> None:
    """Show pools, servers and their match live in the terminal, the worst first; q ends it.

    With --once or --json the exit code is 0 when all is well, 1 when something is wrong or soon will be, and 2 when
    nothing could be read. Otherwise it is 0, and 2 when nothing could be read in the beginning.
    """
    if (file is None) == (url is None):
        raise click.UsageError("give either --config FILE or --url URL")
    if user is None and password_file is not None:
        raise click.UsageError("--password-file needs --user NAME")
    once_only = just_once or as_json
    try:
        if url is not None:
            password = None if password_file is None else PasswordFile(password_file)
            source: Source = _remote(url, Login(user, os.environ.get(PASSWORD_VARIABLE), password, ca_file))
        else:
            source = _own(file or Path(), once_only=once_only)
    except UnreadableError as error:
        click.echo(f"pool-exporter: {error}", err=True)
        sys.exit(CANNOT_RUN)
    try:
        sys.exit(once(source, as_json=as_json) if once_only else live(source))
    except KeyboardInterrupt:
        sys.exit(130)
    finally:
        source.close()


def _remote(url: str, login: Login) -> Source:
    source = Remote(url, login)
    if source.is_overheard:
        click.echo(
            "pool-exporter: warning: over http:// anybody on the way can read the password; use https://", err=True
        )
    return source


def _own(file: Path, *, once_only: bool) -> Source:
    name = str(click.format_filename(file))
    try:
        config = load(file, offers=servers.offers())
    except OSError as error:
        raise UnreadableError(f"cannot read {name}: {error.strerror}; name a file that it may read") from None
    except ConfigError as error:
        faults = "\n".join(f"{click.format_filename(fault.file or file)}:{fault}" for fault in error.faults)
        raise UnreadableError(f"nothing was started, for the configuration has faults:\n{faults}") from None
    return Glance(config, name, wait=_WAIT) if once_only else Local(config, name)
