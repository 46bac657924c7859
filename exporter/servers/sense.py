"""Whether what a server said makes sense: one that is none, or that somebody has set up to harm, may say anything."""

from __future__ import annotations

import contextlib
import math
import struct
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from decimal import Decimal, InvalidOperation
from pathlib import Path
from traceback import walk_tb
from typing import Any, NoReturn, TypeVar

from sqlalchemy.exc import InvalidRequestError

from exporter.buckets import SLEEP_BUCKETS
from exporter.folding import LONGEST, cut, sentence, short
from exporter.labels import SESSION_STATES
from exporter.records import Histogram, ServerSnapshot, Session, SessionGroup
from exporter.servers.family import SampleError
from exporter.servers.wire import MOST_BYTES

MOST_ROWS = 250_000
"""How many rows an answer may have. A row of a few bytes takes a hundred here."""

_MOST = 2**63
"""No number of sessions or seconds reaches it, and larger ones do not fit into the float that a page shows."""

_MOST_KINDS = 20  # of timeouts and of counts, of which no family has more than five
_LONGEST_SHOWN = 40
_BUCKETS = len(SLEEP_BUCKETS) + 1

_Row = TypeVar("_Row")


def text(value: object, what: str) -> str:
    """Return a name as a page can show it; raise SampleError where the server has sent something else."""
    if isinstance(value, str):
        return short(value)
    if isinstance(value, (bytes, bytearray)):  # a column that its server calls binary
        return short(bytes(value).decode("utf-8", "backslashreplace"))
    return "" if value is None else _refuse(value, what, "text")


def count(value: object, what: str) -> int:
    """Return a number of things; raise SampleError where the server has sent something else."""
    return int(number(value, what))


def key(value: object, what: str) -> int:
    """Return what a server calls something: a number that may be as large as 64 bits hold."""
    # MySQL makes decimals of what it adds up and chooses from.
    whole = int(value) if isinstance(value, Decimal) and value.is_finite() else value
    return whole if isinstance(whole, int) and abs(whole) <= 2 * _MOST else _refuse(value, what, "id")


def number(value: object, what: str) -> float:
    """Return a number, at least 0: a clock that was set back makes some negative."""
    if isinstance(value, int) and abs(value) < _MOST:
        return max(value, 0)
    # A signalling NaN of decimals cannot even be asked whether it is finite.
    real = float(value) if isinstance(value, Decimal) and value.is_finite() else value
    if isinstance(real, float) and math.isfinite(real) and real < _MOST:
        return max(real, 0.0)
    return _refuse(value, what, "number")


def few(rows: Iterable[_Row]) -> Iterator[_Row]:
    """Give the rows of an answer one by one; raise SampleError where there are more than MOST_ROWS."""
    for number, row in enumerate(rows):
        if number >= MOST_ROWS:
            raise too_much()
        yield row


def too_much() -> SampleError:
    """Return the failure of a server that sends without end."""
    what = f"it has more than {MOST_BYTES >> 20} MiB, or more than {MOST_ROWS} rows"
    return SampleError("query", f"{_SENSELESS}: {what}; {TODO}")


def changing() -> SampleError:
    """Return the failure of a server that takes back what it has told the same connection."""
    what = "it tells of other rights or settings at each login"
    return SampleError("query", f"{_SENSELESS}: {what}; {TODO}")


def checked(snapshot: ServerSnapshot) -> ServerSnapshot:
    """Return a family's snapshot with nothing in it that a page cannot show; raise SampleError for nonsense."""
    with understanding():
        return _counted(_checked(snapshot))


@contextlib.contextmanager
def understanding() -> Iterator[None]:
    """Turn what Python says where an answer has another shape than it must have into SampleError."""
    try:
        yield
    except UnicodeEncodeError as error:
        # It is nothing that a server said. Its words would show a part of the password.
        raise SampleError("other", "the url or its password is no UTF-8 text; write it anew, in UTF-8") from error
    except _NONSENSE as error:
        said = f"{error}{_place(error)}"
        raise SampleError("query", f"{_SENSELESS} ({type(error).__name__}: {said}); {TODO}") from error


# The last three are what Python, struct and SQLAlchemy say of rows and columns that are not there, or are too many.
_NONSENSE = (
    *(TypeError, ValueError, AttributeError, OverflowError, InvalidOperation, AssertionError),
    *(LookupError, struct.error, InvalidRequestError),
)
_OURS = Path(__file__).parents[1]


def _place(error: Exception) -> str:
    """Tell where in our code that was: it may be no server's fault."""
    files = ((Path(frame.f_code.co_filename), line) for frame, line in walk_tb(error.__traceback__))
    places = [f", in {file.name}:{line}" for file, line in files if _OURS in file.parents]
    return places[-1] if places else ""


_SENSELESS = "the server's answer makes no sense"
TODO = "see docs/servers.md for the servers that are known, and look at what stands between here and there"


def _refuse(value: object, what: str, kind: str) -> NoReturn:
    # What is no number may be anything, a password too. Python refuses to write integers of thousands of digits.
    shown = isinstance(value, (float, Decimal)) or (isinstance(value, int) and abs(value) < _MOST**2)
    said = repr(value)[:_LONGEST_SHOWN] if shown else f"of type {type(value).__name__}"
    raise SampleError("query", f"{_SENSELESS}: {what} is {said}, which is no {kind} that there can be; {TODO}")


def _checked(found: ServerSnapshot) -> ServerSnapshot:
    return replace(
        found,
        dialect=text(found.dialect, "the dialect"),
        version=text(found.version, "the version"),
        source=text(found.source, "the source"),
        began=float(found.began),
        ended=float(found.ended),
        connections=count(found.connections, "the number of connections"),
        connections_max=None if found.connections_max is None else count(found.connections_max, "the limit"),
        hidden=None if found.hidden is None else count(found.hidden, "the number of hidden sessions"),
        groups=tuple(some if _is_plain(some) else _group(some) for some in found.groups),
        sleepers=tuple(replace(some, **_who(some), **_slept(some)) for some in found.sleepers),
        transactions=tuple(
            replace(some, **_who(some), longest=number(some.longest, "a transaction's age"))
            for some in found.transactions
        ),
        unclaimed=tuple(replace(some, **_who(some), counts=_counts(some.counts)) for some in found.unclaimed),
        sessions={id_: _session(some) for id_, some in found.sessions.items()},
        idle_timeouts=_numbers(found.idle_timeouts),
        aborted={kind: int(value) for kind, value in _numbers(found.aborted).items()},
        advice=None if found.advice is None else sentence(found.advice),
    )


def _is_plain(group: SessionGroup) -> bool:
    """Tell whether a group is as nearly all are; there may be thousands, and to copy one takes its time."""
    names = (group.user, group.database, group.client)
    return (
        all(type(name) is str and name.isascii() and len(name) <= LONGEST for name in names)
        and type(group.count) is int
        and 0 <= group.count < _MOST
        and group.state in SESSION_STATES
    )


def _group(group: SessionGroup) -> SessionGroup:
    state = group.state if group.state in SESSION_STATES else "other"
    return replace(group, **_who(group), count=count(group.count, "a count"), state=state)


def _counted(found: ServerSnapshot) -> ServerSnapshot:
    """Note how many names were cut."""
    unusual = [some for some in found.groups if not _is_plain(some)]
    rows: tuple[Iterable[Any], ...] = (unusual, found.sleepers, found.transactions)
    names = {name for some in rows for row in some for name in _who(row).values()}
    long = cut([*names, found.version, found.source])
    return replace(found, folded={**found.folded, "long": long}) if long else found


def _who(row: Any) -> dict[str, Any]:
    return {name: text(getattr(row, name), f"a {name}") for name in _NAMES if hasattr(row, name)}


_NAMES = ("user", "database", "client", "place")


def _slept(row: Any) -> dict[str, Any]:
    known: Histogram = row.sleep_seconds
    return {
        "sleep_seconds": Histogram(_counts(known.counts), number(known.sum, "a sum of seconds")),
        "longest": number(row.longest, "a sleep"),
        "stale": count(row.stale, "the number of stale sessions"),
    }


def _session(session: Session) -> Session:
    account = None
    if session.account is not None:
        user, database = session.account
        account = text(user, "a user"), text(database, "a database")
    return replace(
        session,
        seconds=None if session.seconds is None else number(session.seconds, "a session's time"),
        age=None if session.age is None else number(session.age, "a session's age"),
        started=None if session.started is None else number(session.started, "a session's start"),
        account=account,
        client=text(session.client, "a client"),
        place=text(session.place, "a place"),
    )


def _counts(counts: Iterable[object]) -> tuple[int, ...]:
    """Return how many slept how long, by bucket."""
    buckets = tuple(count(each, "a count") for each in counts)
    return buckets if len(buckets) == _BUCKETS else _refuse(len(buckets), "the number of buckets", "histogram")


def _numbers(found: Mapping[str, float]) -> dict[str, float]:
    some = sorted(found.items())[:_MOST_KINDS]
    return {text(name, "a name"): number(value, "a setting") for name, value in some}
