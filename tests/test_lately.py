"""The last minutes: what has happened lately, and that nothing older is called news."""

from __future__ import annotations

import dataclasses

from exporter.conclusions import Recent
from exporter.lately import LATELY, Lately
from overviews import SHOP


def test_the_first_look_knows_of_nothing() -> None:
    """What a pool had counted before anybody looked is nobody's news."""
    met = dataclasses.replace(SHOP, timeouts=7, stale_use={"2006": 2})
    assert Lately().look((met,), now=1000.0) == (Recent("shop", 0.0, 0, 0),)


def test_what_happens_between_looks_is_told_for_some_minutes() -> None:
    """Timeouts and dead connections are told from the oldest look of the last minutes on, and then forgotten."""
    lately, later = Lately(), dataclasses.replace(SHOP, timeouts=3, stale_use={"2006": 1, "2013": 1})
    lately.look((SHOP,), now=1000.0)
    assert lately.look((later,), now=1010.0) == (Recent("shop", 10.0, 3, 2),)
    assert lately.look((later,), now=1000.0 + LATELY) == (Recent("shop", LATELY, 3, 2),)
    assert lately.look((later,), now=1011.0 + LATELY) == (Recent("shop", 11.0, 0, 0),)


def test_many_looks_change_nothing() -> None:
    """However often the page is looked at, a look of the beginning is held against."""
    lately = Lately()
    for second in range(200):
        found = lately.look((dataclasses.replace(SHOP, timeouts=second),), now=1000.0 + second)
    assert found == (Recent("shop", 199.0, 199, 0),)


def test_a_pool_that_begins_later_or_anew() -> None:
    """A pool is judged from its own first look on, and counts that begin anew are no negative news."""
    lately = Lately()
    lately.look((), now=1000.0)
    lately.look((dataclasses.replace(SHOP, timeouts=5),), now=1010.0)
    assert lately.look((dataclasses.replace(SHOP, timeouts=6),), now=1020.0) == (Recent("shop", 10.0, 1, 0),)
    assert lately.look((dataclasses.replace(SHOP, timeouts=0),), now=1030.0) == (Recent("shop", 20.0, 0, 0),)


def test_a_clock_that_is_set_back_forgets() -> None:
    """Looks that lie in the future are no past to compare with."""
    lately = Lately()
    lately.look((SHOP,), now=5000.0)
    assert lately.look((dataclasses.replace(SHOP, timeouts=5),), now=1000.0) == (Recent("shop", 0.0, 0, 0),)
