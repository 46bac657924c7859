"""The letterbox's slot: a process's snapshot into POOL_EXPORTER_DIR, whole, once a second."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import logging
import os
import secrets
import threading
from collections.abc import Callable
from pathlib import Path

from exporter.contained import contain
from exporter.presence import Presence
from exporter.records import PoolSnapshot, ProcessSnapshot

FORMAT = 1
"""The version of what is written. It changes when an older reader would misunderstand; new fields do not change it."""

_PATIENCE = 1.0  # seconds that the end of a process waits for a snapshot that is being written

_log = logging.getLogger(__name__)


class Publisher:
    """Writes this process's snapshot into a directory every ``interval`` seconds, from a daemon thread.

    A reader sees the old file or the new one, never a part: each is written under another name and then renamed.
    Whatever goes wrong stays here; it is said once, and once more when it works again.

    While no pool has ever been used one snapshot is enough: there is no thread then, until `wake` is called. The master
    of a prefork server is so, and forks without Python's warning about threads.
    """

    def __init__(
        self,
        directory: Path,
        look: Callable[[], ProcessSnapshot],
        *,
        interval: float = 1.0,
    ) -> None:
        self._directory = directory
        self._look = look
        self._interval = interval
        self._failing = False
        self._begin()

    def start(self) -> None:
        """Begin to publish, under a name that no other process has, whatever their pids are.

        Raises RuntimeError when no thread can be started; `wake` tries again.
        """
        self._presence.forget()  # in a child, it is the parent's
        self._begin()
        self._run_thread()

    def wake(self) -> None:
        """Publish on when that has come to rest, or could not start. Raises RuntimeError when no thread can start."""
        self._woken = True
        if self._thread is None and not self._stop.is_set():
            self._run_thread()

    @property
    def awake(self) -> bool:
        """Tell whether there is a thread that publishes."""
        return self._thread is not None

    def stop(self) -> None:
        """Publish for the last time, and say so: what was counted stays, what was open is not open any more."""
        if self._stop.is_set():
            return
        self._stop.set()
        thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            thread.join(timeout=_PATIENCE)
        # A disk that hangs must not keep the process from ending.
        if self._writing.acquire(timeout=_PATIENCE):
            try:
                self._publish(ended=True)
            finally:
                self._writing.release()
        self._presence.release()

    def publish(self) -> bool:
        """Write one snapshot now; return whether nothing more will come until `wake` is called. Never raises."""
        with self._writing:
            return not self._stop.is_set() and self._publish()

    def _begin(self) -> None:
        self._name = f"{os.getpid()}.{secrets.token_hex(8)}"
        self._presence = Presence(self._directory, self._name)
        # Of its own: a fork may have happened while another thread held the parent's.
        self._stop, self._writing = threading.Event(), threading.Lock()
        self._thread: threading.Thread | None = None
        self._woken = False

    def _run_thread(self) -> None:
        thread = threading.Thread(target=self._run, args=(self._stop,), name="pool-exporter", daemon=True)
        self._thread = thread
        try:
            thread.start()
        except RuntimeError:
            self._thread = None
            raise

    def _run(self, stop: threading.Event) -> None:
        me = threading.current_thread()
        # No lock: whoever wakes us is the application. Should two threads come of it, the later one stays.
        while not stop.is_set() and self._thread is me:
            self._woken = False
            if not self.publish():
                stop.wait(self._interval)
            elif self._may_end():
                return
            else:
                self._thread = me

    def _may_end(self) -> bool:
        """Give our place up, then look whether somebody has called meanwhile: in this order no call is missed."""
        self._thread = None
        return not self._woken

    def _publish(self, *, ended: bool = False) -> bool:
        try:
            locked = self._presence.hold()
            seen = self._look()
            resting = locked and not ended and not any(map(_is_used, seen.pools))
            seen = dataclasses.replace(seen, id=self._name, locked=locked, resting=resting, ended=ended)
            self._write(json.dumps({"format": FORMAT, **vars(seen)}, default=vars, separators=(",", ":")))
        except OSError as error:
            self._say(error)
        except Exception:
            contain("publish")
        else:
            self._say(None)
            return resting
        return False

    def _path(self) -> Path:
        return self._directory / f"{self._name}.json"

    def _write(self, text: str) -> None:
        unfinished = self._directory / f".{self._name}.tmp"
        # Never through a link that somebody else put there.
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
        try:
            with open(os.open(unfinished, flags, 0o644), "w", encoding="utf-8") as file:  # noqa: PTH123  with flags
                # Whatever the umask of the application: the sidecar's user may be another, and the directory's
                # permissions say who may look.
                os.fchmod(file.fileno(), 0o644)
                file.write(text)
            unfinished.replace(self._path())
        except OSError:
            with contextlib.suppress(OSError):
                unfinished.unlink(missing_ok=True)
            raise

    def _say(self, error: OSError | None) -> None:
        if error is not None and not self._failing:
            _log.warning(
                "cannot publish the pools of process %d into %s=%s: %s; trying on. The directory must exist and be "
                "writable for this process",
                os.getpid(),
                "POOL_EXPORTER_DIR",
                self._directory,
                error,
            )
        elif error is None and self._failing:
            _log.warning("publishing the pools of process %d into %s again", os.getpid(), self._directory)
        self._failing = error is not None


def _is_used(pool: PoolSnapshot) -> bool:
    """Tell whether anything has ever happened to a pool; what comes next makes a connection, and wakes us."""
    counts = (pool.checkouts, pool.connects, pool.connect_errors, pool.disposals, pool.idle, pool.used)
    return any((*counts, pool.waiting or 0, pool.detached, pool.orphaned))
