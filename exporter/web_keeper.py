"""Keeps what the web configuration says, and reads it again when it, or a certificate that it names, has changed."""

from __future__ import annotations

import logging
import ssl
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

from exporter.web_file import WebFile, read
from exporter.web_tls import context

_LOCKS = ("basic_auth_users", "tls_server_config", "client_auth_type", "such a strict client_auth_type",
          "client_allowed_sans")  # fmt: skip

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Kept:
    """What counts now; without ``context`` there is no TLS."""

    file: WebFile = field(default_factory=WebFile)
    context: ssl.SSLContext | None = None


class Keeper:
    """Holds the web configuration in ``now``, which is replaced as a whole; None stands for no file, hence no lock.

    Raises what `read` does when the first version is faulty; later ones that are change nothing.
    """

    def __init__(self, path: Path | None = None) -> None:
        self._lock = threading.Lock()
        self._complaint = ""
        self.follow(path)

    def follow(self, path: Path | None, *, also: Callable[[], None] = lambda: None) -> None:
        """Read another file, or the same one again, from now on; raise OSError or ValueError and change nothing.

        ``also`` is what changes with it, once that is known to be good: what it raises changes nothing here either.
        """
        with self._lock:
            stamps, kept = _made(path)
            also()
            self._path, self._stamps, self.now = path, stamps, kept

    def look(self) -> None:
        """Read the file again if anything has changed; raises nothing. What is faulty is said once."""
        with self._lock:
            if self._path is None or (not self._complaint and self._stamps == _stamps(self.now.file.files)):
                return
            try:
                stamps, kept = _made(self._path)
                _check_still_locked(self.now.file, kept.file)
                self._stamps, self.now = stamps, kept
            except (OSError, ValueError) as error:
                complaint = _failure(error, self._path) if isinstance(error, OSError) else str(error)
                if complaint != self._complaint:
                    _log.warning(
                        "web.config_file %s cannot be used; the version before still counts: %s", self._path, complaint
                    )
                self._complaint = complaint
            else:
                self._complaint = ""
                _log.info("web.config_file %s was read again", self._path)


def _made(path: Path | None) -> tuple[tuple[object, ...], Kept]:
    if path is None:
        return (), Kept()
    # Which files there are is known once they are read. What changes between the two readings is read at the next look.
    stamps = _stamps(read(path).files)
    file = read(path)
    return stamps, Kept(file, None if file.tls is None else context(file.tls))


def _check_still_locked(before: WebFile, now: WebFile) -> None:
    """Raise ValueError where a lock is gone: a file that is being written, or that a full disk cut off, looks so."""
    for what, was, there in zip(_LOCKS, _locks(before), _locks(now), strict=True):
        if was > there:
            raise ValueError(
                f"has no {what} any more; send SIGHUP to open the page if that is meant, or write it again"
            )


def _locks(file: WebFile) -> tuple[int, ...]:
    """Tell how strong each of the locks is; 0 is none."""
    strength, named = (0, False) if file.tls is None else (file.tls.strength, file.tls.names is not None)
    return bool(file.users), file.tls is not None, strength > 0, strength, named


def _failure(error: OSError, path: Path) -> str:
    return (
        f"{error.filename or path}: {error.strerror}; write it again, or take web.config_file out of the configuration "
        "and send SIGHUP"
    )


def _stamps(paths: Iterable[Path]) -> tuple[object, ...]:
    return tuple(map(_stamp, paths))


def _stamp(path: Path) -> tuple[int, int, int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino, found.st_mtime_ns, found.st_size
