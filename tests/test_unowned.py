"""Sessions that nobody owns: which are counted, and when nothing can be said."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import pytest

from exporter.acquaintance import ENOUGH, Known
from exporter.buckets import SLEEP_BUCKETS
from exporter.conclusions import Report, Unowned
from exporter.records import ServerSnapshot
from exporter.unowned import CONFIRMED, Lasting, unowned
from teaching import STRANGER, repeated, reported, sampled, taught


def loose(
    *reports: Report, sample: ServerSnapshot, others: Sequence[Report] = (), known: Known | None = None
) -> Sequence[Unowned]:
    there = taught(Known(), sampled(900.0, found=(11, 12))) if known is None else known
    return unowned("orders", reports=reports, others=others, sample=sample, known=there)


def test_what_nobody_owns() -> None:
    """Sessions of a client that pools are known by, asleep for long enough, and claimed by nobody."""
    sample = sampled(1000.0, found=(11, 12), unclaimed=(STRANGER,))
    long_asleep = len(SLEEP_BUCKETS) - 1  # all but those up to 1 s and up to 5 s
    assert loose(reported(1001.0, 11, 12), sample=sample) == (Unowned("orders", "app", "shop", "web", long_asleep),)


@pytest.mark.parametrize(
    "change", [{"user": "other"}, {"database": "stock"}, {"client": "cron"}, {"place": "10.0.0.8"}]
)
def test_strangers_are_not_ours(change: dict[str, str]) -> None:
    """Another user, database, application or host is somebody else's, and no pool of ours has left it."""
    sample = sampled(1000.0, found=(11, 12), unclaimed=(dataclasses.replace(STRANGER, **change),))  # type: ignore[arg-type]
    assert [each.count for each in loose(reported(1001.0, 11, 12), sample=sample)] == [0]


def test_who_reports_late_may_own_more() -> None:
    """A process that has been silent for 20 s may have opened connections since, which have slept for less."""
    sample = sampled(1000.0, found=(11, 12), unclaimed=(STRANGER,))
    (found,) = loose(reported(980.0, 11, 12), sample=sample)
    assert found.count == len([bound for bound in SLEEP_BUCKETS if bound >= 30.0])
    (found,) = loose(reported(1001.0, 11, 12), sample=sample, others=[reported(980.0, 11)])
    assert found.count == len([bound for bound in SLEEP_BUCKETS if bound >= 30.0])


def test_what_was_opened_before_anybody_asked() -> None:
    """A connection that was made 40 s ago and was not asked for may be one of the sleepers."""
    sample = sampled(1000.0, found=(11, 12), unclaimed=(STRANGER,))
    (found,) = loose(reported(1001.0, 11, 12, 13, age=40.0), sample=sample)
    assert found.count == len([bound for bound in SLEEP_BUCKETS if bound >= 60.0])


def test_where_it_cannot_be_told_it_is_absent() -> None:
    """Hidden sessions, connections without an id, ids that mean nothing, and no sample: then there is no number."""
    sample = sampled(1000.0, found=(11, 12), unclaimed=(STRANGER,))
    held = reported(1001.0, 11, 12)
    assert loose(held, sample=dataclasses.replace(sample, hidden=3)) == ()
    assert unowned("orders", reports=[held], others=[], sample=None, known=Known()) == ()
    without = dataclasses.replace(held, pool=dataclasses.replace(held.pool, idle=3))
    assert loose(held, sample=sample, others=[without]) == ()
    proxied = taught(Known(), *repeated(ENOUGH, asked=(11, 12), unclaimed=(STRANGER,)))
    assert loose(held, sample=sample, known=proxied) == ()


def said(count: int) -> Sequence[Unowned]:
    return [Unowned("orders", "app", "shop", "web", count)]


@pytest.mark.parametrize("interval", [0.001, 0.015, 0.25, 1.0, 60.0])
def test_what_lasts_is_told_however_often_it_is_asked(interval: float) -> None:
    """For two seconds nothing is told, then the least of them; a fast sampler's memory is not full before that."""
    lasting = Lasting()
    ends = [1000.0 + interval * turn for turn in range(max(int(3 * CONFIRMED / interval), 4))]
    told = [(ended - ends[0], lasting.after(ended, said(3), newest=ended)) for ended in ends]
    assert not any(each for since, each in told if since < CONFIRMED)
    # Samples that follow each other at once are remembered as of the last of them.
    assert all(each == tuple(said(3)) for since, each in told if since >= CONFIRMED + 0.2)
    last = ends[-1]
    assert [each.count for each in lasting.after(last + interval, said(1), newest=last + interval)] == [1]
    assert [each.count for each in lasting.after(last + 2 * interval, said(5), newest=last + 2 * interval)] == [1]


def test_what_was_told_before_a_clock_was_set_back() -> None:
    """It has not lasted."""
    lasting = Lasting()
    for ended in (1000.0, 1003.0):
        lasting.after(ended, said(3), newest=ended)
    assert lasting.after(500.0, said(3), newest=500.0) == ()
    assert [each.count for each in lasting.after(503.0, said(3), newest=503.0)] == [3]
