"""The letterbox's slot: a process's snapshot into POOL_EXPORTER_DIR, whole, once a second."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import logging
import os
import secrets
import threading
import time
from collections.abc import Callable
from pathlib import Path

from exporter.contained import contain
from exporter.merge import is_used
from exporter.presence import Presence
from exporter.records import ProcessSnapshot

FORMAT = 1
"""The version of what is written. It changes when an older reader would misunderstand; new fields do not change it."""

_PATIENCE = 1.0  # seconds that the end of a process waits for a snapshot that is being written
_MOMENT = 0.1  # seconds that a fork waits for the thread to end; it sleeps nearly always, and then ends at once

_log = logging.getLogger(__name__)


class Publisher:
    """Writes this process's snapshot into a directory every ``interval`` seconds, from a daemon thread.

    A reader sees the old file or the new one, never a part: each is written under another name and then renamed.
    Whatever goes wrong stays here; it is said once, and once more when it works again.

    While no pool has ever been used one snapshot is enough: there is no thread then, until `wake` is called. While the
    process forks there is none either: Python warns of forks with threads, and a child would inherit their locks.
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
        self._thread: threading.Thread | None
        self._writing: threading.Lock
        self._stop: threading.Event
        self._ended: bool
        self._begin()

    def start(self) -> None:
        """Begin to publish, under a name that no other process has, whatever their pids are.

        Raises RuntimeError when no thread can be started; `wake` tries again.
        """
        self._run_thread()

    def start_in_child(self) -> None:
        """Begin anew in a fork, which has used nothing yet: say so, from the calling thread, and rest.

        No thread: a child may close all files, those that a thread writes to as well, or be patched by gevent, which
        takes a thread that runs already amiss. Raises RuntimeError where one is needed and cannot be started.
        """
        hung = self._writing.locked()  # as the parent was forked; what it waits for would keep the child waiting too
        self._presence.forget()  # the parent's
        self._begin()
        if not hung and not self._publish():
            self._run_thread()

    def wake(self) -> None:
        """Publish on when that has come to rest, or could not start. Raises RuntimeError when no thread can start."""
        self._woken = True
        if self._thread is None and not self._ended:
            self._due = 0.0
            self._run_thread()

    def pause(self) -> None:
        """End the thread before a fork, or go on with it when it does not end within a moment."""
        thread = self._thread
        # Under gevent it is a greenlet of the thread that forks, and no thread.
        if thread is None or not thread.is_alive() or thread.native_id == threading.get_native_id():
            return
        deadline = time.monotonic() + _MOMENT
        self._stop.set()
        thread.join(timeout=_MOMENT)
        # Python takes a thread for ended a little before the kernel does, and asks the kernel when it warns.
        while os.path.exists(f"/proc/self/task/{thread.native_id}") and time.monotonic() < deadline:  # noqa: PTH110
            time.sleep(0.0002)
        self._stop = threading.Event()
        self._thread, self._paused = None, True

    def resume(self) -> None:
        """Begin the thread again that was ended for a fork. Raises RuntimeError when no thread can start."""
        if self._paused and self._thread is None and not self._ended:
            self._paused = False
            self._run_thread()

    @property
    def awake(self) -> bool:
        """Tell whether there is a thread that publishes."""
        return self._thread is not None

    def stop(self) -> None:
        """Publish for the last time, and say so: what was counted stays, what was open is not open any more."""
        if self._ended:
            return
        self._ended = True
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

    def publish_here(self, *, patience: float = 0.0) -> None:
        """Write one snapshot from the calling thread, which waits for another that writes at most so many seconds."""
        # Without a time-out: it may be this thread that is writing, and whatever it does then has led back to us.
        if self._writing.acquire(timeout=patience):
            try:
                if not self._ended:
                    self._publish()
            finally:
                self._writing.release()

    def publish(self) -> bool:
        """Write one snapshot now; return whether nothing more will come until `wake` is called. Never raises."""
        with self._writing:
            return not self._ended and self._publish()

    @property
    def due(self) -> bool:
        """Tell whether the last snapshot was written so long ago that it is time for the next."""
        return time.monotonic() >= self._due

    def _begin(self) -> None:
        self._take_name()
        # Of its own: a fork may have happened while another thread held the parent's.
        self._stop, self._writing = threading.Event(), threading.Lock()
        self._thread = None
        self._woken = self._paused = self._ended = False
        self._due = 0.0

    def _take_name(self) -> None:
        self._name = f"{os.getpid()}.{secrets.token_hex(8)}"
        self._presence = Presence(self._directory, self._name)
        self._resting = False

    def _run_thread(self) -> None:
        thread = threading.Thread(target=self._run, args=(self._stop,), name="pool-exporter", daemon=True)
        self._thread = thread
        try:
            thread.start()
        except RuntimeError:
            self._thread = None
            raise

    def _run(self, stop: threading.Event) -> None:
        me, pid = threading.current_thread(), os.getpid()
        stop.wait(max(self._due - time.monotonic(), 0.0))  # a process that forks often publishes no more often
        # No lock: whoever wakes us is the application. Should two threads come of it, the later one stays.
        while not stop.is_set() and self._thread is me:
            called, self._woken = self._woken, False
            # What we were called for may be seen a moment later only.
            if not self.publish() or called:
                stop.wait(self._interval)
            elif self._may_end():
                return
            else:
                self._thread = me
        if os.getpid() != pid:
            # A greenlet lives on in a child, where threading does not know it and would be surprised by its end.
            stop.wait()

    def _may_end(self) -> bool:
        """Give our place up, then look whether somebody has called meanwhile: in this order no call is missed."""
        self._thread = None
        return not self._woken

    def _publish(self, *, ended: bool = False) -> bool:
        self._due = time.monotonic() + self._interval
        try:
            if self._resting and not self._presence.held:
                # Taken for dead while at rest, as a daemon that closes all its files is: what was counted under that
                # name, nothing, may have been settled, and the name with it.
                self._take_name()
            locked = self._presence.hold()
            seen = self._look()
            resting = locked and not ended and not any(map(is_used, seen.pools))
            seen = dataclasses.replace(seen, id=self._name, locked=locked, resting=resting, ended=ended)
            text = json.dumps({"format": FORMAT, **vars(seen)}, default=vars, separators=(",", ":"))
            self._write(text.encode())
        except OSError as error:
            self._say(error)
        except Exception:
            contain("publish")
        else:
            self._say(None)
            self._resting = resting
            return resting
        return False

    def _path(self) -> Path:
        return self._directory / f"{self._name}.json"

    def _write(self, content: bytes) -> None:
        unfinished = self._directory / f".{self._name}.tmp"
        # Never through a link that somebody else put there.
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
        try:
            handle = os.open(unfinished, flags, 0o644)
            try:
                # Whatever the umask of the application: the sidecar's user may be another, and the directory's
                # permissions say who may look.
                os.fchmod(handle, 0o644)
                while content:
                    content = content[os.write(handle, content) :]
            finally:
                os.close(handle)
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
