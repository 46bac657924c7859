"""Pools of users' own whose methods take more, or do more, than SQLAlchemy's."""

from __future__ import annotations

from typing import Any

from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.pool import QueuePool


class GenerousPool(QueuePool):
    """A user's pool whose methods take more than SQLAlchemy's."""

    heard: tuple[Any, ...] = ()

    def connect(self, tag: str = "") -> Any:
        self._hear(tag)
        return super().connect()

    def dispose(self, *, force: bool = False) -> None:
        self._hear(force)
        super().dispose()

    def recreate(self, *, tag: str = "") -> Any:
        self._hear(tag)
        return super().recreate()

    def _do_return_conn(self, record: Any, note: str = "") -> None:
        self._hear(note)
        super()._do_return_conn(record)

    def _hear(self, what: object) -> None:
        self.heard = (*self.heard, what)


class PersistentPool(QueuePool):
    """A user's pool that tries again, by calling its own connect()."""

    tries = 2

    def connect(self) -> Any:
        try:
            return super().connect()
        except (DBAPIError, OSError, PoolTimeoutError):
            if not self.tries:
                raise
            self.tries -= 1
            return self.connect()


class _SizelessPool(QueuePool):
    """What needs no size to close its connections."""

    def dispose(self) -> None:
        while self.checkedin():
            self._pool.get(block=False).close()


class OddSizedPool(_SizelessPool):
    """A user's pool whose size is an attribute, as that of a SingletonThreadPool is."""

    @property
    def size(self) -> int:  # type: ignore[override]
        return 7


class UnsizedPool(_SizelessPool):
    """A user's pool that does not tell its size."""

    def size(self) -> int:
        raise RuntimeError("planted")
