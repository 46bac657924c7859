"""One letter: a file that somebody put into the letterbox, read with care, or rejected with a reason."""

from __future__ import annotations

import dataclasses
import math
import os
import re
import stat
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from operator import attrgetter
from typing import Any

from pydantic import TypeAdapter, ValidationError

from exporter.contained import PLACES
from exporter.folding import LONGEST, OTHER, short
from exporter.labels import CLOSE_REASONS, INVALIDATION_CAUSES, STALE_CODES
from exporter.publish import FORMAT
from exporter.records import PoolIdentity, PoolSnapshot, ProcessSnapshot
from exporter.sound import MAPPINGS, MOST, MOST_LABELS, are_sound

MOST_BYTES = 8 * 1024 * 1024
"""A connection takes some 90 bytes, so this is 90 000 of them in one process."""

MOST_POOLS = 1000

NAME = r"[0-9]+\.[0-9a-f]{16}"
"""What a process is published under."""

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
_NAMES = tuple(field.name for field in dataclasses.fields(PoolIdentity) if field.name != "port")
_TEXTS = attrgetter(*_NAMES)
_WORDS: Mapping[str, frozenset[str]] = {
    "closes": frozenset(CLOSE_REASONS),
    "invalidations": frozenset(INVALIDATION_CAUSES),
    "stale_ping": frozenset(STALE_CODES),
    "stale_use": frozenset(STALE_CODES),
}
_PLACES = frozenset(PLACES)
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
        opened = os.fstat(file.fileno())
        if not is_allowed(opened.st_uid):  # another file by now
            raise RejectedError("foreign")
        # No more than there is: room for the most, made and given back for each file, takes longer than reading it.
        content = file.read(min(opened.st_size, MOST_BYTES) + 1)
        if len(content) > opened.st_size:  # somebody is writing on
            content += file.read(MOST_BYTES)
    if len(content) > MOST_BYTES:
        raise RejectedError("too_big")
    return content


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
    if not math.isfinite(letter.taken):
        raise RejectedError("malformed")
    pools, contained = taken_in(letter.pools, letter.contained, texts=(letter.id, letter.host))
    snapshot = ProcessSnapshot(**{name: getattr(letter, name) for name in _FIELDS})
    return dataclasses.replace(snapshot, host=short(letter.host), pools=pools, contained=contained)


def taken_in(
    pools: tuple[PoolSnapshot, ...], contained: Mapping[str, int], *, texts: Collection[str] = ()
) -> tuple[tuple[PoolSnapshot, ...], Mapping[str, int]]:
    """Return what a file holds as it is added up and shown: names cut, words that no page has summed as ``other``.

    ``texts`` are what else it says. Raises RejectedError when it cannot be added up, or is more than any process has.
    """
    if not are_sound(pools) or not _are_counts(contained):
        raise RejectedError("malformed")
    if len(pools) > MOST_POOLS or max(map(len, (*texts, *contained, *_texts(pools))), default=0) > _LONGEST_TEXT:
        raise RejectedError("too_big")
    return tuple(_in_our_words(_shortened(pool)) for pool in pools), _among(_PLACES, contained)


def _in_our_words(pool: PoolSnapshot) -> PoolSnapshot:
    """Sum as ``other`` what a process of another version may say: as many words as there are letters fill a sum."""
    if all(getattr(pool, name).keys() <= known for name, known in _WORDS.items()):
        return pool
    words: dict[str, Any] = {name: _among(known, getattr(pool, name)) for name, known in _WORDS.items()}
    return dataclasses.replace(pool, **words)


def _among(known: frozenset[str], counts: Mapping[str, int]) -> Mapping[str, int]:
    if counts.keys() <= known:
        return counts
    found = Counter({word: count for word, count in counts.items() if word in known})
    found[OTHER] += sum(count for word, count in counts.items() if word not in known)
    return dict(found)


def _shortened(pool: PoolSnapshot) -> PoolSnapshot:
    """Cut what the page shows of a pool's names; nearly all are short."""
    texts = _TEXTS(pool.identity)
    if all(len(text) <= LONGEST for text in texts):
        return pool
    names: dict[str, Any] = {name: short(text) for name, text in zip(_NAMES, texts, strict=True)}
    return dataclasses.replace(pool, identity=dataclasses.replace(pool.identity, **names))


def _fault(content: bytes) -> str:
    """Tell why a file was not understood: another format may look like anything."""
    try:
        other = _HEADER.validate_json(content, strict=True).format != FORMAT
    except ValidationError:
        other = False
    return "unknown_format" if other else "malformed"


def _are_counts(counts: Mapping[str, int]) -> bool:
    return len(counts) <= MOST_LABELS and all(0 <= count < MOST for count in counts.values())


def _texts(pools: Iterable[PoolSnapshot]) -> list[str]:
    texts: list[str] = []
    for pool in pools:
        texts += _TEXTS(pool.identity)
        for mapping in MAPPINGS(pool):
            texts += mapping
        for connection in pool.connections:
            texts += (connection.site or "", connection.holder or "")
    return texts
