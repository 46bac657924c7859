"""What drivers say when a connection is dead: the error's code, one of a short list."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from itertools import islice

from exporter.labels import STALE_CODES

_DEEPEST = 10
"""How many errors behind an error are looked at. Drivers nest two or three."""


def stale_code(error: BaseException | None) -> str:
    """Return the code that a driver's error carries; ``other`` for none, or one that is not on the list.

    Where the error was raised from others, the one at the bottom counts: what the server said, not what the driver made
    of it. To be called where the error is handled.
    """
    if error is None:
        return "other"
    # mysql-connector's first word has no number; the rollback that SQLAlchemy then tries fails with one. That is the
    # error that is on its way to the user, while the event tells of the first.
    for failure in (error, sys.exc_info()[1]):
        causes = list(islice(_causes(failure), _DEEPEST))
        codes = [code for cause in reversed(causes) for code in _codes(cause) if code in STALE_CODES]
        if codes:
            return codes[0]
    return "other"


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    """Give an error, and one after another those that it was raised from."""
    while error is not None:
        yield error
        error = error.__cause__


def _codes(error: BaseException) -> list[str]:
    """Collect what the drivers call it: SQLSTATE where there is one, else MySQL's number, the first argument."""
    named = [getattr(error, name, None) for name in ("sqlstate", "pgcode", "errno")]
    arguments = error.args
    first = arguments[0] if arguments else None
    if isinstance(first, dict):  # pg8000 hands the server's message over as it came
        first = first.get("C")
    return [str(code) for code in (*named, first) if isinstance(code, int | str)]
