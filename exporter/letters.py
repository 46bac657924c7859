"""One letter: a file that somebody put into the letterbox, read with care, or rejected with a reason."""

from __future__ import annotations

import dataclasses
import math
import os
import re
import stat
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from operator import attrgetter

from pydantic import TypeAdapter, ValidationError

from exporter.buckets import HISTOGRAMS
from exporter.publish import FORMAT
from exporter.records import Histogram, PoolIdentity, PoolSnapshot, ProcessSnapshot

MOST_BYTES = 8 * 1024 * 1024
"""A connection takes some 90 bytes, so this is 90 000 of them in one process."""

MOST_POOLS = 1000

NAME = r"[0-9]+\.[0-9a-f]{16}"
"""What a process is published under."""

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


@dataclass(frozen=True)
class _Letter(ProcessSnapshot):
    format: int = 0


_HEADER = TypeAdapter(_Header)
_CONTENT = TypeAdapter(_Letter)
_APART = {"identity", "connections", "connections_max", *HISTOGRAMS}
_MAPPED = {field.name for field in dataclasses.fields(PoolSnapshot) if field.default_factory is dict}
_TEXTS = attrgetter(*(field.name for field in dataclasses.fields(PoolIdentity) if field.name != "port"))
_MAPPINGS = attrgetter(*_MAPPED)
_HISTOGRAMS = attrgetter(*HISTOGRAMS)
_NUMBERS = attrgetter(*({field.name for field in dataclasses.fields(PoolSnapshot)} - _APART - _MAPPED))
_FIELDS = tuple(field.name for field in dataclasses.fields(ProcessSnapshot))


IsAllowed = Callable[[int], bool]
"""Tells whether the files of a user, by number, are read."""


def open_letter(path: str, status: os.stat_result, *, is_allowed: IsAllowed) -> ProcessSnapshot:
    """Read a file whose ``status`` was just seen; raise RejectedError or OSError when it cannot be a snapshot."""
    letter = _understood(read_carefully(path, status, is_allowed=is_allowed))
    name = os.path.basename(path).removesuffix(".json")  # noqa: PTH119  of each file at every scrape
    # A copy, or a name that no process has: it would be counted twice, or could not be written down.
    if re.fullmatch(NAME, name) is None or letter.id not in ("", name):
        raise RejectedError("malformed")
    return letter


def read_carefully(path: str, status: os.stat_result, *, is_allowed: IsAllowed) -> bytes:
    """Read a file whose ``status`` was just seen, if it is a regular one of a size that makes sense."""
    if not is_allowed(status.st_uid):
        raise RejectedError("foreign")
    if not stat.S_ISREG(status.st_mode):
        raise RejectedError("not_regular")  # unopened: to open a device or a pipe is to do something to it
    if status.st_size > MOST_BYTES:
        raise RejectedError("too_big")
    with open(path, "rb", opener=_carefully) as file:
        if not is_allowed(os.fstat(file.fileno()).st_uid):  # another file by now
            raise RejectedError("foreign")
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
        letter = _CONTENT.validate_json(content, strict=True)
    except ValidationError:
        raise RejectedError(_fault(content)) from None
    if letter.format != FORMAT:
        raise RejectedError("unknown_format" if letter.format else "malformed")
    if not math.isfinite(letter.taken) or not are_sound(letter.pools) or not _are_counts(letter.contained):
        raise RejectedError("malformed")
    if len(letter.pools) > MOST_POOLS or not all(len(text) <= _LONGEST_TEXT for text in _texts(letter)):
        raise RejectedError("too_big")
    return ProcessSnapshot(**{name: getattr(letter, name) for name in _FIELDS})


def _fault(content: bytes) -> str:
    """Tell why a file was not understood: another format may look like anything."""
    try:
        other = _HEADER.validate_json(content, strict=True).format != FORMAT
    except ValidationError:
        other = False
    return "unknown_format" if other else "malformed"


def _are_counts(counts: Mapping[str, int]) -> bool:
    return len(counts) <= _MOST_LABELS and all(0 <= count < _MOST for count in counts.values())


def _texts(snapshot: ProcessSnapshot) -> Iterator[str]:
    yield from (snapshot.id, snapshot.host, *snapshot.contained)
    for pool in snapshot.pools:
        yield from _TEXTS(pool.identity)
        for mapping in _MAPPINGS(pool):
            yield from mapping


def _is_sound(pool: PoolSnapshot) -> bool:
    most = pool.connections_max
    return (
        all(_fits(getattr(pool, name), bounds) for name, bounds in HISTOGRAMS.items())
        and all(map(_are_amounts, _numbers(pool)))
        and all(len(mapping) <= _MOST_LABELS for mapping in _MAPPINGS(pool))
        and (most is None or most >= 0)
    )


def _fits(histogram: Histogram | None, bounds: tuple[float, ...]) -> bool:
    return histogram is None or len(histogram.counts) == len(bounds) + 1


def _are_amounts(numbers: Collection[float]) -> bool:
    # A sum tells of a NaN wherever it stands; a comparison with one does not.
    return not numbers or (min(numbers) >= 0 and max(numbers) < _MOST and math.isfinite(sum(numbers)))


def _numbers(pool: PoolSnapshot) -> Iterator[Collection[float]]:
    """Go through all numbers, as lists: there may be thousands, at every scrape."""
    histograms = [each for each in _HISTOGRAMS(pool) if each is not None]
    yield [number for number in _NUMBERS(pool) if number is not None] + [each.sum for each in histograms]
    yield from (each.counts for each in histograms)
    yield from (mapping.values() for mapping in _MAPPINGS(pool))
    yield [each.seconds for each in pool.connections]
    yield [each.age for each in pool.connections]
    # An id is no count: those that a pooler makes up may be below 0.
    yield [abs(each.server_id) for each in pool.connections if each.server_id is not None]
