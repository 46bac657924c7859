"""What ended processes had counted, by pool: kept in a file of the letterbox, so that no sidecar forgets it."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from exporter.letters import MOST_BYTES, MOST_POOLS, IsAllowed, RejectedError, read_carefully, taken_in
from exporter.merge import add_up, add_up_counts, counted
from exporter.presence import write_file
from exporter.publish import FORMAT
from exporter.records import PoolSnapshot, ProcessSnapshot

FILE_NAME = ".ended.json"

_MOST_DOUBTFUL = 1000
_DOUBTFUL_SECONDS = 7 * 86400.0


@dataclass(frozen=True)
class Ended:
    """The counts of all processes that ended, added up by pool.

    ``ids`` are the processes that are in it although their files may still lie there, with the time (seconds since
    1970) when they were seen last. ``seen`` is when a pool was last added to, by name. ``doubtful`` are those that were
    given up without a sign of their end: one that goes on finds itself there, and counts on under a new name.
    """

    pools: tuple[PoolSnapshot, ...] = ()
    contained: Mapping[str, int] = field(default_factory=dict)
    ids: Mapping[str, float] = field(default_factory=dict)
    seen: Mapping[str, float] = field(default_factory=dict)
    doubtful: Mapping[str, float] = field(default_factory=dict)
    format: int = FORMAT

    def plus(self, processes: Mapping[str, ProcessSnapshot], *, now: float, doubtful: Iterable[str] = ()) -> Ended:
        """Return this with what more processes had counted, by the names that they published under."""
        pools = [counted(pool) for process in processes.values() for pool in process.pools]
        seen = {**self.seen, **{pool.identity.name: now for pool in pools}}
        doubts = {name: when for name, when in self.doubtful.items() if abs(now - when) < _DOUBTFUL_SECONDS}
        doubts.update((name, now) for name in doubtful if name in processes)
        kept = set(sorted(seen, key=lambda name: seen[name])[-MOST_POOLS:])
        return Ended(
            pools=tuple(pool for pool in add_up((*self.pools, *pools)) if pool.identity.name in kept),
            contained=add_up_counts((self.contained, *(process.contained for process in processes.values()))),
            ids={**self.ids, **dict.fromkeys(processes, now)},
            seen={name: seen[name] for name in kept},
            doubtful=dict(list(doubts.items())[-_MOST_DOUBTFUL:]),
        )

    def without(self, ids: Iterable[str]) -> Ended:
        """Return this without the mark that these processes are in it: their files are gone for good."""
        gone = set(ids)
        return dataclasses.replace(self, ids={id_: seen for id_, seen in self.ids.items() if id_ not in gone})


_CONTENT = TypeAdapter(Ended)


class EndedFile:
    """Reads and writes the file of one directory. Who writes must be the only one to: see `letterbox`."""

    def __init__(self, directory: Path, *, is_allowed: IsAllowed) -> None:
        self.path = directory / FILE_NAME
        self._is_allowed = is_allowed
        self._version: tuple[int, ...] | None = None
        self._content = Ended()

    def read(self) -> Ended:
        """Return what the file holds, and nothing when there is none. Raises OSError and RejectedError."""
        try:
            status = self.path.lstat()
        except FileNotFoundError:
            self._version, self._content = None, Ended()
            return self._content
        version = (status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)
        if version != self._version:
            self._content = _understood(read_carefully(str(self.path), status, is_allowed=self._is_allowed))
            self._version = version
        return self._content

    def write(self, content: bytes) -> None:
        """Put what was `encoded` in the file's place. Raises OSError; then the file is what it was."""
        write_file(self.path, content)

    def set_aside(self) -> None:
        """Put a file that cannot be understood out of the way, where somebody may look at it. Raises OSError."""
        self.path.replace(self.path.with_suffix(".bad"))


def encoded(ended: Ended) -> bytes:
    """Return the content of the file, which was read back; raise RejectedError when no sidecar could read it."""
    content = json.dumps(vars(ended), default=vars, separators=(",", ":")).encode()
    if len(content) > MOST_BYTES:
        raise RejectedError("too_big")
    _understood(content)
    return content


def _understood(content: bytes) -> Ended:
    try:
        ended = _CONTENT.validate_json(content, strict=True)
    except ValidationError:
        raise RejectedError("malformed") from None
    if ended.format != FORMAT:
        raise RejectedError("unknown_format")
    if not all(map(math.isfinite, chain(ended.ids.values(), ended.seen.values(), ended.doubtful.values()))):
        raise RejectedError("malformed")
    # Others may write into the directory: no more is believed of this file than of a letter.
    pools, contained = taken_in(ended.pools, ended.contained)
    return dataclasses.replace(ended, pools=add_up(map(counted, pools)), contained=contained)
