"""Pools as users write them: with slots, with overrides of their own, and such as allow nobody what they do."""

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


class _Final(QueuePool):
    """What is not to be inherited from but where it says so."""

    def __init_subclass__(cls, *, last: bool = False, **_options: Any) -> None:
        if not last:
            raise TypeError(f"{cls.__name__} is final")


class FinalPool(_Final, last=True):
    """A user's pool that is not to be inherited from."""


class FinalSlottedPool(_Final, last=True):
    """One that has slots as well: no class but one that inherits from it is laid out as it is."""

    __slots__ = ("notes",)


class RegisteredPool(QueuePool):
    """A user's pool that keeps a list of what inherits from it."""

    registered: list[type] = []  # noqa: RUF012  shared is what it is

    def __init_subclass__(cls, **_options: Any) -> None:
        RegisteredPool.registered.append(cls)


class _Numbering(type):
    """A metaclass that asks for a keyword of every class."""

    def __new__(cls, name: str, bases: tuple[type, ...], body: dict[str, Any], *, number: int) -> Any:
        return super().__new__(cls, name, bases, {**body, "number": number})

    def __init__(cls, name: str, bases: tuple[type, ...], body: dict[str, Any], **_options: Any) -> None:
        super().__init__(name, bases, body)


class NumberedPool(QueuePool, metaclass=_Numbering, number=7):
    """A user's pool whose metaclass wants to be told more than a name."""


class NumberedSlottedPool(QueuePool, metaclass=_Numbering, number=8):
    """The same with slots."""

    __slots__ = ("notes",)


class SelfAwarePool(QueuePool):
    """A user's pool that asks itself for its class when it wants its parent's."""

    def _do_get(self) -> Any:
        return super(self.__class__, self)._do_get()  # what many wrote before Python 3

    def _do_return_conn(self, record: Any) -> None:
        super(self.__class__, self)._do_return_conn(record)


class StrictPool(QueuePool):
    """A user's pool that lets no stranger write on it."""

    def __setattr__(self, name: str, value: Any) -> None:
        if name.startswith("_pool_exporter"):
            raise AttributeError(f"{name} is none of my attributes")
        super().__setattr__(name, value)
