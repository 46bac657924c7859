"""The swap: an object gets a subclass of its own class, and later its own class back, while others use it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


def base_of(watched: object) -> Any:
    """Return the class that a swapped object had; None for one that has its own."""
    return getattr(type(watched), "_pool_exporter_base", None)


def subclass(base: Any, body: Callable[[], dict[str, Any]]) -> Any:
    """Return the subclass that watches, one for each class. Same name and module: messages stay what they were.

    Raises whatever a metaclass or an ``__init_subclass__`` of the application's raises.
    """
    for known in base.__subclasses__():  # which holds them weakly: a class of a reloaded module can go
        if vars(known).get("_pool_exporter_base") is base:
            return known
    ours = {"__module__": base.__module__, "__qualname__": base.__qualname__, "__doc__": base.__doc__}
    made: Any = type(base)(base.__name__, (base,), {**ours, **body()})
    # Not before: one that __init_subclass__ refused lives on, among the subclasses, until the collector comes.
    made._pool_exporter_base = base
    return made


def swap_class(watched: Any, other: type) -> None:
    """Give an object another class, and keep its attributes quick to find.

    Raises TypeError where the two are laid out differently.
    """
    watched.__class__ = other
    # The interpreter now keeps the object's attributes in a table shared with those of its old class, where it finds
    # none of them the fast way any more: half a microsecond a cycle, in SQLAlchemy's own code. popitem() gives it a
    # table of its own, in place and at once; what it takes out is what was put in last.
    attributes = vars(watched)
    attributes["_pool_exporter_swapped"] = True
    last, value = attributes.popitem()
    if last != "_pool_exporter_swapped":  # another thread came between
        attributes[last] = value
