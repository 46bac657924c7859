"""What the dead left behind: their counts are kept, their files removed, so that the directory does not grow."""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from collections.abc import Set as AbstractSet
from pathlib import Path

from exporter.ended import Ended, EndedFile
from exporter.letters import RejectedError
from exporter.presence import Presence, is_held, lock_path
from exporter.records import ProcessSnapshot

_FOR_GOOD = 60.0  # seconds after which a file without an owner is rubbish: whoever makes one needs it within moments
_OURS = re.compile(r"\.?(\d+\.[0-9a-f]{16})\.(?:json|lock|tmp)")

_log = logging.getLogger(__name__)


class Estate:
    """Settles one directory. When several sidecars read it only the first does. Not for two threads at once."""

    def __init__(self, directory: Path, *, clock: Callable[[], float] = time.time) -> None:
        self._directory = directory
        self._clock = clock
        self._file = EndedFile(directory)
        self._sole = Presence(directory, ".sidecar")
        self._trouble = ""

    def settle(self, dead: Mapping[str, ProcessSnapshot], names: AbstractSet[str]) -> Ended:
        """Take the counts of ``dead`` processes into the file, remove what is left of them, and return all counts.

        ``names`` are the directory's files, as they were listed before the processes were judged. A process that is not
        in ``ids`` of the result has not been counted: it could not be written down, or somebody else is at it.
        """
        try:
            ended = self._known()
        except OSError as error:
            return self._say(f"cannot read what ended processes had counted: {error}")
        except RejectedError as error:
            return self._say(
                f"cannot understand what ended processes had counted ({error.reason}); see {self._file.path}"
            )
        try:
            ended = self._settled(ended, dead, names)
            self._say("")
        except OSError as error:
            self._say(f"what ended processes left stays there until it can be written: {error}")
        return ended

    def release(self) -> None:
        """Let another sidecar settle."""
        self._sole.release()

    def _known(self) -> Ended:
        try:
            return self._file.read()
        except RejectedError as error:
            # A later version's is left for that; what nobody can read helps nobody where it is.
            if error.reason != "malformed" or not self._sole.hold():
                raise
            self._file.set_aside()
            _log.warning("what ended processes had counted is lost: %s was damaged, and is set aside", self._file.path)
            return self._file.read()

    def _settled(self, ended: Ended, dead: Mapping[str, ProcessSnapshot], names: AbstractSet[str]) -> Ended:
        more = {name: snapshot for name, snapshot in dead.items() if name not in ended.ids}
        gone = [id_ for id_, when in ended.ids.items() if f"{id_}.json" not in names and self._is_past(when)]
        rubbish = [name for name in names if self._is_rubbish(name, names, ended)]
        if not (more or gone or rubbish) or not self._sole.hold():
            return ended
        if more or gone:
            # Written down before anything is removed, and known by name until it is: a sidecar that is killed in
            # between, and another that reads meanwhile, count each process once.
            ended = ended.plus(more, now=self._clock()).without(gone)
            self._file.write(ended)
        self._remove((*rubbish, *_files(more, names)))
        return ended

    def _remove(self, names: Iterable[str]) -> None:
        """Remove what can be removed; a directory may be sticky, and the files of others then stay."""
        refused = [error for error in map(self._refusal, names) if error is not None]
        if refused:
            raise refused[0]

    def _refusal(self, name: str) -> OSError | None:
        try:
            (self._directory / name).unlink(missing_ok=True)
        except OSError as error:
            return error
        return None

    def _is_rubbish(self, name: str, names: AbstractSet[str], ended: Ended) -> bool:
        found = _OURS.fullmatch(name)
        if found is None:
            return False
        if found[1] in ended.ids:
            return True  # counted, and could not be removed then
        if f"{found[1]}.json" in names or is_held(lock_path(self._directory, found[1])):
            return False
        try:
            return self._is_past((self._directory / name).lstat().st_mtime)
        except FileNotFoundError:
            return False

    def _is_past(self, when: float) -> bool:
        return self._clock() - when > _FOR_GOOD

    def _say(self, trouble: str) -> Ended:
        if trouble and trouble != self._trouble:
            _log.warning("processes.directory: %s", trouble)
        self._trouble = trouble
        return Ended()


def _files(processes: Mapping[str, ProcessSnapshot], names: AbstractSet[str]) -> Iterator[str]:
    for name in processes:
        yield from (each for each in (f"{name}.json", f"{name}.lock", f".{name}.tmp") if each in names)
