"""The news: what of a server's downs and ups is worth a line in the log."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

STEADY_SAMPLES = 10
"""How many good samples in a row make a server steady. One that falls again sooner flaps, which is said once."""

ADVICE_SECONDS = 600.0
"""How long after advice on a server other advice is held back: one that means harm has another at each sample."""

_MOST_ADVICE = 10


@dataclass(frozen=True)
class Advised:
    """What the log has advised on one server, the last few, and when it did so last, in seconds by a steady clock."""

    said: tuple[str, ...] = ()
    at: float = -math.inf

    def then(self, advice: str | None, now: float) -> Advised | None:
        """Return what has been said once this is said too; None where it is not to be: known, or too soon."""
        if advice is None or advice in self.said or now - self.at < ADVICE_SECONDS:
            return None
        return Advised((*self.said[1 - _MOST_ADVICE :], advice), now)


@dataclass(frozen=True)
class News:
    """What the log says of one server. Nothing is said twice: not a reason within an outage, not an outage of a series.

    ``said`` are the reasons that the log gives for the outage that it last spoke of; empty when it says that all is
    well. ``good`` counts the good samples in a row, up to where the server is steady.
    """

    said: frozenset[str] = frozenset()
    good: int = STEADY_SAMPLES
    flapping: bool = False

    def down(self, reason: str) -> tuple[News, str | None]:
        """Return the news after a failed sample, and how to say it; None when there is nothing to say."""
        after = replace(self, said=self.said | {reason}, good=0)
        if reason in self.said:
            return after, None
        if self.said or self.good >= STEADY_SAMPLES:
            return after, "is down"
        return replace(after, flapping=True), f"flaps; no more is said until {STEADY_SAMPLES} samples in a row are good"

    def up(self) -> tuple[News, str | None]:
        """Return the news after a good sample, and how to say it; None when there is nothing to say."""
        good = min(self.good + 1, STEADY_SAMPLES)
        if not self.said or (self.flapping and good < STEADY_SAMPLES):
            return replace(self, good=good), None
        return News(good=good), "is up again"
