"""The letterbox, from inside the sidecar: what the processes published, read with care, live ones only."""

from __future__ import annotations

import logging
import math
import os
import stat
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from exporter.buckets import HISTOGRAMS
from exporter.labels import REJECT_REASONS
from exporter.publish import FORMAT
from exporter.records import Histogram, PoolSnapshot, ProcessSnapshot

LIVE_SECONDS = 10.0
"""A process publishes once a second; one that has not for this long holds nothing that we know of."""

MOST_BYTES = 8 * 1024 * 1024
"""A connection takes some 90 bytes, so this is 90 000 of them in one process."""

_MOST = 2**63
"""No count reaches it, and larger integers do not fit into the float that the page shows."""

_MOST_POOLS = 1000
_MOST_LABELS = 100
_LONGEST_TEXT = 1000
"""More than any application has, and little enough that one file cannot hold up the page for all."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Mail:
    """What was found: the snapshots of live processes, and how many files were rejected since the start, by reason."""

    snapshots: tuple[ProcessSnapshot, ...]
    rejected: Mapping[str, int]


@dataclass(frozen=True)
class _Header:
    format: int


@dataclass(frozen=True)
class _Letter:
    """One version of one file: what tells it from the next version, and the snapshot or why there is none."""

    version: tuple[int, ...]
    snapshot: ProcessSnapshot | None = None
    reason: str | None = None


class _RejectedError(Exception):
    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


_HEADER = TypeAdapter(_Header)
_CONTENT = TypeAdapter(ProcessSnapshot)


class Letterbox:
    """Reads a directory of published snapshots, as a whole, whenever asked; a file that has not changed is read once.

    A directory that is missing is empty: it may be made later. Every call may come from any thread.
    """

    def __init__(self, directory: Path | None, *, clock: Callable[[], float] = time.time) -> None:
        self._directory = directory
        self._clock = clock
        self._lock = threading.Lock()
        self._letters: dict[str, _Letter] = {}
        self._rejected = Counter(dict.fromkeys(REJECT_REASONS, 0))
        self._trouble = ""

    def read(self) -> Mail:
        """Return what live processes published. Nothing that lies in the directory makes this raise."""
        with self._lock:
            entries = sorted(self._entries(), key=lambda entry: entry.name)
            found = ((entry.name, self._letter(entry)) for entry in entries)
            self._letters = {name: letter for name, letter in found if letter is not None}
            now = self._clock()
            snapshots = (letter.snapshot for letter in self._letters.values())
            live = tuple(each for each in snapshots if each is not None and _is_live(each, now))
            return Mail(snapshots=live, rejected=dict(self._rejected))

    def _entries(self) -> list[os.DirEntry[str]]:
        if self._directory is None:
            return []
        try:
            with os.scandir(self._directory) as entries:
                found = [each for each in entries if each.name.endswith(".json") and not each.name.startswith(".")]
            trouble = ""
        except FileNotFoundError:
            found, trouble = [], f"there is no {self._directory} yet"
        except OSError as error:
            found, trouble = [], str(error)
        if trouble and trouble != self._trouble:
            _log.warning("cannot read processes.directory: %s; no pool is seen until it can be read", trouble)
        elif self._trouble and not trouble:
            _log.warning("processes.directory can be read now")
        self._trouble = trouble
        return found

    def _letter(self, entry: os.DirEntry[str]) -> _Letter | None:
        before = self._letters.get(entry.name)
        try:
            status = entry.stat(follow_symlinks=False)
            version = (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)
            # What could not be read may be readable now, without a trace on the file: that alone is tried again.
            if before is not None and before.version == version and before.reason != "unreadable":
                return before
            return _Letter(version, snapshot=_opened(entry.path, status))
        except FileNotFoundError:
            return None  # its process ended, or wrote the next one, just now
        except _RejectedError as rejected:
            letter = _Letter(version, reason=rejected.reason)
        except OSError:
            letter = _Letter(version, reason="unreadable")
        if letter != before:
            self._reject(entry, str(letter.reason), said=before is not None and before.reason == letter.reason)
        return letter

    def _reject(self, entry: os.DirEntry[str], reason: str, *, said: bool) -> None:
        self._rejected[reason] += 1
        if not said:
            _log.warning("ignoring %r in processes.directory: %s", entry.name, reason.replace("_", " "))


def _is_live(snapshot: ProcessSnapshot, now: float) -> bool:
    # A time to come is as dead as one long past: the clock was set back, and whoever lives has written since then.
    return abs(now - snapshot.taken) <= LIVE_SECONDS


def _opened(path: str, status: os.stat_result) -> ProcessSnapshot:
    if not stat.S_ISREG(status.st_mode):
        raise _RejectedError("not_regular")  # unopened: to open a device or a pipe is to do something to it
    if status.st_size > MOST_BYTES:
        raise _RejectedError("too_big")
    with open(path, "rb", opener=_carefully) as file:
        content = file.read(MOST_BYTES + 1)
    if len(content) > MOST_BYTES:
        raise _RejectedError("too_big")
    return _understood(content)


def _carefully(path: str, flags: int) -> int:
    """Open without following a link or waiting for a writer, should one have taken the file's place by now."""
    handle = os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    if stat.S_ISREG(os.fstat(handle).st_mode):
        return handle
    os.close(handle)
    raise _RejectedError("not_regular")


def _understood(content: bytes) -> ProcessSnapshot:
    try:
        if _HEADER.validate_json(content, strict=True).format != FORMAT:
            raise _RejectedError("unknown_format")
        snapshot = _CONTENT.validate_json(content, strict=True)
    except ValidationError:
        raise _RejectedError("malformed") from None
    if not math.isfinite(snapshot.taken) or not _are_counts(snapshot.contained):
        raise _RejectedError("malformed")
    if not all(map(_is_sound, snapshot.pools)):
        raise _RejectedError("malformed")
    if len(snapshot.pools) > _MOST_POOLS or not all(len(text) <= _LONGEST_TEXT for text in _texts(snapshot)):
        raise _RejectedError("too_big")
    return snapshot


def _texts(snapshot: ProcessSnapshot) -> Iterator[str]:
    yield from snapshot.contained
    for pool in snapshot.pools:
        yield from (value for value in vars(pool.identity).values() if isinstance(value, str))
        for value in vars(pool).values():
            if isinstance(value, dict):
                yield from value


def _is_sound(pool: PoolSnapshot) -> bool:
    """Tell whether every number can be added up and shown: no NaN, nothing endless but a limit, nothing below 0."""
    most = pool.connections_max
    return (
        all(_fits(getattr(pool, name), bounds) for name, bounds in HISTOGRAMS.items())
        and all(0 <= number < _MOST for number in _numbers(pool))
        and all(_are_counts(value) for value in vars(pool).values() if isinstance(value, dict))
        and (most is None or most >= 0)
    )


def _are_counts(counts: Mapping[str, int]) -> bool:
    return len(counts) <= _MOST_LABELS and all(0 <= count < _MOST for count in counts.values())


def _fits(histogram: Histogram | None, bounds: tuple[float, ...]) -> bool:
    return histogram is None or len(histogram.counts) == len(bounds) + 1


def _numbers(pool: PoolSnapshot) -> Iterator[float]:
    for name, value in vars(pool).items():
        if isinstance(value, Histogram):
            yield from (*value.counts, value.sum)
        elif isinstance(value, int | float) and name != "connections_max":
            yield value
    for connection in pool.connections:
        # An id is no count: those that a pooler makes up may be below 0.
        yield from (connection.seconds, connection.age, abs(connection.server_id or 0))
