"""The command: reads once or again and again, and has the exit code that the answer has."""

from __future__ import annotations

import contextlib
import json
import os
import sys
from collections.abc import Callable

from rich.console import Console

from exporter.stdout import writing
from exporter.top.documents import Content, UnreadableError, check
from exporter.top.live import watch, write
from exporter.top.screen import Reading, whole
from exporter.top.sources import Source

GOOD, BAD_NEWS, CANNOT_RUN = 0, 1, 2

_PLAIN_WIDTH = 120


def once(source: Source, *, as_json: bool) -> int:
    """Print how things stand; return 1 when something is wrong, now or soon, and 2 when nothing can be read."""
    try:
        document = source.read()
        content = check(document)
    except UnreadableError as error:
        return _cannot(source, error)
    code = _answer(content)
    with writing():
        if as_json:
            told = {"exit_code": code, "source": source.name, **document}
            print(json.dumps(told, indent=2, allow_nan=False), flush=True)  # noqa: T201
        else:
            _write(_console(), Reading(content, source.name))
    return code


def live(source: Source) -> int:
    """Show how things stand until somebody has seen enough. Not to be reachable later on ends nothing."""
    try:
        first = check(source.read())
    except UnreadableError as error:
        return _cannot(source, error)
    console = _console()
    with contextlib.suppress(KeyboardInterrupt):
        if console.is_terminal and not console.is_dumb_terminal:
            watch(source, first, console)
        else:
            with writing():
                write(source, first, _printer(console))
    return GOOD


def _printer(console: Console) -> Callable[[Reading], None]:
    def show(reading: Reading) -> None:
        _write(console, reading)
        print(flush=True)  # noqa: T201

    return show


def _write(console: Console, reading: Reading) -> None:
    # rich would end the program where nobody reads any more; we say ourselves what that means.
    with console.capture() as captured:
        console.print(whole(reading, console))
    print(captured.get(), end="", flush=True)  # noqa: T201


def _answer(content: Content) -> int:
    return BAD_NEWS if any(each.level in ("bad", "warning") for each in content.verdicts) else GOOD


def _cannot(source: Source, error: UnreadableError) -> int:
    print(f"pool-exporter: {source.name}: {error}", file=sys.stderr)  # noqa: T201
    return CANNOT_RUN


def _console() -> Console:
    """Return where to write: a terminal as it is, else plain text, whatever variables such as FORCE_COLOR say."""
    if sys.stdout.isatty():
        return Console(highlight=False)
    told = os.environ.get("COLUMNS", "")
    width = (int(told) if told.isascii() and told.isdigit() else 0) or _PLAIN_WIDTH
    return Console(force_terminal=False, no_color=True, color_system=None, width=width, highlight=False)
