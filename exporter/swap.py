"""The swap: an object gets a subclass of its own class, and later its own class back, while others use it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

_CLASS: Any = vars(object)["__class__"]
"""What sets an object's class, whatever its own class has under that name."""


def base_of(watched: object) -> Any:
    """Return the class that a swapped object had; None for one that has its own."""
    return getattr(type(watched), "_pool_exporter_base", None)


def subclass(base: Any, body: Callable[[], dict[str, Any]]) -> Any:
    """Return the subclass that watches, one for each class. Same name and module: messages stay what they were.

    Raises TypeError where the application's classes do not let it be made without running code of theirs.
    """
    for known in type.__subclasses__(base):  # which holds them weakly: a class of a reloaded module can go
        if vars(known).get("_pool_exporter_base") is base:
            return known
    ours = {"__module__": base.__module__, "__qualname__": base.__qualname__, "__doc__": base.__doc__}
    # What asks an object for its class hears of the one that it had: super(self.__class__, self) would come back to
    # where it is for ever, and recreate() would make another of ours.
    stands_for = property(lambda _self: base, _CLASS.__set__)
    return _made(base, {**ours, "__class__": stands_for, "_pool_exporter_base": base, **body()})


def _made(base: Any, body: dict[str, Any]) -> Any:
    """Make a class, past whatever the application does when a class of its own is inherited from."""
    if type(base) is type and not any("__init_subclass__" in vars(each) for each in base.__mro__ if _is_theirs(each)):
        return type(base.__name__, (base,), body)
    # It is born of an ancestor of SQLAlchemy's, and moved. TypeError when the two are laid out differently.
    ancestor = next(each for each in base.__mro__ if not _is_theirs(each))
    made = type.__new__(type(base), base.__name__, (ancestor,), body)
    type.__setattr__(made, "__bases__", (base,))
    return made


def _is_theirs(one: type) -> bool:
    return one is not object and one.__module__.partition(".")[0] != "sqlalchemy"


def swap_class(watched: Any, other: type) -> None:
    """Give an object another class, and keep its attributes quick to find.

    Raises TypeError where the two are laid out differently.
    """
    _CLASS.__set__(watched, other)
    # The interpreter now keeps the object's attributes in a table shared with those of its old class, where it finds
    # none of them the fast way any more: half a microsecond a cycle, in SQLAlchemy's own code. popitem() gives it a
    # table of its own, in place and at once; what it takes out is what was put in last.
    attributes = vars(watched)
    attributes["_pool_exporter_swapped"] = True
    last, value = attributes.popitem()
    if last != "_pool_exporter_swapped":  # another thread came between
        attributes[last] = value
