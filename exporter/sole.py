"""The one sidecar of a directory: which of those that read it settles what the dead left, and what the others say."""

from __future__ import annotations

import contextlib
import logging
from pathlib import Path

from exporter.presence import SIDECAR, Presence, is_held, sidecar_lock

_log = logging.getLogger(__name__)


class Sole:
    """Holds a directory's lock for sidecars, if no other does. Not for two threads at once."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._presence = Presence(directory, SIDECAR)
        self._claims = False
        self._second = False  # another was there when we looked last

    def claim(self) -> None:
        """Take the lock as a sidecar does that stays, and say so where another one is; raises nothing.

        Who only looks once claims nothing, and does not say that a sidecar is there.
        """
        self._claims = True
        with contextlib.suppress(OSError):  # the directory may be made later, or not be ours to write into
            self.hold()

    @property
    def held(self) -> bool:
        """Tell whether the lock is ours already."""
        return self._presence.held

    def hold(self) -> bool:
        """Take the lock, or make sure that it is held still; return whether it is. Raises OSError."""
        held = self._presence.hold()
        # Where a file system has no locks nobody settles, and nobody is in the way.
        second = not held and is_held(sidecar_lock(self._directory)) is True
        if self._claims and second and not self._second:
            _log.warning(
                "another sidecar keeps the counts of ended processes in %s; this one shows the same, and writes "
                "nothing there while that one runs. Stop one of them if two are not wanted",
                self._directory,
            )
        elif self._claims and held and self._second:
            _log.warning("the other sidecar in %s has ended; this one takes its place", self._directory)
        self._second = second
        return held

    def release(self) -> None:
        """Let another sidecar have it."""
        self._presence.release()
