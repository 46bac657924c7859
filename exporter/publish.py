"""The letterbox's slot: a process's snapshot into POOL_EXPORTER_DIR, whole, once a second."""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path

from exporter.contained import contain
from exporter.records import PoolSnapshot, ProcessSnapshot
from exporter.slot import FORMAT, Slot

_PATIENCE = 1.0  # seconds that the end of a process waits for a snapshot that is being written
_MOMENT = 0.1  # seconds that a fork waits for the thread to end; it sleeps nearly always, and then ends at once

__all__ = ["FORMAT", "Publisher"]

_log = logging.getLogger(__name__)


class Publisher:
    """Writes this process's snapshot into a directory every ``interval`` seconds, from a daemon thread.

    A reader sees the old file or the new one, never a part: each is written under another name and then renamed.
    Whatever goes wrong stays here; it is said once, and once more when it works again. ``speak`` is called after what
    `look` gave is written, with no lock held: a log handler may be slow, ask the database, or end the thread.

    While no pool has ever been used one snapshot is enough: there is no thread then, until `wake` is called. While the
    process forks there is none either: Python warns of forks with threads, and a child would inherit their locks.
    """

    def __init__(
        self,
        directory: Path,
        look: Callable[[], ProcessSnapshot],
        *,
        interval: float = 1.0,
        handed_in: Callable[[tuple[PoolSnapshot, ...]], None] = lambda _left: None,
        speak: Callable[[], None] = lambda: None,
    ) -> None:
        self._slot = Slot(directory.absolute(), look, handed_in=handed_in)  # the application may go elsewhere
        self._speak = speak
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

    def start_in_child(self, *, say: bool = True) -> None:
        """Begin anew in a fork, which has used nothing yet: say so, from the calling thread, and rest.

        Without ``say`` the first word waits for `wake`: with many pools the fork would wait for it.
        No thread: a child may close all files, those that a thread writes to as well, or be patched by gevent, which
        takes a thread that runs already amiss. Raises RuntimeError where one is needed and cannot be started.
        """
        hung = self._writing.locked()  # as the parent was forked; what it waits for would keep the child waiting too
        self._slot.leave()  # it is the parent's
        self._begin()
        if say and not hung and not self._publish():
            self._run_thread()

    def wake(self) -> None:
        """Publish on when that has come to rest, or could not start. Raises RuntimeError when no thread can start."""
        self._woken = True
        if not self.awake and not self._ended:
            self._due = 0.0
            self._stop = threading.Event()  # that of a thread which has died may be set
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
        thread = self._thread
        return thread is not None and thread.is_alive()

    @property
    def ended(self) -> bool:
        """Tell whether the last word was said; what happens after it comes by `publish_here` alone."""
        return self._ended

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
                self._carefully(self._slot.put_last)
            finally:
                self._writing.release()
        self._speak()

    def publish_here(self, *, patience: float = 0.0) -> None:
        """Write one snapshot from the calling thread, which waits for another that writes at most so many seconds."""
        # Without a time-out: it may be this thread that is writing, and whatever it does then has led back to us.
        if self._writing.acquire(timeout=patience):
            try:
                self._publish()
            finally:
                self._writing.release()
            self._speak()

    def publish(self) -> bool:
        """Write one snapshot now; return whether nothing more will come until `wake` is called. Never raises."""
        with self._writing:
            return not self._ended and self._publish()

    @property
    def due(self) -> bool:
        """Tell whether the last snapshot was written so long ago that it is time for the next."""
        return time.monotonic() >= self._due

    def _begin(self) -> None:
        # Of its own: a fork may have happened while another thread held the parent's.
        self._stop, self._writing = threading.Event(), threading.Lock()
        self._thread = None
        self._woken = self._paused = self._ended = False
        self._due = 0.0

    def _run_thread(self) -> None:
        thread = threading.Thread(target=self._run, args=(self._stop,), name="pool-exporter", daemon=True)
        self._thread = thread
        try:
            thread.start()
        except RuntimeError:
            self._thread = None
            raise

    def _run(self, stop: threading.Event) -> None:
        try:
            while not self._published_on(stop):
                time.sleep(_MOMENT)
        finally:  # however it ends
            if self._thread is threading.current_thread():
                self._thread = None

    def _published_on(self, stop: threading.Event) -> bool:
        """Publish until there is no more need; return False where that ended for want of memory, for a moment."""
        try:
            self._publish_on(stop)
        except MemoryError:  # between two snapshots, which contain their own: to wait takes memory, too
            return False
        except SystemExit:  # by a handler of the application's logging: it ends nobody's thread but its own
            return False
        return True

    def _publish_on(self, stop: threading.Event) -> None:
        me, pid = threading.current_thread(), os.getpid()
        stop.wait(max(self._due - time.monotonic(), 0.0))  # a process that forks often publishes no more often
        # No lock: whoever wakes us is the application. Should two threads come of it, the later one stays.
        while not stop.is_set() and self._thread is me:
            called, self._woken = self._woken, False
            resting = self.publish()
            self._speak()
            # What we were called for may be seen a moment later only.
            if not resting or called:
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

    def _publish(self) -> bool:
        self._due = time.monotonic() + self._interval
        return self._carefully(self._slot.put_more if self._ended else self._slot.put)

    def _carefully(self, put: Callable[[], bool | None]) -> bool:
        try:
            resting = put()
        except OSError as error:
            self._say(error)
        except Exception:
            contain("publish")
        else:
            self._say(None)
            return bool(resting)
        return False

    def _say(self, error: OSError | None) -> None:
        if error is not None and not self._failing:
            _log.warning(
                "cannot publish the pools of process %d into %s=%s: %s; trying on. The directory must exist and be "
                "writable for this process",
                os.getpid(),
                "POOL_EXPORTER_DIR",
                self._slot.directory,
                error,
            )
        elif error is None and self._failing:
            _log.warning("publishing the pools of process %d into %s again", os.getpid(), self._slot.directory)
        self._failing = error is not None
