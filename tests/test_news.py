"""The news: what is said of a server's downs and ups, and what is not said again."""

from __future__ import annotations

import pytest

from exporter.news import News

FLAPS = "flaps; no more is said until 10 samples in a row are good (c)"


def told(samples: str) -> list[str]:
    """Return what is said while samples go well (``.``) or fail by reason connect (``c``) or timeout (``t``)."""
    news, lines = News(), []
    for sample in samples:
        news, words = news.up() if sample == "." else news.down({"c": "connect", "t": "timeout"}[sample])
        if words is not None:
            lines.append(words if sample == "." else f"{words} ({sample})")
    return lines


@pytest.mark.parametrize(
    ("samples", "lines"),
    [
        ("", []),
        ("....", []),
        ("cccc", ["is down (c)"]),
        ("..cc..", ["is down (c)", "is up again"]),
        ("cctt", ["is down (c)", "is down (t)"]),
        ("ctctctct", ["is down (c)", "is down (t)"]),
        ("ct..........ct", ["is down (c)", "is down (t)", "is up again", "is down (c)", "is down (t)"]),
    ],
)
def test_an_outage(samples: str, lines: list[str]) -> None:
    """Each reason is said once an outage, also when reasons take turns; so is that it is over."""
    assert told(samples) == lines


def test_a_server_that_flaps() -> None:
    """Up and down again and again is said once; the end of it when it has been steady for a while."""
    assert told("c." * 100) == ["is down (c)", "is up again", FLAPS]
    assert told("c." * 100 + "..........") == ["is down (c)", "is up again", FLAPS, "is up again"]


def test_a_server_that_flaps_slowly() -> None:
    """So it is when a few samples in between are good."""
    assert told("c...." * 50) == ["is down (c)", "is up again", FLAPS]


def test_a_new_reason_while_it_flaps() -> None:
    """What was not said yet is said."""
    assert told("c.c.c.t.t.c.") == ["is down (c)", "is up again", FLAPS, "is down (t)"]


def test_steady_again() -> None:
    """A server that has been steady for a while begins anew: its next outage is over with the first good sample."""
    assert told("c.c" + "." * 20 + "c.")[-2:] == ["is down (c)", "is up again"]
