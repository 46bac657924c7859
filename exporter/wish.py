"""The wish: how a pool is to be watched, checked as soon as somebody says it."""

from __future__ import annotations

from dataclasses import dataclass

from prometheus_client import CollectorRegistry

from exporter.readable import readable


@dataclass(frozen=True)
class Wish:
    """How a pool is to be watched. None is the default, and for a pool that is watched already what it has.

    ``leak_after`` is in seconds. ``by_name`` tells whether the application asked for this very pool, or whether it is
    watched because all are: then nothing of the application's may fail because of us, its own metrics of our names
    included.

    Raises:
        TypeError: one of them is of another type.
        ValueError: ``leak_after`` is not above 0.
    """

    name: str | None = None
    leak_after: float | None = None
    call_sites: bool | None = None
    registry: CollectorRegistry | None = None
    by_name: bool = False

    def __post_init__(self) -> None:
        _check_leak_after(self.leak_after)
        _check_type("name", self.name, str, "a text")  # names are sorted at every scrape: one wrong, and all are lost
        _check_type("call_sites", self.call_sites, bool, "True or False")
        _check_type("registry", self.registry, CollectorRegistry, "a CollectorRegistry of prometheus_client")
        if self.name is not None:
            object.__setattr__(self, "name", readable(self.name))


def _check_leak_after(leak_after: object) -> None:
    if leak_after is None:
        return
    if isinstance(leak_after, bool) or not isinstance(leak_after, int | float):
        raise TypeError(f"leak_after must be a number of seconds, not {leak_after!r}")
    if not leak_after > 0:
        raise ValueError(f"leak_after must be a number of seconds above 0, not {leak_after!r}")


def _check_type(what: str, value: object, kind: type, words: str) -> None:
    if value is not None and not isinstance(value, kind):
        raise TypeError(f"{what} must be {words}, not {value!r}")
