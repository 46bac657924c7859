"""The door of the command: `pool-exporter` and `python -m exporter` begin here."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Sequence
from typing import Any

from exporter import runner
from exporter.extras import missing_library

INTERRUPTED = 130
"""The exit code after Ctrl-C, as a shell says it."""


def main() -> None:
    """Run the command line; without the extra `sidecar`, say how to install it and exit with 2."""
    # An application does not have that extra, and is to be started all the same.
    command = runner.asked(sys.argv[1:])
    if command is not None:
        sys.exit(runner.run(command))
    if sys.argv[1:2] == ["serve"]:
        _heed_signals()
    try:
        from exporter.cli import cli  # noqa: PLC0415  its libraries are an extra, which an application does without
    except ModuleNotFoundError as error:
        print(missing_library(error, "sidecar"), file=sys.stderr)  # noqa: T201  click may be what is missing
        sys.exit(2)
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)  # the libraries take a moment to load
    sys.exit(_run(cli, sys.argv[1:]))


def _run(cli: Any, arguments: Sequence[str]) -> int:
    import click  # noqa: PLC0415  as above

    try:
        code = cli(arguments, prog_name="pool-exporter", standalone_mode=False)
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except click.Abort:
        return INTERRUPTED
    return code if isinstance(code, int) else 0


def _heed_signals() -> None:
    """Until the page is served, end at once and cleanly when told, and take no reload for an end.

    The libraries take a second to load, in which Python would die of each of these signals.
    """
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _leave)


def _leave(_number: int, _frame: Any) -> None:
    os._exit(0)


if __name__ == "__main__":
    main()
