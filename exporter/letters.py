"""One letter: a file that somebody put into the letterbox, read with care, or rejected with a reason."""

from __future__ import annotations

import math
import os
import stat
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from pydantic import TypeAdapter, ValidationError

from exporter.publish import FORMAT
from exporter.records import HISTOGRAMS, Histogram, PoolSnapshot, ProcessSnapshot

MOST_BYTES = 8 * 1024 * 1024
"""A connection takes some 90 bytes, so this is 90 000 of them in one process."""

MOST_POOLS = 1000

_MOST = 2**63
"""No count reaches it, and larger integers do not fit into the float that the page shows."""

_MOST_LABELS = 100
_LONGEST_TEXT = 1000
"""More than any application has, and little enough that one file cannot hold up the page for all."""


class RejectedError(Exception):
    """A file that is not read; ``reason`` is one of REJECT_REASONS."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


@dataclass(frozen=True)
class _Header:
    format: int


_HEADER = TypeAdapter(_Header)
_CONTENT = TypeAdapter(ProcessSnapshot)


def open_letter(path: str, status: os.stat_result) -> ProcessSnapshot:
    """Read a file whose ``status`` was just seen; raise RejectedError or OSError when it cannot be a snapshot."""
    return _understood(read_carefully(path, status))


def read_carefully(path: str, status: os.stat_result) -> bytes:
    """Read a file whose ``status`` was just seen, if it is a regular one of a size that makes sense."""
    if not stat.S_ISREG(status.st_mode):
        raise RejectedError("not_regular")  # unopened: to open a device or a pipe is to do something to it
    if status.st_size > MOST_BYTES:
        raise RejectedError("too_big")
    with open(path, "rb", opener=_carefully) as file:
        content = file.read(MOST_BYTES + 1)
    if len(content) > MOST_BYTES:
        raise RejectedError("too_big")
    return content


def are_sound(pools: Iterable[PoolSnapshot]) -> bool:
    """Tell whether every number can be added up and shown: no NaN, nothing endless but a limit, nothing below 0."""
    return all(map(_is_sound, pools))


def _carefully(path: str, flags: int) -> int:
    """Open without following a link or waiting for a writer, should one have taken the file's place by now."""
    handle = os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    if stat.S_ISREG(os.fstat(handle).st_mode):
        return handle
    os.close(handle)
    raise RejectedError("not_regular")


def _understood(content: bytes) -> ProcessSnapshot:
    try:
        if _HEADER.validate_json(content, strict=True).format != FORMAT:
            raise RejectedError("unknown_format")
        snapshot = _CONTENT.validate_json(content, strict=True)
    except ValidationError:
        raise RejectedError("malformed") from None
    if not math.isfinite(snapshot.taken) or not are_sound(snapshot.pools) or not _are_counts(snapshot.contained):
        raise RejectedError("malformed")
    if len(snapshot.pools) > MOST_POOLS or not all(len(text) <= _LONGEST_TEXT for text in _texts(snapshot)):
        raise RejectedError("too_big")
    return snapshot


def _are_counts(counts: Mapping[str, int]) -> bool:
    return len(counts) <= _MOST_LABELS and all(0 <= count < _MOST for count in counts.values())


def _texts(snapshot: ProcessSnapshot) -> Iterator[str]:
    yield from (snapshot.id, snapshot.host, *snapshot.contained)
    for pool in snapshot.pools:
        yield from (value for value in vars(pool.identity).values() if isinstance(value, str))
        for value in vars(pool).values():
            if isinstance(value, dict):
                yield from value


def _is_sound(pool: PoolSnapshot) -> bool:
    most = pool.connections_max
    return (
        all(_fits(getattr(pool, name), bounds) for name, bounds in HISTOGRAMS.items())
        and all(0 <= number < _MOST for number in _numbers(pool))
        and all(len(value) <= _MOST_LABELS for value in vars(pool).values() if isinstance(value, dict))
        and (most is None or most >= 0)
    )


def _fits(histogram: Histogram | None, bounds: tuple[float, ...]) -> bool:
    return histogram is None or len(histogram.counts) == len(bounds) + 1


def _numbers(pool: PoolSnapshot) -> Iterator[float]:
    for name, value in vars(pool).items():
        if isinstance(value, dict):
            yield from value.values()
        elif isinstance(value, Histogram):
            yield from (*value.counts, value.sum)
        elif isinstance(value, int | float) and name != "connections_max":
            yield value
    for connection in pool.connections:
        yield from (connection.seconds, connection.age, connection.server_id or 0)
