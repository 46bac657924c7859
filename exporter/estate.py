"""What the dead left behind: their counts are kept, their files removed, so that the directory does not grow."""

from __future__ import annotations

import errno
import logging
import re
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from pathlib import Path

from exporter.ended import Ended, EndedFile, encoded
from exporter.letters import NAME, IsAllowed, RejectedError
from exporter.presence import is_held, lock_path
from exporter.records import ProcessSnapshot
from exporter.sole import Sole

_FOR_GOOD = 60.0  # seconds after which a file without an owner is rubbish: whoever makes one needs it within moments
_UNREAD_FOR_GOOD = 3600.0  # seconds after which what nobody could read, and nobody writes any more, is rubbish too
_OURS = re.compile(rf"\.?({NAME})\.(?:json|lock|tmp)")
_FULL = (errno.ENOSPC, errno.EDQUOT)
_ENOUGH = 65536  # bytes: when so much was made free and it does not suffice, others take all there is

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Dead:
    """The processes that are dead, by the name that they published under.

    Of the ``doubtful`` nobody knows for sure. ``unread`` are files that were rejected for what is in them.
    """

    processes: Mapping[str, ProcessSnapshot]
    doubtful: AbstractSet[str] = frozenset()
    unread: AbstractSet[str] = frozenset()


@dataclass(frozen=True)
class _Work:
    """What is to be done: processes to count, marks to forget, and files to remove."""

    more: Mapping[str, ProcessSnapshot]
    gone: tuple[str, ...]
    rubbish: tuple[str, ...]

    def __bool__(self) -> bool:
        return bool(self.more or self.gone or self.rubbish)


class Estate:
    """Settles one directory. When several sidecars read it only the first does. Not for two threads at once.

    ``reject`` is told the reason when the file of the counts is not read, once for each reason.
    """

    def __init__(
        self,
        directory: Path,
        *,
        clock: Callable[[], float] = time.time,
        is_allowed: IsAllowed = lambda _user: True,
        reject: Callable[[str], None] = lambda _reason: None,
    ) -> None:
        self._directory = directory
        self._clock = clock
        self._reject = reject
        self._file = EndedFile(directory, is_allowed=is_allowed)
        self._sole = Sole(directory)
        self._last = Ended()
        self._unwritten = False  # what `_last` holds is in no file: it was on a disk that is full
        self._misfits: frozenset[str] = frozenset()
        self._rejected = ""
        self._trouble = ""

    def settle(self, dead: Dead, names: AbstractSet[str]) -> Ended:
        """Take the counts of ``dead`` processes into the file, remove what is left of them, and return all counts.

        ``names`` are the directory's files, as they were listed before the processes were judged. A process that is not
        in ``ids`` of the result has not been counted: it could not be written down, or somebody else is at it. While
        the file cannot be read the last counts that could be are returned: no sum falls for a fault that passes.
        """
        trouble = rejected = ""
        try:
            self._last = self._known()
            trouble = self._settle(dead, names)
        except OSError as error:
            trouble = f"what ended processes had counted cannot be read: {error}"
        except RejectedError as error:
            rejected = error.reason
            trouble = f"cannot understand what ended processes had counted ({rejected}); see {self._file.path}"
        if rejected and rejected != self._rejected:
            self._reject(rejected)
        self._rejected = rejected
        self._say(trouble)
        return self._last

    def claim(self) -> None:
        """Be the one that settles from now on, or say that another one is; raises nothing."""
        self._sole.claim()

    def release(self) -> None:
        """Let another sidecar settle."""
        self._sole.release()

    def _known(self) -> Ended:
        if self._unwritten:
            return self._last
        try:
            return self._file.read()
        except RejectedError as error:
            # A later version's is left for that, and so is another user's; what nobody can read helps nobody there.
            if error.reason in ("unknown_format", "foreign") or not self._sole.hold():
                raise
            self._file.set_aside()
            self._unwritten = self._last != Ended()
            fate = "written anew, as it was known" if self._unwritten else "lost"
            _log.warning(
                "what ended processes had counted is %s: %s was damaged, and is set aside", fate, self._file.path
            )
            return self._last

    def _settle(self, dead: Dead, names: AbstractSet[str]) -> str:
        """Do what is to be done, if nobody else does; return what is wrong, if anything is."""
        work = self._work(dead, names)
        if not (work or self._unwritten):
            return ""
        held = self._sole.held
        try:
            if not self._sole.hold():
                return ""
            if not held:  # another may have settled, and ended, since we looked
                self._last = self._known()
                work = self._work(dead, names)
            refused = self._remove(work.rubbish)
            if work.more or work.gone or self._unwritten:
                refused = self._keep(work, dead.doubtful, names) or refused
        except OSError as error:
            refused = error
        return "" if refused is None else f"what ended processes left stays there until it can be written: {refused}"

    def _work(self, dead: Dead, names: AbstractSet[str]) -> _Work:
        ids = self._last.ids
        self._misfits &= dead.processes.keys()
        return _Work(
            more={
                name: snapshot
                for name, snapshot in dead.processes.items()
                if name not in ids and name not in self._misfits
            },
            gone=tuple(id_ for id_, when in ids.items() if f"{id_}.json" not in names and self._is_past(when)),
            rubbish=tuple(name for name in names if self._is_rubbish(name, names, dead.unread)),
        )

    def _keep(self, work: _Work, doubtful: AbstractSet[str], names: AbstractSet[str]) -> OSError | None:
        # Written down before anything is removed, and known by name until it is: a sidecar that is killed in between,
        # and another that reads meanwhile, count each process once.
        before = self._last.without(work.gone)
        ended, content = self._fitting(before, work.more, doubtful)
        counted = {name: each for name, each in work.more.items() if name in ended.ids}
        self._misfits |= work.more.keys() - counted.keys()
        try:
            self._file.write(content)
        except OSError as error:
            if error.errno not in _FULL or not counted:
                raise
            self._squeeze(ended, content, counted)
        self._last, self._unwritten = ended, False
        return self._remove(_files(counted, names))

    def _fitting(
        self, ended: Ended, more: Mapping[str, ProcessSnapshot], doubtful: AbstractSet[str]
    ) -> tuple[Ended, bytes]:
        """Add all that leaves a file which can be read again; what does not fit in stays where it is, and counts."""
        sum_ = ended.plus(more, now=self._clock(), doubtful=doubtful)
        try:
            return sum_, encoded(sum_)
        except RejectedError:
            if not more:
                raise
        if len(more) == 1:
            return ended, encoded(ended)
        names = list(more)
        for half in (names[: len(names) // 2], names[len(names) // 2 :]):
            ended, content = self._fitting(ended, {name: more[name] for name in half}, doubtful)
        return ended, content

    def _squeeze(self, ended: Ended, content: bytes, counted: Mapping[str, ProcessSnapshot]) -> None:
        """Make room on a full disk: one of the dead, whose counts are in memory and in what is written next, goes."""
        freed = 0
        for name in counted:
            path = self._directory / f"{name}.json"
            freed += path.lstat().st_size
            path.unlink()
            self._last, self._unwritten = ended, True
            try:
                self._file.write(content)
            except OSError as error:
                if error.errno not in _FULL or freed > 2 * len(content) + _ENOUGH:
                    raise
                fault = error
            else:
                return
        raise fault

    def _remove(self, names: Iterable[str]) -> OSError | None:
        """Remove what can be removed; a directory may be sticky, and the files of others then stay."""
        refused = [error for error in map(self._refusal, names) if error is not None]
        return refused[0] if refused else None

    def _refusal(self, name: str) -> OSError | None:
        try:
            (self._directory / name).unlink(missing_ok=True)
        except OSError as error:
            return error
        return None

    def _is_rubbish(self, name: str, names: AbstractSet[str], unread: AbstractSet[str]) -> bool:
        found = _OURS.fullmatch(name)
        if found is None:
            return False
        if found[1] in self._last.ids and not self._unwritten:
            return True  # counted, and could not be removed then
        letter = f"{found[1]}.json"
        if (letter in names and letter not in unread) or is_held(lock_path(self._directory, found[1])):
            return False
        try:
            changed = (self._directory / name).lstat().st_mtime
        except FileNotFoundError:
            return False
        return self._clock() - changed > (_UNREAD_FOR_GOOD if letter in names else _FOR_GOOD)

    def _is_past(self, when: float) -> bool:
        return abs(self._clock() - when) > _FOR_GOOD  # a clock that was set back makes nothing stay for ever

    def _say(self, trouble: str) -> None:
        if trouble and trouble != self._trouble:
            _log.warning("processes.directory: %s", trouble)
        self._trouble = trouble


def _files(processes: Mapping[str, ProcessSnapshot], names: AbstractSet[str]) -> Iterator[str]:
    for name in processes:
        yield from (each for each in (f"{name}.json", f"{name}.lock", f".{name}.tmp") if each in names)
