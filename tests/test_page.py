"""The status page: what people read there, the worst first, and that nothing on it can act but its own script."""

from __future__ import annotations

import dataclasses
from html.parser import HTMLParser

import pytest

from exporter.conclusions import Overview, Unowned
from exporter.page import SCRIPT, STYLE, render
from exporter.records import PoolSnapshot, ProcessSnapshot
from overviews import DOWN, FINDING, FULL, LEAK, LOCK, MATCH, NOW, SHOP, UNSERVED, UNSIZED, UP

EVIL = '<script>alert("1")</script>&amp;\'" onload=alert(2) x="'
HEADS = ("pool", "server", "process", "call site", "the server says")


class Reader(HTMLParser):
    """Reads a page as a browser would: its elements, the text of the cells of each row, and which are marked."""

    VOID = frozenset({"meta", "link"})

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.rows: list[list[str]] = []
        self.marked: list[str] = []
        self.text = ""
        self._mark = False
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
            self._mark = bool({"bad", "warning"} & set((dict(attrs).get("class") or "").split()))

    def handle_endtag(self, tag: str) -> None:
        """Check that the last element that was opened is the one that ends."""
        assert self.open.pop() == tag
        if tag in ("td", "th") and self._mark:
            self.marked.append(self.rows[-1][-1])

    def handle_data(self, data: str) -> None:
        """Add text to the page, and to the cell that is open."""
        if {"style", "script"} & set(self.open):
            return
        self.text += data
        if {"td", "th"} & set(self.open):
            cells = self.rows[-1]
            cells[-1] = f"{cells[-1]} {data}".strip()

    def table(self, first: str) -> list[list[str]]:
        """Return the rows of the tables whose head begins with ``first``, without the head."""
        found: list[list[str]] = []
        inside = False
        for cells in self.rows:
            if cells[0] in HEADS:
                inside = cells[0] == first
            elif inside:
                found.append(cells)
        return found


def read(seen: Overview, *, leak_after: float = 60.0) -> Reader:
    return Reader(render(seen, leak_after=leak_after))


def pools(*pools: PoolSnapshot) -> Overview:
    return dataclasses.replace(FULL, pools=pools)


def test_a_match_that_is_not_possible_says_so() -> None:
    """Numbers that would mean nothing are not shown; that a proxy is in between is."""
    proxied = dataclasses.replace(MATCH, pairs={}, possible=False)
    seen = read(dataclasses.replace(FULL, matches=(proxied,)))
    assert "shop on ordersThe ids do not meet, as behind a proxy" in seen.text
    assert seen.table("the server says") == []


def test_one_line_for_every_pool_server_and_process() -> None:
    """Each pool, each server and each process has a line with its figures, the worst first."""
    seen = read(dataclasses.replace(FULL, holders=(LEAK,)))
    assert seen.table("pool") == [
        ["shop QueuePool, mysql shop", "2 used, 3 idle, 10 free of 15", "-", "1 min 15 s", "1", "120", "Leak Stale"],
        ["endless QueuePool, mysql shop", "2 used, 3 idle, no limit", "-", "1 min 15 s", "1", "120", "Held long"],
        ["files NullPool, sqlite files.db", "0 used, 0 idle", "-", "-", "0", "0", "well"],
    ]
    assert seen.table("server") == [
        ["stock", "down (auth) Access denied", "-", "-", "-", "-", "-", "4.0 s ago too old to be shown"],
        ["orders mysql 8.4.0", "up", "9 of 150", "3", "4", "1", "2", "4.0 s ago"],
    ]
    assert seen.table("process") == [
        ["web-1:7", "live", "1", "5", "1.0 s ago"],
        ["web-1:8", "live", "1", "5", "1.0 s ago"],
    ]


def test_the_match_is_a_matrix_with_its_meaning() -> None:
    """Each pair of the match is a cell with its number and what that means; those in trouble are marked."""
    seen = read(dataclasses.replace(FULL, holders=(LEAK,)))
    assert seen.table("the server says") == [
        [
            "sleeping",
            "0 health: waits for the next request",
            "2 leak: 1 kept for up to 1 min 15 s, and nobody works with them",
        ],
        [
            "sleeping in a transaction",
            "0 came back with its transaction open",
            "0 the code thinks, and holds locks; a leak when it lasts",
        ],
        ["active", "0 came back with a statement running", "0 work: the server runs a statement"],
        ["gone", "1 stale: the next user gets an error", "0 ended while in use"],
    ]
    assert [each for each in seen.marked if each.startswith(("1 stale", "2 leak"))] == [
        "2 leak: 1 kept for up to 1 min 15 s, and nobody works with them",
        "1 stale: the next user gets an error",
    ]


def test_gone_behind_a_ping_is_no_trouble() -> None:
    """What a ping will find before anybody uses it is not marked, and is not called stale."""
    pinged = dataclasses.replace(SHOP, pre_ping=True, overdue=0)
    seen = read(dataclasses.replace(FULL, pools=(pinged,)))
    assert seen.table("the server says")[3][1] == "1 gone on the server; looked at before its next use"
    assert not any("gone on the server" in each for each in seen.marked)


def test_the_verdict_is_on_top_and_in_the_title() -> None:
    """The worst stands first, with where it is and what to do, and is the title of the browser's tab."""
    page = render(dataclasses.replace(FULL, servers=(UP,), holders=(LEAK,)), leak_after=60.0)
    assert "<title>Leak: shop - connection pools</title>" in page
    text = Reader(page).text
    assert text.index("Leak pool shop") < text.index("Besides") < text.index("Stale pool shop") < text.index("Pools")
    assert "Do: Close the Session that is opened at shop/cart.py:41 checkout (1)" in text


def test_the_head_tells_when_and_of_how_many() -> None:
    """The page says of when it is, how many processes it is made of, and that files were rejected."""
    assert "As of 2023-11-14 22:13:20 UTC, 2 live processes, 1 file rejected" in read(FULL).text
    alone = dataclasses.replace(FULL, processes=FULL.processes[:1], rejected={})
    assert "UTC, 1 live process. " in read(alone).text


def test_nothing_known_is_said() -> None:
    """An empty page says what is missing instead of showing empty tables."""
    seen = read(Overview(NOW, (), (), ()))
    assert seen.rows == []
    assert all(
        sentence in seen.text
        for sentence in (
            "No process that lives publishes its pools.",
            "No pool is published.",
            "No server is set up.",
            "No pool meets a sampled server.",
            "No connection is in use.",
            "No session that nobody owns is known.",
            "Nothing to change is known.",
        )
    )


def test_it_links_what_is_served() -> None:
    """The links lead to the other paths, also below a proxy's, and nothing on the page comes from elsewhere."""
    page = render(FULL, leak_after=60.0)
    elements = Reader(page).elements
    links = [attributes["href"] for tag, attributes in elements if tag == "a"]
    assert links == ["metrics", "-/healthy", "-/ready", "api/v1/pools", "api/v1/holders"]
    assert [attributes["href"][:5] for tag, attributes in elements if tag == "link" and attributes["href"]] == ["data:"]
    names = {name for _, attributes in elements for name in attributes}
    assert not names & {"style", "src", "srcset", "action", "formaction", "background"}
    assert not [name for name in names if name.startswith("on")]
    assert [tag for tag, _ in elements if tag in ("script", "style")] == ["style", "script"]
    assert SCRIPT in page
    assert STYLE in page


def test_without_a_script_it_loads_itself_again() -> None:
    """A browser that runs no scripts is told to ask again by itself."""
    assert '<noscript><meta http-equiv="refresh" content="5"></noscript>' in render(FULL, leak_after=60.0)


def test_every_table_says_what_it_is() -> None:
    """Each table has a name, a head of columns, and rows that begin with what they are about."""
    elements = read(dataclasses.replace(FULL, holders=(LEAK,))).elements
    tables = [attributes for tag, attributes in elements if tag == "table"]
    heads = [attributes.get("scope") for tag, attributes in elements if tag == "th"]
    ids = {attributes.get("id") for _, attributes in elements}
    named = [each["aria-labelledby"] for each in tables if "aria-labelledby" in each]
    assert len(named) == len(tables) - 1  # the matrix has a caption
    assert set(named) <= ids
    assert set(heads) == {"col", "row"}


@pytest.mark.parametrize("name", [EVIL, "\u202eevil", "a" * 500])
def test_names_are_text_and_nothing_more(name: str) -> None:
    """Names, messages, call sites and findings that look like HTML are shown as they are."""
    identity = dataclasses.replace(SHOP.identity, name=name, pool_class=name, database=name)
    odd = dataclasses.replace(LEAK, pool=name, server=name, process=name, site=name, holder=name, session=name)
    seen = Overview(
        NOW,
        pools=(dataclasses.replace(SHOP, identity=identity),),
        servers=(dataclasses.replace(DOWN, name=name, message=name),),
        matches=(dataclasses.replace(MATCH, pool=name, server=name),),
        holders=(odd,),
        unowned=(Unowned(name, name, name, name, 2),),
        findings=(dataclasses.replace(FINDING, pool=name, server=name, why=name, change=name),),
        processes=(dataclasses.replace(FULL.processes[0], snapshot=ProcessSnapshot(7, NOW, host=name)),),
    )
    reader = read(seen)
    assert reader.table("pool")[0][0] == f"{name} {name}, mysql {name}"
    assert ["server", name, name, name, "2"] not in reader.rows
    assert [name, name, name, name, "2"] in reader.rows
    assert [cells[0] for cells in reader.table("call site")] == [f"{name} {name}"]
    assert reader.text.count(name) >= 15
    assert [tag for tag, _ in reader.elements].count("script") == 1
    assert not [each for _, attributes in reader.elements for each in attributes if each.startswith("on")]


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.04, "0.0 s"), (9.9, "9.9 s"), (59.2, "59 s"), (60, "1 min 0 s"), (3599, "59 min 59 s"), (90_061, "25 h 1 min")],
)
def test_ages_are_written_as_people_say_them(seconds: float, text: str) -> None:
    """An age shows its two largest units."""
    assert read(pools(dataclasses.replace(SHOP, used_longest_seconds=seconds))).table("pool")[0][3] == text


def test_what_needs_a_look_is_marked() -> None:
    """Long uses, overdue checkouts, a full pool, waits, stale sessions, a dead connection, a server that is down."""
    full = dataclasses.replace(SHOP, used=15, idle=0, overdue=4, waiting=3, waiting_longest_seconds=2.5)
    seen = dataclasses.replace(FULL, pools=(full, UNSIZED), holders=(LEAK,))
    marked = read(seen).marked
    for text in ("15 used, 0 idle, 0 free of 15", "3 up to 2.5 s", "4", "Leak Stale", "down (auth) Access denied", "2"):
        assert text in marked
    assert marked.count("1 min 15 s") == 2  # the pool's oldest, and its holder
    assert "1 min 15 s" not in read(seen, leak_after=80.0).marked


def test_a_server_that_was_never_sampled() -> None:
    """Before the first good sample there is no figure and no age."""
    fresh = dataclasses.replace(
        UP, up=False, message="not sampled yet", snapshot=None, sampled_at=None, sample_seconds=None
    )
    cells = read(dataclasses.replace(FULL, servers=(fresh,))).table("server")[0]
    assert cells == ["orders", "not sampled yet", "-", "-", "-", "-", "-", "never"]


def test_who_holds_what_for_how_long() -> None:
    """Each connection in use has a line, those held for longest first; what is wrong with one is said and marked."""
    reader = read(dataclasses.replace(FULL, holders=(UNSERVED, LOCK, LEAK)))
    site = "shop/cart.py:41 checkout thread worker-2"
    asleep = "sleeping in transaction for 9.0 s"
    assert reader.table("call site") == [
        [site, "1 min 15 s", "sleeping for 1 min 14 s", "shop", "orders", "7", "leak suspect"],
        [site, "9.5 s", asleep, "shop", "orders", "7", "holds a transaction"],
        ["not known", "0.2 s", "not known", "files", "-", "9", ""],
    ]
    assert "leak suspect" in reader.marked


def test_sessions_that_nobody_owns_are_shown() -> None:
    """Whose sessions no pool has is on the page, the most first; clients that have none are left out."""
    loose = (Unowned("orders", "shop", "shop", "a", 0), Unowned("orders", "shop", "", "b", 2))
    reader = read(dataclasses.replace(FULL, unowned=(*loose, Unowned("orders", "shop", "shop", "c", 5))))
    assert reader.table("server")[-2:] == [["orders", "shop", "shop", "c", "5"], ["orders", "shop", "", "b", "2"]]
    assert "7 sleeping sessions of the pools' clients belong to no live pool" in reader.text


def test_findings_come_with_their_cure() -> None:
    """A setting that will hurt is there with what it is held against, why, and the line to change."""
    text = read(dataclasses.replace(FULL, findings=(FINDING,))).text
    for part in (FINDING.pool_says, FINDING.held_against, FINDING.why, FINDING.change, "no stale protection"):
        assert part in text


def test_a_process_is_called_the_same_everywhere() -> None:
    """Where a holder's process is one that is shown below, it has the name that it has there."""
    reports = (dataclasses.replace(FULL.processes[0], snapshot=ProcessSnapshot(7, NOW, id="id-7", host="web-1")),)
    reader = read(dataclasses.replace(FULL, processes=reports, holders=(LEAK,)))
    assert [cells[5] for cells in reader.table("call site")] == ["web-1:7"]


def test_the_longest_held_are_shown_and_the_rest_is_counted() -> None:
    """Of many the fifty longest are on the page, with a link to all of them."""
    many = tuple(dataclasses.replace(LEAK, seconds=60.0 * number) for number in range(1, 61))
    page = render(dataclasses.replace(FULL, holders=many), leak_after=60.0)
    shown = [cells[1] for cells in Reader(page).table("call site")]
    assert (len(shown), shown[0], shown[-1]) == (50, "1 h 0 min", "11 min 0 s")
    assert '10 more, held for less long: <a href="api/v1/holders">all</a>' in page
