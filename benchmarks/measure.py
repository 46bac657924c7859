"""Measuring on a machine that others use too: thread CPU time, variants in random order, the quiet rounds of each."""

from __future__ import annotations

import random
import statistics
import time
from collections.abc import Callable, Mapping

Cycle = Callable[[], object]


def interleaved(cycles: Mapping[str, Cycle], *, rounds: int, turn: int, seed: int = 0) -> dict[str, float]:
    """Return the CPU nanoseconds of one cycle of each variant: the 10th percentile of what it took over the rounds.

    In every round each variant has one turn, of ``turn`` cycles, in an order that is drawn anew: whatever slows the
    machine down for a while slows all of them. The low percentile is what a turn takes that nobody disturbed.
    """
    order = random.Random(seed)
    names = list(cycles)
    seen: dict[str, list[float]] = {name: [] for name in names}
    for _ in range(rounds):
        order.shuffle(names)
        for name in names:
            seen[name].append(_turn(cycles[name], turn))
    return {name: statistics.quantiles(seen[name], n=10)[0] for name in cycles}


def _turn(cycle: Cycle, count: int) -> float:
    # Not timed: the interpreter adapts its bytecode to the classes that it meets, and the variant before had others.
    for _ in range(count // 3):
        cycle()
    began = time.thread_time_ns()
    for _ in range(count):
        cycle()
    return (time.thread_time_ns() - began) / count
