"""The slot: under which name this process publishes, and what it has said already under this one and those before."""

from __future__ import annotations

import dataclasses
import logging
import os
import secrets
import time
from collections.abc import Callable, Container, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from exporter.contained import contain
from exporter.envelope import is_given_up, sealed
from exporter.merge import add_up, counted, is_used, since
from exporter.presence import Presence, is_held, sidecar_lock, write_file
from exporter.records import PoolSnapshot, ProcessSnapshot
from exporter.sound import is_sound

FORMAT = 1
"""The version of what is written. It changes when an older reader would misunderstand; new fields do not change it."""

_LONG = 5.0  # seconds without a letter of ours, after which somebody may have taken us for dead
_MOST_POOLS = 1000  # as many as a reader takes; a thousand pools are shown rather than none
_MANY = 250  # names that have left, after which a letter is ended for them though nobody may ever take it away

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Told:
    """What is in letters of this process already: its pools by name, and the errors that were contained."""

    pools: Mapping[str, PoolSnapshot] = field(default_factory=dict)
    contained: Mapping[str, int] = field(default_factory=dict)


class Slot:
    """Writes the snapshots that ``look`` gives into a directory. Not for two threads at once.

    ``handed_in`` is told which pools that are watched no more are written down for good.
    """

    def __init__(
        self,
        directory: Path,
        look: Callable[[], ProcessSnapshot],
        *,
        handed_in: Callable[[tuple[PoolSnapshot, ...]], None],
    ) -> None:
        self.directory = directory
        self._look = look
        self._handed_in = handed_in
        self._base = _Told()
        self._said: _Told | None
        self._take_name()

    def put(self) -> bool:
        """Publish; return whether nothing has ever happened, and nothing more needs to come. Raises OSError."""
        try:
            self._keep_name()
            locked = self._presence.hold()
            seen = self._look()
            if seen.left and self._may_hand_in(seen):
                self._hand_in(seen)
                locked = self._presence.hold()
                seen = self._look()
            pools = self._since(seen)
            self._resting = locked and not any(map(is_used, pools))
            self._post(seen, pools, locked=locked, resting=self._resting)
        except PermissionError:
            if self._said is not None:
                self._begin_anew()  # what we wrote as another user cannot be replaced; the lock tells that it is over
            raise
        return self._resting

    def put_last(self) -> None:
        """Publish that this process holds nothing open any more. Raises OSError."""
        written = False
        try:
            self._keep_name()
            locked = self._presence.hold()
            seen = self._look()
            self._post(seen, self._since(seen), locked=locked, ended=True)
            written = True
        finally:
            if written:
                self._presence.release()
            self._begin_anew()  # a lock that is there and free says as well that this letter was the last

    def put_more(self) -> None:
        """Publish, after the last word, what was counted since; the kernel tells when it is over. Raises OSError."""
        if any(is_used(counted(pool)) for pool in self._since(self._look())):
            self.put()

    def leave(self) -> None:
        """Begin anew in a fork: name and lock are the parent's."""
        self._presence.forget()
        self._base = _Told()
        self._take_name()

    def _since(self, seen: ProcessSnapshot) -> tuple[PoolSnapshot, ...]:
        """Return what belongs into this letter: what others of ours hold already is not counted again."""
        return _sound(since(_whole(seen), self._base.pools)[:_MOST_POOLS])

    def _post(
        self,
        seen: ProcessSnapshot,
        pools: tuple[PoolSnapshot, ...],
        *,
        locked: bool,
        resting: bool = False,
        ended: bool = False,
    ) -> None:
        known = self._base.contained
        errors = {place: max(count - known.get(place, 0), 0) for place, count in seen.contained.items()}
        letter = dataclasses.replace(
            seen, id=self._name, pools=pools, left=(), contained=errors, locked=locked, resting=resting, ended=ended
        )
        write_file(self._path(), sealed({"format": FORMAT, **vars(letter)}))
        self._wrote = time.monotonic()
        names = {pool.identity.name for pool in pools}
        self._said = _Told(_by_name(_whole(seen), names), seen.contained)

    def _hand_in(self, seen: ProcessSnapshot) -> None:
        """End this letter with all that it counts, pools that left included, and go on with another from there.

        So what is watched no more leaves this process for good, and no sum of its name falls.
        """
        pools = self._since(seen)
        self._post(seen, pools, locked=True, ended=True)
        # What has left is told no more, so that nothing is to be taken off from what others of its name count.
        self._said = _Told(_by_name(seen.pools, {pool.identity.name for pool in pools}), seen.contained)
        self._presence.release()
        self._begin_anew()
        self._handed_in(seen.left)

    def _may_hand_in(self, seen: ProcessSnapshot) -> bool:
        """Tell whether a sidecar is there to take an ended letter away; without one they would fill the directory."""
        return is_held(sidecar_lock(self.directory)) is not False or len(seen.left) >= _MANY

    def _keep_name(self) -> None:
        """Take another name when a sidecar has given this one up: what is published under it is not counted again."""
        if self._resting and not self._presence.held:
            # Taken for dead while at rest, as a daemon that closes all its files is: what was counted under that
            # name, nothing, may have been settled, and the name with it.
            self._take_name()
        elif self._said is not None and self._is_given_up():
            _log.warning(
                "process %d was taken for dead, for it was stopped or its lock removed; what it counts from now on is "
                "published under another name",
                os.getpid(),
            )
            self._presence.release()
            self._begin_anew()

    def _is_given_up(self) -> bool:
        # Rarely looked for: only when our file is gone, or so much time went by that somebody may have doubted us.
        if time.monotonic() - self._wrote < _LONG and os.path.lexists(self._path()):
            return False
        return is_given_up(self.directory, self._name)

    def _begin_anew(self) -> None:
        self._base = self._said or self._base
        self._presence.forget()
        self._take_name()

    def _take_name(self) -> None:
        self._name = f"{os.getpid()}.{secrets.token_hex(8)}"
        self._presence = Presence(self.directory, self._name)
        self._resting = False
        self._said = None
        self._wrote = 0.0

    def _path(self) -> Path:
        return self.directory / f"{self._name}.json"


def _by_name(pools: Iterable[PoolSnapshot], names: Container[str]) -> dict[str, PoolSnapshot]:
    return {pool.identity.name: pool for pool in pools if pool.identity.name in names}


def _whole(seen: ProcessSnapshot) -> tuple[PoolSnapshot, ...]:
    return add_up((*map(counted, seen.left), *seen.pools)) if seen.left else seen.pools


def _sound(pools: tuple[PoolSnapshot, ...]) -> tuple[PoolSnapshot, ...]:
    """Leave out pools that no reader takes: it would take none of the others either."""
    sound = tuple(filter(is_sound, pools))
    if len(sound) < len(pools):
        try:
            _complain(next(pool for pool in pools if not is_sound(pool)))
        except ValueError:
            contain("publish")
    return sound


def _complain(pool: PoolSnapshot) -> None:
    raise ValueError(f"the settings or figures of pool {pool.identity.name} cannot be published; it is left out")
