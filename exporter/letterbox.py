"""The letterbox, from inside the sidecar: what the processes published, which of them live, and what the dead left."""

from __future__ import annotations

import logging
import os
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field, replace
from pathlib import Path

from exporter.ended import Ended
from exporter.estate import Dead, Estate
from exporter.folding import OTHER, Roster, cut
from exporter.labels import REJECT_REASONS, REJECTED
from exporter.letters import RejectedError, open_letter
from exporter.lives import Life, Lives
from exporter.merge import add_up, add_up_counts, counted
from exporter.presence import is_held, lock_path
from exporter.records import PoolSnapshot, ProcessReport, ProcessSnapshot

_RIPE_SECONDS = 10.0
"""A process that said nothing of its end is settled this long after it was found dead; by then it is for sure."""

_RIPE_SECONDS_UNSURE = 3600.0
"""Where the file system has no locks, or somebody removed the lock, one that is only hung looks dead too."""

_UNREAD = ("malformed", "too_big")
"""What will never be read, by no version; removed in the end, should its process be dead."""

_LISTINGS = 5
"""Each may miss a file, and hardly ever the same again."""

MOST_NAMES = 2000
"""Of how many pools the page tells apart: all that have ended and are kept, and as many that live."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Mail:
    """What was found: the processes that live, and what those that ended had counted.

    ``rejected`` is how many files were rejected since the start, by reason; ``contained`` the errors of ours that all
    processes together contained; ``folded`` how many pools are added up as ``other``, and how many names were cut.
    """

    reports: tuple[ProcessReport, ...] = ()
    ended: tuple[PoolSnapshot, ...] = ()
    rejected: Mapping[str, int] = field(default_factory=lambda: dict.fromkeys(REJECT_REASONS, 0))
    contained: Mapping[str, int] = field(default_factory=dict)
    folded: Mapping[str, int] = field(default_factory=dict)

    @property
    def snapshots(self) -> tuple[ProcessSnapshot, ...]:
        """The last word of each process that lives."""
        return tuple(report.snapshot for report in self.reports)


@dataclass(frozen=True)
class _Letter:
    """One version of one file: what tells it from the next version, and the snapshot or why there is none.

    With both it is the snapshot of the version before, for as long as this one cannot be read.
    """

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
        self._rejected = Counter(dict.fromkeys(REJECT_REASONS, 0))
        self._estate = Estate(directory, clock=clock, is_allowed=self._is_allowed, reject=self._count)
        self._roster = Roster(MOST_NAMES)
        self._crowded = False
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
            dead = self._dead(snapshots, lives)
            ended = self._estate.settle(dead, entries.keys()) if entries else Ended()
            return self._folded(_mail(snapshots, lives, ended, dict(self._rejected)))

    def claim(self) -> None:
        """Be the one sidecar that tidies up, or say that another one is; raises nothing."""
        with self._lock:
            self._estate.claim()

    def close(self) -> None:
        """Let another sidecar tidy up."""
        with self._lock:
            self._estate.release()

    def _folded(self, mail: Mail) -> Mail:
        """Add up as one pool those that are too many for a page."""
        found = [pool for report in mail.reports for pool in report.snapshot.pools]
        names = {pool.identity.name for pool in (*found, *mail.ended)}
        others = self._roster.others(names)
        if others and not self._crowded:
            _log.warning(
                "processes.directory has more than %d pools; the newest are added up as '%s' from now on; give the "
                "engines of one kind one name=",
                MOST_NAMES,
                OTHER,
            )
        self._crowded = self._crowded or bool(others)
        folded = {"pool": len(others), "long": cut(names)}
        if not others:
            return replace(mail, folded=folded)
        reports = tuple(
            replace(report, snapshot=replace(report.snapshot, pools=_renamed(report.snapshot.pools, others)))
            for report in mail.reports
        )
        return replace(mail, reports=reports, ended=add_up(_renamed(mail.ended, others)), folded=folded)

    def _dead(self, snapshots: Mapping[str, ProcessSnapshot], lives: Mapping[str, Life]) -> Dead:
        """Return what may be settled: of what cannot be read now, the last word is not known."""
        ripe = {
            name: snapshot
            for name, snapshot in snapshots.items()
            if _is_ripe(snapshot, lives[name]) and self._letters[f"{name}.json"].reason is None
        }
        unread = frozenset(
            name for name, each in self._letters.items() if each.snapshot is None and each.reason in _UNREAD
        )
        return Dead(ripe, frozenset(name for name in ripe if not lives[name].sure), unread)

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
        version: tuple[int, ...] = ()
        try:
            status = entry.stat(follow_symlinks=False)
            version = (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)
            # What could not be read may be readable now, without a trace on the file: that alone is tried again.
            if before is not None and before.version == version and before.reason != "unreadable":
                return before
            return _Letter(version, snapshot=open_letter(entry.path, status, is_allowed=self._is_allowed))
        except FileNotFoundError:
            return None  # its process ended, or wrote the next one, just now
        except RejectedError as rejected:
            letter = _Letter(version, reason=rejected.reason)
        except OSError:
            letter = _Letter(version, snapshot=self._still(entry.name, before), reason="unreadable")
        if letter != before:
            self._reject(entry, str(letter.reason), said=before is not None and before.reason == letter.reason)
        return letter

    def _still(self, file: str, before: _Letter | None) -> ProcessSnapshot | None:
        """Return what a process said before, while it may live: no sum falls for a fault that passes."""
        held = is_held(lock_path(self._directory, file.removesuffix(".json")))
        return None if before is None or held is False else before.snapshot

    def _is_allowed(self, user: int) -> bool:
        return self._users is None or user in self._users or user in (os.geteuid(), 0, self._owner)

    def _reject(self, entry: os.DirEntry[str], reason: str, *, said: bool) -> None:
        self._count(reason)
        if not said:
            _log.warning("ignoring %r in processes.directory: %s", entry.name, REJECTED[reason])

    def _count(self, reason: str) -> None:
        self._rejected[reason] += 1


def _is_ripe(snapshot: ProcessSnapshot, life: Life) -> bool:
    wait = _RIPE_SECONDS if life.sure else _RIPE_SECONDS_UNSURE
    return life.state == "dead" and (snapshot.ended or life.dead_for >= wait)


def _renamed(pools: Iterable[PoolSnapshot], others: AbstractSet[str]) -> tuple[PoolSnapshot, ...]:
    return tuple(
        replace(pool, identity=replace(pool.identity, name=OTHER)) if pool.identity.name in others else pool
        for pool in pools
    )


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
