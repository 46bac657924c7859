"""The letterbox, from inside the sidecar: what the processes published, which of them live, and what the dead left."""

from __future__ import annotations

import logging
import os
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from pathlib import Path

from exporter.ended import Ended
from exporter.estate import Estate
from exporter.labels import REJECT_REASONS
from exporter.letters import RejectedError, open_letter
from exporter.lives import Life, Lives
from exporter.merge import add_up, add_up_counts, counted
from exporter.records import PoolSnapshot, ProcessReport, ProcessSnapshot

_RIPE_SECONDS = 10.0
"""A process that said nothing of its end is settled this long after it was found dead; by then it is for sure."""

_RIPE_SECONDS_UNLOCKED = 3600.0
"""Where the file system has no locks, one that is only hung looks dead too."""

_LISTINGS = 5
"""Each may miss a file, and hardly ever the same again."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Mail:
    """What was found: the processes that live, and what those that ended had counted.

    ``rejected`` is how many files were rejected since the start, by reason; ``contained`` the errors of ours that all
    processes together contained.
    """

    reports: tuple[ProcessReport, ...] = ()
    ended: tuple[PoolSnapshot, ...] = ()
    rejected: Mapping[str, int] = field(default_factory=lambda: dict.fromkeys(REJECT_REASONS, 0))
    contained: Mapping[str, int] = field(default_factory=dict)

    @property
    def snapshots(self) -> tuple[ProcessSnapshot, ...]:
        """The last word of each process that lives."""
        return tuple(report.snapshot for report in self.reports)


@dataclass(frozen=True)
class _Letter:
    """One version of one file: what tells it from the next version, and the snapshot or why there is none."""

    version: tuple[int, ...]
    snapshot: ProcessSnapshot | None = None
    reason: str | None = None


class Letterbox:
    """Reads a directory of published snapshots, as a whole, whenever asked; a file that has not changed is read once.

    A directory that is missing is empty: it may be made later. ``users`` are the ids of those whose files are read
    beside our own, root's and those of the directory's owner; None stands for everybody. Every call may come from any
    thread.
    """

    def __init__(
        self,
        directory: Path,
        *,
        users: AbstractSet[int] | None = frozenset(),
        clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._directory = directory
        self._users = users
        self._lock = threading.Lock()
        self._letters: dict[str, _Letter] = {}
        self._lives = Lives(directory, clock=clock, monotonic=monotonic)
        self._estate = Estate(directory, clock=clock)
        self._rejected = Counter(dict.fromkeys(REJECT_REASONS, 0))
        self._trouble = ""

    def read(self) -> Mail:
        """Return what the processes published. Nothing that lies in the directory makes this raise."""
        with self._lock:
            entries = self._entries()
            self._letters = self._opened(entries)
            snapshots = {
                name.removesuffix(".json"): letter.snapshot
                for name, letter in self._letters.items()
                if letter.snapshot is not None
            }
            lives = self._lives.judge(snapshots)
            ripe = {name: snapshot for name, snapshot in snapshots.items() if _is_ripe(snapshot, lives[name])}
            ended = self._estate.settle(ripe, entries.keys()) if entries else Ended()
            return _mail(snapshots, lives, ended, dict(self._rejected))

    def close(self) -> None:
        """Let another sidecar tidy up."""
        with self._lock:
            self._estate.release()

    def _entries(self) -> dict[str, os.DirEntry[str]]:
        """List the directory. A file that is replaced while a long list is read may be missing from it: look again."""
        found: dict[str, os.DirEntry[str]] = {}
        for _ in range(_LISTINGS):
            found.update((entry.name, entry) for entry in self._listed())
            if not any(name not in found and os.path.lexists(self._directory / name) for name in self._letters):
                break
        return found

    def _listed(self) -> list[os.DirEntry[str]]:
        try:
            with os.scandir(self._directory) as entries:
                found = sorted(entries, key=lambda entry: entry.name)
            self._owner = self._directory.stat().st_uid
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

    def _opened(self, entries: Mapping[str, os.DirEntry[str]]) -> dict[str, _Letter]:
        ours = (each for each in entries.values() if each.name.endswith(".json") and not each.name.startswith("."))
        found = ((entry.name, self._letter(entry)) for entry in ours)
        return {name: letter for name, letter in found if letter is not None}

    def _letter(self, entry: os.DirEntry[str]) -> _Letter | None:
        before = self._letters.get(entry.name)
        try:
            status = entry.stat(follow_symlinks=False)
            version = (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)
            # What could not be read may be readable now, without a trace on the file: that alone is tried again.
            if before is not None and before.version == version and before.reason != "unreadable":
                return before
            if not self._is_allowed(status.st_uid):
                raise RejectedError("foreign")  # noqa: TRY301  told like all that is found inside
            return _Letter(version, snapshot=open_letter(entry.path, status))
        except FileNotFoundError:
            return None  # its process ended, or wrote the next one, just now
        except RejectedError as rejected:
            letter = _Letter(version, reason=rejected.reason)
        except OSError:
            letter = _Letter(version, reason="unreadable")
        if letter != before:
            self._reject(entry, str(letter.reason), said=before is not None and before.reason == letter.reason)
        return letter

    def _is_allowed(self, user: int) -> bool:
        return self._users is None or user in self._users or user in (os.geteuid(), 0, self._owner)

    def _reject(self, entry: os.DirEntry[str], reason: str, *, said: bool) -> None:
        self._rejected[reason] += 1
        if not said:
            hint = "; name its user in processes.users if it is yours" if reason == "foreign" else ""
            _log.warning("ignoring %r in processes.directory: %s%s", entry.name, reason.replace("_", " "), hint)


def _is_ripe(snapshot: ProcessSnapshot, life: Life) -> bool:
    wait = _RIPE_SECONDS if snapshot.locked else _RIPE_SECONDS_UNLOCKED
    return life.state == "dead" and (snapshot.ended or life.dead_for >= wait)


def _mail(
    snapshots: Mapping[str, ProcessSnapshot], lives: Mapping[str, Life], ended: Ended, rejected: Mapping[str, int]
) -> Mail:
    reports, dead = [], []
    for name, snapshot in snapshots.items():
        life = lives[name]
        if name in ended.ids:
            continue
        if life.state == "dead":
            dead.append(snapshot)
        else:
            reports.append(ProcessReport(snapshot, life.state, life.age))
    contained = (ended.contained, *(each.snapshot.contained for each in reports), *(each.contained for each in dead))
    return Mail(
        reports=tuple(reports),
        ended=add_up((*ended.pools, *(counted(pool) for process in dead for pool in process.pools))),
        rejected=rejected,
        contained=add_up_counts(contained),
    )
