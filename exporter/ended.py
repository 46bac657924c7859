"""What ended processes had counted, by pool: kept in a file of the letterbox, so that no sidecar forgets it."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import logging
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from exporter.letters import MOST_POOLS, RejectedError, are_sound, read_carefully
from exporter.merge import add_up, add_up_counts, counted
from exporter.publish import FORMAT
from exporter.records import PoolSnapshot, ProcessSnapshot

FILE_NAME = ".ended.json"

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Ended:
    """The counts of all processes that ended, added up by pool.

    ``ids`` are the processes that are in it although their files may still lie there, with the time (seconds since
    1970) when they were seen last. ``seen`` is when a pool was last added to, by name.
    """

    pools: tuple[PoolSnapshot, ...] = ()
    contained: Mapping[str, int] = field(default_factory=dict)
    ids: Mapping[str, float] = field(default_factory=dict)
    seen: Mapping[str, float] = field(default_factory=dict)
    format: int = FORMAT

    def plus(self, processes: Mapping[str, ProcessSnapshot], *, now: float) -> Ended:
        """Return this with what more processes had counted, by the names that they published under."""
        pools = [counted(pool) for process in processes.values() for pool in process.pools]
        seen = {**self.seen, **{pool.identity.name: now for pool in pools}}
        kept = set(sorted(seen, key=lambda name: seen[name])[-MOST_POOLS:])
        return Ended(
            pools=tuple(pool for pool in add_up((*self.pools, *pools)) if pool.identity.name in kept),
            contained=add_up_counts((self.contained, *(process.contained for process in processes.values()))),
            ids={**self.ids, **dict.fromkeys(processes, now)},
            seen={name: seen[name] for name in kept},
        )

    def without(self, ids: Iterable[str]) -> Ended:
        """Return this without the mark that these processes are in it: their files are gone for good."""
        gone = set(ids)
        return dataclasses.replace(self, ids={id_: seen for id_, seen in self.ids.items() if id_ not in gone})


_CONTENT = TypeAdapter(Ended)


class EndedFile:
    """Reads and writes the file of one directory. Who writes must be the only one to: see `letterbox`."""

    def __init__(self, directory: Path) -> None:
        self.path = directory / FILE_NAME
        self._version: tuple[int, ...] | None = None
        self._content = Ended()

    def read(self) -> Ended:
        """Return what the file holds, and nothing when there is none. Raises OSError and RejectedError."""
        try:
            status = self.path.lstat()
        except FileNotFoundError:
            self._version, self._content = None, Ended()
            return self._content
        version = (status.st_ino, status.st_size, status.st_mtime_ns)
        if version != self._version:
            self._content = _understood(read_carefully(str(self.path), status))
            self._version = version
        return self._content

    def write(self, content: Ended) -> None:
        """Put new content in the file's place. Raises OSError; then the file is what it was."""
        unfinished = self.path.with_suffix(".tmp")
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
        try:
            with open(os.open(unfinished, flags, 0o644), "w", encoding="utf-8") as file:  # noqa: PTH123  with flags
                json.dump(vars(content), file, default=vars, separators=(",", ":"))
            unfinished.replace(self.path)
        except OSError:
            with contextlib.suppress(OSError):
                unfinished.unlink(missing_ok=True)
            raise

    def set_aside(self) -> None:
        """Put a file that cannot be understood out of the way, where somebody may look at it. Raises OSError."""
        self.path.replace(self.path.with_suffix(".bad"))


def _understood(content: bytes) -> Ended:
    try:
        ended = _CONTENT.validate_json(content, strict=True)
    except ValidationError:
        raise RejectedError("malformed") from None
    if ended.format != FORMAT:
        raise RejectedError("unknown_format")
    if not are_sound(ended.pools):
        raise RejectedError("malformed")
    return ended
