"""The pace: when the next sample is due, after good ones, slow ones and failed ones."""

from __future__ import annotations

import itertools
import time
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.labels import SAMPLE_ERRORS, SampleErrorReason
from exporter.pace import LONGEST_INTERVAL, Pace, spread, steady

INTERVALS = (0.1, 0.5, 1.0, 15.0, 600.0)


def pace(configured: float = 15.0, **state: float) -> Pace:
    """Return the pace of a server that nothing has happened to yet, or what ``state`` says."""
    return Pace(configured, state.pop("interval", configured), **state)  # type: ignore[arg-type]


def pauses(start: Pace, reason: SampleErrorReason, *, count: int, chance: float = 0.0) -> list[float]:
    """Return how long is waited after each of several samples that fail at once, the first at the beat."""
    found, now = [], 0.0
    for _ in range(count):
        start = start.failed(reason)
        found.append(round(start.wait(origin=0.0, began=now, now=now, chance=chance), 6))
        now += found[-1]
    return found


def test_good_samples_keep_to_the_beat() -> None:
    """The next sample is due an interval after the last was, however long that took and how late it began."""
    assert pace().wait(origin=2.0, began=17.0, now=17.4, chance=0.9) == pytest.approx(14.6)
    assert pace().wait(origin=2.0, began=19.0, now=23.0, chance=0.9) == pytest.approx(9.0)


def test_a_sample_that_began_a_little_early_is_not_repeated() -> None:
    """Clocks differ by milliseconds: the beat that a sample was for is not taken for the next."""
    assert pace().wait(origin=2.0, began=16.99, now=16.995, chance=0.0) == pytest.approx(15.005)


def test_a_beat_that_was_missed_is_left_out() -> None:
    """After a sample that took longer than the interval the next is due with the next beat, not at once."""
    assert pace(1.0).wait(origin=0.0, began=5.0, now=6.7, chance=0.0) == pytest.approx(0.3)


def test_a_lost_server_is_tried_after_growing_pauses() -> None:
    """The first pause is short, each is twice the one before, and the last are the interval."""
    assert pauses(pace(), "connect", count=7) == [1, 2, 4, 8, 15, 15, 15]


@pytest.mark.parametrize("reason", [reason for reason in SAMPLE_ERRORS if reason != "connect"])
def test_what_needs_mending_is_not_tried_sooner(reason: SampleErrorReason) -> None:
    """A password that is wrong stays wrong, and a server that is too slow is not asked more often."""
    assert pauses(pace(), reason, count=4) == [15, 15, 15, 15]


@pytest.mark.parametrize("reason", SAMPLE_ERRORS)
def test_a_short_interval_does_not_hammer(reason: SampleErrorReason) -> None:
    """Where the interval is shorter than a second, the pauses grow up to a second."""
    assert pauses(pace(0.1), reason, count=6) == [0.1, 0.2, 0.4, 0.8, 1.0, 1.0]


def test_pauses_differ_by_chance() -> None:
    """Chance shortens a pause by up to a quarter, and never makes it longer."""
    assert pauses(pace(), "connect", count=3, chance=1.0) == [0.75, 1.5, 3.0]


@given(
    interval=st.sampled_from(INTERVALS),
    failures=st.lists(st.sampled_from(SAMPLE_ERRORS), min_size=1, max_size=100),
    began=st.floats(0, 1e6),
    took=st.floats(0, 60),
    chance=st.floats(0, 1),
)
def test_a_server_that_is_back_is_seen_an_interval_later(
    *, interval: float, failures: list[SampleErrorReason], began: float, took: float, chance: float
) -> None:
    """No pause after a failure is longer than the interval, or a second; and none is too short to be one."""
    paced = pace(interval)
    for reason in failures:
        paced = paced.failed(reason)
    wait = paced.wait(origin=0.3, began=began, now=began + took, chance=chance)
    assert wait <= max(interval, 1.0)
    assert wait >= 0 if interval >= 1 else wait >= interval * 0.75 - 1e-9


@given(interval=st.sampled_from(INTERVALS), began=st.floats(0, 1e6), took=st.floats(0, 2000))
def test_good_samples_are_half_an_interval_apart(interval: float, began: float, took: float) -> None:
    """However late or long a sample was, the next begins half an interval to one and a half after it, or at its end."""
    wait = pace(interval).wait(origin=0.3, began=began, now=began + took, chance=0.0)
    assert -1e-6 <= wait <= 1.5 * interval + 1e-6
    assert began + took + wait >= began + interval / 2 - 1e-6


def test_a_slow_sample_doubles_the_interval() -> None:
    """More than a tenth of the interval is too much, a tenth is not."""
    assert pace().succeeded(1.5).interval == 15
    assert pace().succeeded(1.6).interval == 30
    assert pace().succeeded(1.6).succeeded(3.1).interval == 60


def test_fast_samples_halve_it_again() -> None:
    """Three in a row, each well within a tenth of the shorter interval; never below what was configured."""
    slow = pace(interval=60.0)
    seen = [slow := slow.succeeded(0.2) for _ in range(9)]
    assert [each.interval for each in seen] == [60, 60, 30, 30, 30, 15, 15, 15, 15]


def test_a_sample_in_between_changes_nothing() -> None:
    """What would be too slow for the shorter interval, or nearly, keeps the longer one: no going back and forth."""
    paced = pace(interval=30.0)
    for seconds in itertools.islice(itertools.cycle([0.1, 0.1, 0.8, 2.9]), 40):
        paced = paced.succeeded(seconds)
        assert paced.interval == 30


def test_the_interval_has_a_bound() -> None:
    """It is not doubled beyond five minutes, or what was configured; and comes back to just that."""
    for configured in (40.0, 3600.0):
        paced = pace(configured)
        for _ in range(10):
            paced = paced.succeeded(1e6)
        assert paced.interval == max(configured, LONGEST_INTERVAL)
        for _ in range(30):
            paced = paced.succeeded(0.0)
        assert paced.interval == configured


@pytest.mark.parametrize("reason", SAMPLE_ERRORS)
def test_other_failed_samples_do_not_change_the_interval(reason: SampleErrorReason) -> None:
    """A server that stays away for long is sampled as often as before when it is back."""
    paced = pace(interval=30.0)
    for _ in range(100):
        paced = paced.failed(reason)
    assert paced.interval == 30
    assert paced.succeeded(0.0) == replace(pace(interval=30.0), calm=1)


def test_a_failed_sample_that_kept_the_server_busy_doubles_the_interval() -> None:
    """One that took too long is not tried as often as before, as a good one would not be, up to the same bound."""
    paced = pace(15.0)
    assert paced.failed("timeout", busy=1.5).interval == 15
    assert paced.failed("timeout", busy=5.0).interval == 30
    for _ in range(10):
        paced = paced.failed("timeout", busy=1e6)
    assert paced.interval == LONGEST_INTERVAL
    for _ in range(30):
        paced = paced.succeeded(0.0)
    assert paced.interval == 15


@pytest.mark.parametrize("clocks", [(), ("CLOCK_BOOTTIME",)])
def test_the_steady_clock_goes_on(clocks: tuple[str, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    """Its seconds only grow, also where the system has no clock that counts a machine's sleep."""
    for clock in clocks:
        monkeypatch.delattr(time, clock, raising=False)
    first = steady()
    assert steady() >= first > 0


@pytest.mark.parametrize("count", [2, 3, 10, 100])
def test_servers_are_spread(count: int) -> None:
    """No two servers of one interval are sampled together, and none alters when another joins."""
    offsets = sorted(spread(number, 15.0) for number in range(count))
    apart = [later - earlier for earlier, later in itertools.pairwise([*offsets, offsets[0] + 15])]
    assert min(apart) > 15 / count / 3
    assert max(apart) < 15 / count * 3
