"""What can be added up and shown: the figures that a reader takes, and a writer leaves out what it would not."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Collection, Iterable
from operator import attrgetter

from exporter.buckets import HISTOGRAMS
from exporter.records import PoolSnapshot

MOST = 2**63
"""No count reaches it, and larger integers do not fit into the float that the page shows."""

MOST_LABELS = 100
"""More than any application has, and little enough that one file cannot hold up the page for all."""

_APART = {"identity", "connections", "connections_max", *HISTOGRAMS}
_MAPPED = {field.name for field in dataclasses.fields(PoolSnapshot) if field.default_factory is dict}
MAPPINGS = attrgetter(*_MAPPED)
"""Gives what a snapshot has by label."""

_HISTOGRAMS = attrgetter(*HISTOGRAMS)
_NUMBERS = attrgetter(*({field.name for field in dataclasses.fields(PoolSnapshot)} - _APART - _MAPPED))
_WHOLE = attrgetter(*(each.name for each in dataclasses.fields(PoolSnapshot) if str(each.type).startswith("int")))
_LENGTHS = tuple(len(bounds) + 1 for bounds in HISTOGRAMS.values())


def are_sound(pools: Iterable[PoolSnapshot]) -> bool:
    """Tell whether every number can be added up and shown: no NaN, nothing endless but a limit, nothing below 0."""
    seen = tuple(pools)
    return all(map(_is_sound, seen)) and _are_amounts(_numbers(seen))


def is_sound(pool: PoolSnapshot) -> bool:
    """Tell whether a reader takes a pool, whatever is in it: a pool's settings may be anything that works."""
    try:
        return all(each is None or type(each) is int for each in _WHOLE(pool)) and are_sound((pool,))
    except (TypeError, ValueError):  # no number at all
        return False


def _is_sound(pool: PoolSnapshot) -> bool:
    most = pool.connections_max
    return (
        all(
            each is None or len(each.counts) == length for each, length in zip(_HISTOGRAMS(pool), _LENGTHS, strict=True)
        )
        and max(map(len, MAPPINGS(pool))) <= MOST_LABELS
        and (most is None or most >= 0)
    )


def _are_amounts(numbers: Collection[float]) -> bool:
    if not numbers:
        return True
    # A sum tells of a NaN wherever it stands; a comparison with one does not. And where nothing is below 0, a sum that
    # is not too large spares a look for the largest.
    try:
        total = sum(numbers)
    except OverflowError:  # an integer beyond every float
        return False
    return min(numbers) >= 0 and (total < MOST or (max(numbers) < MOST and math.isfinite(total)))


def _numbers(pools: Iterable[PoolSnapshot]) -> list[float]:
    """Gather all numbers in one list: there may be thousands in a file, and hundreds of files at every scrape."""
    numbers: list[float] = []
    for pool in pools:
        numbers += [number for number in _NUMBERS(pool) if number is not None]
        for histogram in _HISTOGRAMS(pool):
            if histogram is not None:
                numbers += histogram.counts
                numbers.append(histogram.sum)
        for mapping in MAPPINGS(pool):
            numbers += mapping.values()
        numbers += [each.seconds for each in pool.connections]
        numbers += [each.age for each in pool.connections]
        # An id is no count: those that a pooler makes up may be below 0.
        numbers += [abs(each.server_id) for each in pool.connections if each.server_id is not None]
    return numbers
