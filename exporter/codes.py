"""What drivers say when a connection is dead: the error's code, one of a short list."""

from __future__ import annotations

from exporter.records import STALE_CODES


def stale_code(error: BaseException | None) -> str:
    """Return the code that a driver's error carries; ``other`` for none, or one that is not on the list."""
    for code in _codes(error):
        if code in STALE_CODES:
            return code
    return "other"


def _codes(error: BaseException | None) -> list[str]:
    """Collect what the drivers call it: SQLSTATE where there is one, else MySQL's number, the first argument."""
    named = [getattr(error, name, None) for name in ("sqlstate", "pgcode", "errno")]
    arguments = getattr(error, "args", ())
    first = arguments[0] if arguments else None
    if isinstance(first, dict):  # pg8000 hands the server's message over as it came
        first = first.get("C")
    return [str(code) for code in (*named, first) if isinstance(code, int | str)]
