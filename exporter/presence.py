"""The mark that a process lives: a lock on a file of its own, which the kernel takes back however the process ends."""

from __future__ import annotations

import contextlib
import os
import stat
from pathlib import Path
from types import ModuleType

fcntl: ModuleType | None
try:
    import fcntl
except ImportError:  # Windows: whoever reads has only the age of what was published to go by
    fcntl = None


_TRIES = 3
"""Another may take the file away at the very moment that it is locked, and hardly ever again."""

_FIRST = 3  # the numbers below are standard input, output and errors, even of who has closed them


def write_file(path: Path, content: bytes) -> None:
    """Put a file with ``content`` in the place of ``path``, whole or not at all. Raises OSError.

    Whatever lies where it is made, a link, a pipe or somebody else's file, is removed: never followed, waited for or
    written into. Everybody may read it, whatever the umask: who may look is the directory's to say.
    """
    unfinished = path.with_name(f".{path.stem.removeprefix('.')}.tmp")
    try:
        unfinished.unlink(missing_ok=True)
        handle = _open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NONBLOCK)
        try:
            os.fchmod(handle, 0o644)
            while content:
                content = content[os.write(handle, content) :]
        finally:
            os.close(handle)
        unfinished.replace(path)
    except OSError:
        with contextlib.suppress(OSError):
            unfinished.unlink(missing_ok=True)
        raise


def _open(path: Path, flags: int) -> int:
    """Open a file under a number that no print of an application without its standard output writes to."""
    handle = os.open(path, flags | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644)
    if handle >= _FIRST or fcntl is None:
        return handle
    try:
        return int(fcntl.fcntl(handle, fcntl.F_DUPFD_CLOEXEC, _FIRST))
    finally:
        os.close(handle)


def lock_path(directory: Path, name: str) -> Path:
    """Return where the process that publishes under ``name`` has its lock."""
    return directory / f"{name}.lock"


SIDECAR = ".sidecar"
"""The name of the one sidecar that takes away what ended processes leave."""


def sidecar_lock(directory: Path) -> Path:
    """Return the lock of that sidecar, which holds it for as long as it runs."""
    return lock_path(directory, SIDECAR)


class Presence:
    """Holds the lock of one name in one directory. A pid would not do: pids come back, and each container has its 1.

    Not for two threads at once. A fork inherits the lock with the file: the child must `forget` it.
    """

    def __init__(self, directory: Path, name: str) -> None:
        self._path = lock_path(directory, name)
        self._handle: int | None = None

    def hold(self) -> bool:
        """Take the lock, or make sure that it is held still; return whether it is. Raises OSError.

        A program that makes itself a daemon closes every file it has, and somebody may empty the directory.
        """
        if fcntl is None:
            return False
        if self._handle is not None and not self._is_ours(self._handle):
            self.forget()  # somebody took the file away; what was closed behind our back is not ours to close
        if self._handle is None:
            self._handle = self._locked(fcntl)
        return self._handle is not None

    @property
    def held(self) -> bool:
        """Tell whether the lock is held, on the file that readers find."""
        return self._handle is not None and self._is_ours(self._handle)

    def release(self) -> None:
        """Take the mark away: this process holds nothing open any more."""
        if self.held:
            with contextlib.suppress(OSError):
                self._path.unlink(missing_ok=True)
        self.forget()

    def forget(self) -> None:
        """Close the file and leave the mark to whoever else holds it: the parent of this fork."""
        if self._handle is not None and self._is_our_file(self._handle):
            with contextlib.suppress(OSError):
                os.close(self._handle)
        self._handle = None

    def _locked(self, locks: ModuleType) -> int | None:
        for _ in range(_TRIES):
            handle = self._opened()
            try:
                locks.flock(handle, locks.LOCK_EX | locks.LOCK_NB)
            except OSError:  # a file system without locks, or a reader that looks at this very moment
                os.close(handle)
                return None
            self._made = _identity(os.fstat(handle))
            if self._is_ours(handle):
                return handle
            os.close(handle)  # who held it before has taken the file away meanwhile: nobody would see our lock
        return None

    def _opened(self) -> int:
        # Never through a link that somebody else put there; readable by the sidecar, whose user may be another.
        try:
            handle = _open(self._path, os.O_RDWR | os.O_CREAT | os.O_NONBLOCK)
        except PermissionError:  # another user's: a lock can be had on what can be read
            return _open(self._path, os.O_RDONLY | os.O_NONBLOCK)
        if stat.S_IMODE(os.fstat(handle).st_mode) != 0o644:  # of the umask of the application
            with contextlib.suppress(OSError):
                os.fchmod(handle, 0o644)
        return handle

    def _is_ours(self, handle: int) -> bool:
        """Tell whether the file that we have open is the one that readers find under our name."""
        try:
            return self._is_our_file(handle) and _identity(os.stat(self._path)) == self._made  # noqa: PTH116  pairs
        except OSError:
            return False

    def _is_our_file(self, handle: int) -> bool:
        try:
            return _identity(os.fstat(handle)) == self._made
        except OSError:
            return False


def _identity(status: os.stat_result) -> tuple[int, int]:
    return status.st_dev, status.st_ino


def is_held(path: Path) -> bool | None:
    """Tell whether some process holds the lock of this file; None when that cannot be told. Waits for nobody.

    A file that is not there is held by nobody; its process may live all the same, should another have removed it.
    """
    if fcntl is None:
        return None
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    except OSError:
        return None
    try:
        fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return None
    finally:
        os.close(handle)
    return False
