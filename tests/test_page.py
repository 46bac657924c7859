"""The status page: what people read there, and that nothing on it can act."""

from __future__ import annotations

import dataclasses
from html.parser import HTMLParser

import pytest

from exporter.page import render
from exporter.records import Overview, PoolSnapshot, ProcessSnapshot
from overviews import DOWN, FULL, LEAK, LOCK, MATCH, NOW, SHOP, UNSERVED, UNSIZED, UP

EVIL = '<script>alert("1")</script>&amp;\''


class Reader(HTMLParser):
    """Reads a page as a browser would: its elements, and the text of the cells of each row."""

    VOID = frozenset({"meta"})

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.rows: list[list[str]] = []
        self.bad: list[str] = []
        self.feed(page)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note an element; a row begins, or a cell."""
        self.elements.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")

    def handle_endtag(self, tag: str) -> None:
        """Check that the last element that was opened is the one that ends."""
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        """Add text to the cell that is open."""
        if self.open and self.open[-1] in ("td", "th"):
            self.rows[-1][-1] += data
            if "bad" in (self.elements[-1][1].get("class") or ""):
                self.bad.append(data)


def row(seen: Overview, name: str) -> list[str]:
    """Return the first row that begins with ``name``."""
    return next(cells for cells in Reader(render(seen, leak_after=60.0)).rows if cells[0] == name)


def pools(*pools: PoolSnapshot) -> Overview:
    return dataclasses.replace(FULL, pools=pools)


def test_a_match_that_is_not_possible_says_so() -> None:
    """Numbers that would mean nothing are not shown; that a proxy is in between is."""
    proxied = dataclasses.replace(MATCH, pairs={}, possible=False)
    page = render(dataclasses.replace(FULL, matches=(proxied,)), leak_after=60.0)
    assert "orders: the ids do not meet, as behind a proxy" in page


def test_one_line_for_every_pool_server_and_match() -> None:
    """Each pool, each server and each pair of them has a line with its figures."""
    rows = [cells for cells in Reader(render(FULL, leak_after=60.0)).rows if cells[0] not in ("pool", "server")]
    assert rows == [
        ["endless", "QueuePool", "3", "2", "unlimited", "1 min 15 s", "1", "120"],
        ["files", "NullPool", "0", "0", "-", "-", "0", "0"],
        ["shop", "QueuePool", "3", "2", "15", "1 min 15 s", "1", "120"],
        ["orders", "up", "mysql 8.4.0", "3", "4", "1", "2", "9 of 150", "4.0 s ago"],
        ["stock", "down (auth) Access denied", "-", "-", "-", "-", "-", "-", "4.0 s ago"],
        ["shop", "orders", "0", "0", "2", "0", "1", "0", "0", "0"],
        ["process", "state", "pools", "connections", "reported"],
        ["web-1:7", "live", "1", "5", "1.0 s ago"],
        ["web-1:8", "live", "1", "5", "1.0 s ago"],
    ]


def test_the_head_tells_when_and_of_how_many() -> None:
    """The page says how fresh it is, how many processes it is made of, and that files were rejected."""
    page = render(FULL, leak_after=60.0)
    assert "2023-11-14 22:13:20 UTC, 2 live processes, 1 file rejected" in page
    alone = render(dataclasses.replace(FULL, processes=FULL.processes[:1], rejected={}), leak_after=60.0)
    assert "UTC, 1 live process. " in alone


def test_nothing_known_is_said() -> None:
    """An empty page says what is missing instead of showing empty tables."""
    page = render(Overview(NOW, (), (), ()), leak_after=60.0)
    assert Reader(page).rows == []
    assert all(
        sentence in page
        for sentence in ("No pool is published.", "No server is set up.", "No pool meets a sampled server.")
    )


def test_it_links_what_is_served() -> None:
    """The links lead to the other paths, and nothing on the page comes from elsewhere or runs."""
    elements = Reader(render(FULL, leak_after=60.0)).elements
    assert [attributes["href"] for tag, attributes in elements if tag == "a"] == [
        "/metrics",
        "/-/healthy",
        "/-/ready",
        "/api/v1/pools",
        "/api/v1/holders",
    ]
    allowed = {"lang", "charset", "name", "content", "href", "class", "scope"}
    assert {name for _, attributes in elements for name in attributes} <= allowed
    assert {tag for tag, _ in elements} & {
        "script",
        "link",
        "img",
        "iframe",
        "object",
        "embed",
        "form",
        "base",
    } == set()


def test_names_are_text_and_nothing_more() -> None:
    """Names and messages that look like HTML are shown as they are."""
    identity = dataclasses.replace(SHOP.identity, name=EVIL, pool_class=EVIL)
    seen = dataclasses.replace(
        FULL,
        pools=(dataclasses.replace(SHOP, identity=identity),),
        servers=(dataclasses.replace(DOWN, name=EVIL, message=EVIL),),
        matches=(dataclasses.replace(MATCH, pool=EVIL, server=EVIL),),
    )
    reader = Reader(render(seen, leak_after=60.0))
    assert [cells[:2] for cells in reader.rows if cells[0] == EVIL] == [
        [EVIL, EVIL],
        [EVIL, f"down (auth) {EVIL}"],
        [EVIL, EVIL],
    ]
    assert "script" not in {tag for tag, _ in reader.elements}


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.04, "0.0 s"), (9.9, "9.9 s"), (59.2, "59 s"), (60, "1 min 0 s"), (3599, "59 min 59 s"), (90_061, "25 h 1 min")],
)
def test_ages_are_written_as_people_say_them(seconds: float, text: str) -> None:
    """An age shows its two largest units."""
    assert row(pools(dataclasses.replace(SHOP, used_longest_seconds=seconds)), "shop")[5] == text


def test_what_needs_a_look_is_marked() -> None:
    """Long uses, overdue checkouts, a full pool, stale sessions, a dead idle connection, a server that is down."""
    full = dataclasses.replace(SHOP, used=15, overdue=4)
    seen = dataclasses.replace(FULL, pools=(full, UNSIZED))
    assert Reader(render(seen, leak_after=60.0)).bad == [
        *("15", "1 min 15 s", "4"),
        *("2", "down (auth) Access denied"),
        "1",
    ]
    assert "1 min 15 s" not in Reader(render(seen, leak_after=80.0)).bad


def test_a_server_that_was_never_sampled() -> None:
    """Before the first good sample there is no figure and no age."""
    fresh = dataclasses.replace(
        UP, up=False, message="not sampled yet", snapshot=None, sampled_at=None, sample_seconds=None
    )
    cells = row(dataclasses.replace(FULL, servers=(fresh,)), "orders")
    assert cells == ["orders", "not sampled yet", "-", "-", "-", "-", "-", "-", "never"]


def test_who_holds_what_for_how_long() -> None:
    """Each connection in use has a line, those held for longest first; what is wrong with one is said and marked."""
    reader = Reader(render(dataclasses.replace(FULL, holders=(UNSERVED, LOCK, LEAK)), leak_after=60.0))
    at = reader.rows.index(["pool", "server", "process", "held by", "call site", "for", "its session", "for", "mark"])
    site = "shop/cart.py:41 checkout"
    assert reader.rows[at + 1 : at + 4] == [
        ["shop", "orders", "7", "thread worker-2", site, "1 min 15 s", "sleeping", "1 min 14 s", "leak suspect"],
        [
            "shop",
            "orders",
            "7",
            "thread worker-2",
            site,
            "9.5 s",
            "sleeping in transaction",
            "9.0 s",
            "held transaction",
        ],
        ["files", "-", "9", "-", "-", "0.2 s", "-", "-", ""],
    ]
    assert [text for text in reader.bad if text.startswith(("leak", "held"))] == ["leak suspect", "held transaction"]


def test_a_process_is_called_the_same_everywhere() -> None:
    """Where a holder's process is one that is shown below, it has the name that it has there."""
    reports = (dataclasses.replace(FULL.processes[0], snapshot=ProcessSnapshot(7, NOW, id="id-7", host="web-1")),)
    reader = Reader(render(dataclasses.replace(FULL, processes=reports, holders=(LEAK,)), leak_after=60.0))
    assert [cells[2] for cells in reader.rows if "leak suspect" in cells] == ["web-1:7"]


def test_the_longest_held_are_shown_and_the_rest_is_counted() -> None:
    """Of many the fifty longest are on the page, with a link to all of them."""
    many = tuple(dataclasses.replace(LEAK, seconds=60.0 * number) for number in range(1, 61))
    page = render(dataclasses.replace(FULL, holders=many), leak_after=60.0)
    shown = [cells[5] for cells in Reader(page).rows if "leak suspect" in cells]
    assert (len(shown), shown[0], shown[-1]) == (50, "1 h 0 min", "11 min 0 s")
    assert '10 more, held for less long: <a href="/api/v1/holders">all</a>' in page


def test_what_holders_are_called_is_text() -> None:
    """Call sites and names of threads come from the application, and are shown as they are."""
    odd = dataclasses.replace(LEAK, pool=EVIL, server=EVIL, process=EVIL, site=EVIL, holder=EVIL)
    reader = Reader(render(dataclasses.replace(FULL, holders=(odd,)), leak_after=60.0))
    assert [cells.count(EVIL) for cells in reader.rows if "leak suspect" in cells] == [4]
    assert "script" not in {tag for tag, _ in reader.elements}
