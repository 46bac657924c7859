"""Pools as users write them: with slots, with a recreate() that knows its class, with overrides of their own."""

from __future__ import annotations

from typing import Any

from sqlalchemy.pool import QueuePool


class SlottedPool(QueuePool):
    """A user's pool with slots of its own."""

    __slots__ = ("notes",)

    def __init__(self, *args: Any, **options: Any) -> None:
        self.notes: list[str] = []
        super().__init__(*args, **options)


class StubbornPool(QueuePool):
    """A user's pool that always makes one of its own class, whatever class it is of."""

    def recreate(self) -> QueuePool:
        return StubbornPool(
            self._creator, pool_size=self.size(), max_overflow=self._max_overflow, timeout=self._timeout,
            _dispatch=self.dispatch, dialect=self._dialect,
        )  # fmt: skip


class TalkativePool(QueuePool):
    """A user's pool that overrides what we override."""

    said: list[str]

    def connect(self) -> Any:
        vars(self).setdefault("said", []).append("connect")
        return super().connect()

    def _do_return_conn(self, record: Any) -> None:
        self.said.append("return")
        super()._do_return_conn(record)
