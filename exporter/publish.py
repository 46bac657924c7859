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
from exporter.records import ProcessSnapshot

FORMAT = 1
"""The version of what is written. It changes when an older reader would misunderstand; new fields do not change it."""

_log = logging.getLogger(__name__)


class Publisher:
    """Writes this process's snapshot into a directory every ``interval`` seconds, from a daemon thread.

    A reader sees the old file or the new one, never a part: each is written under another name and then renamed.
    Whatever goes wrong stays here; it is said once, and once more when it works again.
    """

    def __init__(self, directory: Path, look: Callable[[], ProcessSnapshot], *, interval: float = 1.0) -> None:
        self._directory = directory
        self._look = look
        self._interval = interval
        self._failing = False
        self._stop = threading.Event()
        self._writing = threading.Lock()
        self._thread: threading.Thread | None = None
        self._name = ""

    def start(self) -> None:
        """Begin to publish, under a name that no other process has, whatever their pids are."""
        self._name = f"{os.getpid()}.{secrets.token_hex(8)}"
        self._stop, self._writing = threading.Event(), threading.Lock()
        # In a child, an older one is the parent's; and one that does not start is none to wait for.
        self._thread = None
        thread = threading.Thread(target=self._run, args=(self._stop,), name="pool-exporter", daemon=True)
        thread.start()
        self._thread = thread

    def stop(self) -> None:
        """End the thread and take the file away: this process holds nothing open any more."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join(timeout=self._interval)
        with contextlib.suppress(OSError):
            self._path().unlink(missing_ok=True)

    def _path(self) -> Path:
        return self._directory / f"{self._name}.json"

    def _run(self, stop: threading.Event) -> None:
        while not stop.is_set():
            self.publish()
            stop.wait(self._interval)

    def publish(self) -> None:
        """Write one snapshot now. Never raises."""
        with self._writing:
            self._publish()

    def _publish(self) -> None:
        try:
            self._write(json.dumps({"format": FORMAT, **dataclasses.asdict(self._look())}, separators=(",", ":")))
            self._say(None)
        except OSError as error:
            self._say(error)
        except Exception:
            contain("publish")

    def _write(self, text: str) -> None:
        unfinished = self._directory / f".{self._name}.tmp"
        # Never through a link that somebody else put there; readable by the sidecar, whose user may be another.
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
        try:
            with open(os.open(unfinished, flags, 0o644), "w", encoding="utf-8") as file:  # noqa: PTH123  with flags
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
