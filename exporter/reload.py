"""Reads the configuration again while everything runs: a good one counts from then on, a bad one changes nothing."""

from __future__ import annotations

import functools
import logging
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

from exporter.config import Config, ConfigError
from exporter.sidecar import Sidecar
from exporter.web_file import WebFileError
from exporter.web_keeper import Keeper

_log = logging.getLogger(__name__)


class Reloader:
    """Reloads, one at a time, in a thread of its own; ``again`` reads the file anew and raises what `load` does.

    Another looks at the web configuration: a reload may hang, at a secret that is a pipe, say; no lock waits for it.
    """

    def __init__(self, sidecar: Sidecar, keeper: Keeper, *, file: Path, again: Callable[[], Config]) -> None:
        self._sidecar = sidecar
        self._keeper = keeper
        self._file = file
        self._again = again
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="pool-exporter-reload")
        self._looker = ThreadPoolExecutor(1, thread_name_prefix="pool-exporter-web-file")
        self._asking = threading.Lock()
        self._next: Future[tuple[str, ...]] | None = None
        self._looking: Future[None] | None = None

    def ask(self) -> Future[tuple[str, ...]]:
        """Have it read again, and return what will be wrong with it; who asks while one waits already shares that."""
        with self._asking:
            if self._next is None:
                self._next = self._thread.submit(self._reload)
            return self._next

    def look(self) -> None:
        """Have the web configuration read again if it has changed; waits for nothing."""
        if self._looking is None or self._looking.done():
            self._looking = self._looker.submit(self._keeper.look)

    def close(self) -> None:
        """Reload nothing more."""
        for each in (self._thread, self._looker):
            each.shutdown(wait=False, cancel_futures=True)

    def _reload(self) -> tuple[str, ...]:
        with self._asking:
            self._next = None  # whoever asks from here on may have changed the file after it is read
        faults = self._tried()
        if faults:
            self._sidecar.note_refusal()
            _log.error("the configuration cannot be used; the one before still counts:\n%s", "\n".join(faults))
        else:
            _log.info("the configuration %s was read again and counts from now on", self._file)
        return faults

    def _tried(self) -> tuple[str, ...]:
        try:
            config = self._again()
            now, then = self._sidecar.config.web, config.web
            if (now.host, now.port) != (then.host, then.port):
                return (f"{self._file}: web.listen: cannot change while it runs; restart to apply it, or take it back",)
            self._keeper.follow(then.config_file, also=functools.partial(self._sidecar.apply, config))
        except ConfigError as error:
            return tuple(f"{fault.file or self._file}:{fault}" for fault in error.faults)
        except WebFileError as error:
            return tuple(f"{fault.file}:{fault}" for fault in error.faults)
        except OSError as error:
            return (
                f"{error.filename or self._file}: cannot be read: {error.strerror}; make it readable to this process",
            )
        except Exception:
            _log.exception("could not apply the configuration; please report it")
            return (f"{self._file}: could not be applied because of an error of ours; the log says which",)
        return ()
