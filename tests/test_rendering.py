"""The rendering: a page is shared by those who wait for it, and is never older than the question."""

from __future__ import annotations

import asyncio
import itertools
import threading
from collections.abc import Coroutine
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from prometheus_client import CollectorRegistry, Counter
from prometheus_client.exposition import generate_latest

from exporter.conclusions import Overview
from exporter.rendering import MOST_WAITING, Renderings, asked, rendered
from exporter.web import make_app
from overviews import FULL, Showing
from served import noting, served
from waiting import eventually, until

PATIENCE = 30.0
KINDS = ("text/plain", "application/openmetrics-text")
OPENMETRICS = {"accept": "application/openmetrics-text; version=1.0.0", "accept-encoding": "gzip"}


class Press:
    """Renders which rendering this is, once it is let go; knows what was begun, and how many were at work at once."""

    def __init__(self) -> None:
        self.begun: list[str] = []
        self.most = 0
        self._at_work = 0
        self._permits = threading.Semaphore(0)

    def render(self, key: str) -> str:
        """Wait for a permit, then answer or break."""
        self.begun.append(key)
        number = len(self.begun)
        self._at_work += 1
        self.most = max(self.most, self._at_work)
        assert self._permits.acquire(timeout=PATIENCE)
        self._at_work -= 1
        if key == "broken":
            raise ValueError(number)
        return f"{key} {number}"

    def let_go(self, count: int = 1) -> None:
        """Let so many come to their end."""
        self._permits.release(count)

    async def begins(self, count: int) -> None:
        """Wait until so many have begun."""
        await until(lambda: len(self.begun) == count, within=PATIENCE)


async def waiting(renderings: Renderings[str, str], *keys: str) -> list[asyncio.Task[str]]:
    """Ask for each key in a task of its own, all of which have asked when this returns."""
    tasks = [asyncio.create_task(renderings.get(key)) for key in keys]
    await asyncio.sleep(0)  # a task runs up to where it waits: it has asked
    return tasks


def run(story: Coroutine[Any, Any, None]) -> None:
    """Run a story in a loop of its own, to its end or not at all."""

    async def within() -> None:
        await asyncio.wait_for(story, PATIENCE)

    asyncio.run(within())


def test_who_comes_later_shares_the_next() -> None:
    """What is under way goes to who had asked before it; all who come meanwhile share one that begins after that."""

    async def story() -> None:
        press = Press()
        renderings = Renderings(press.render)
        (first,) = await waiting(renderings, "page")
        await press.begins(1)
        later = await waiting(renderings, *["page"] * 20)
        press.let_go()
        assert await first == "page 1"
        assert not any(task.done() for task in later)
        await press.begins(2)
        latest = await waiting(renderings, "page", "page")
        press.let_go(2)
        assert await asyncio.gather(*later) == ["page 2"] * 20
        assert await asyncio.gather(*latest) == ["page 3"] * 2
        assert press.begun == ["page"] * 3

    run(story())


def test_different_pages_take_turns() -> None:
    """What differs is not shared, and one is made at a time, whoever came first going first."""

    async def story() -> None:
        press = Press()
        renderings = Renderings(press.render)
        tasks = await waiting(renderings, "a", "b", "c", "b", "a")
        press.let_go(3)
        assert await asyncio.gather(*tasks) == ["a 1", "b 2", "c 3", "b 2", "a 1"]
        assert press.most == 1

    run(story())


def test_an_error_reaches_all_and_stops_nothing() -> None:
    """All who wait for a rendering that fails learn why, and whoever asks next, or for something else, is served."""

    async def story() -> None:
        press = Press()
        renderings = Renderings(press.render)
        broken = await waiting(renderings, "broken", "broken", "broken")
        whole = await waiting(renderings, "page")
        press.let_go(3)
        for answer in await asyncio.gather(*broken, return_exceptions=True):
            assert isinstance(answer, ValueError)
            assert answer.args == (1,)
        assert await whole[0] == "page 2"
        with pytest.raises(ValueError, match="3"):
            await renderings.get("broken")

    run(story())


def test_who_hangs_up_takes_nothing_from_the_others() -> None:
    """A waiter that is cancelled is gone at once; the rendering goes on for the rest, and for nobody."""

    async def story() -> None:
        press = Press()
        renderings = Renderings(press.render)
        left, stays = await waiting(renderings, "page", "page")
        await press.begins(1)
        left.cancel()
        (gone,) = await waiting(renderings, "broken")
        gone.cancel()
        with pytest.raises(asyncio.CancelledError):
            await left
        press.let_go(3)
        assert await stays == "page 1"
        assert await renderings.get("page") == "page 3"
        with pytest.raises(asyncio.CancelledError):
            await gone
        assert press.begun == ["page", "broken", "page"]

    run(story())


def test_no_page_is_older_than_the_question() -> None:
    """Under hundreds of questions at once every answer was begun after its question; most of them were shared."""
    moments, askers, turns = itertools.count(1), 40, 25

    async def ask(renderings: Renderings[str, int]) -> int:
        late = 0
        for _ in range(turns):
            moment = next(moments)
            late += await renderings.get("page") < moment
        return late

    async def story() -> None:
        begun: list[int] = []

        def render(_key: str) -> int:
            begun.append(next(moments))
            return begun[-1]

        renderings = Renderings(render)
        assert sum(await asyncio.gather(*(ask(renderings) for _ in range(askers)))) == 0
        assert turns <= len(begun) < turns * askers / 4

    run(story())


def test_the_end_waits_for_no_rendering() -> None:
    """A loop that ends does not wait for a rendering that hangs."""
    press = Press()

    async def story() -> None:
        await waiting(Renderings(press.render), "page")
        await press.begins(1)

    run(story())
    press.let_go()


def test_what_is_asked_for_the_same_way_is_the_same() -> None:
    """Clients that want the same form and names, in whatever words and order, share a page; others do not."""
    same = asked(OPENMETRICS, names=["b", "a"])
    assert same == asked({**OPENMETRICS, "accept": OPENMETRICS["accept"] + ", */*"}, names=["a", "b", "a"])
    assert hash(same) == hash(asked(OPENMETRICS, names=["a", "b"]))
    others = [asked(OPENMETRICS, names=["a"]), asked(OPENMETRICS, names=[]), asked({}, names=["a", "b"])]
    assert len({same, *others, asked({"accept-encoding": "gzip"}, names=["a", "b"])}) == 5


def test_everybodys_pages_are_four() -> None:
    """However the usual formats are asked for, there are two, packed or not: strangers cannot make more wait."""
    ways = ["", *(f"; escaping={way}" for way in ("underscores", "allow-utf-8", "values", "nonsense"))]
    accepts = ["", "text/plain", *(f"{kind}; version=1.0.0{way}" for kind in KINDS for way in ways)]
    wanted = [
        asked({"accept": accept, "accept-encoding": coding}, names=[]) for accept in accepts for coding in ("", "gzip")
    ]
    assert len(set(wanted)) == 4
    assert not any(each.is_own for each in wanted)
    assert len({each.content_type for each in wanted}) > 6
    assert asked({"accept": f"{KINDS[1]}; version=1.0.0; escaping=dots"}, names=[]).is_own
    assert asked({"accept": f"{KINDS[1]}; version=2.0.0"}, names=[]).is_own


def test_a_rendering_is_what_prometheus_client_writes() -> None:
    """Without an encoding asked for, the page is prometheus_client's own to the byte."""
    registry = CollectorRegistry()
    Counter("visits", "Visits.", registry=registry).inc()
    assert rendered(registry, asked({}, names=[])) == generate_latest(registry)


class Held(Showing):
    """A sidecar that is not read before it is let go, but by the one who may."""

    def __init__(self) -> None:
        super().__init__()
        self.looks: list[None] = []
        self.go_on, self.free = threading.Event(), threading.Event()

    def overview(self) -> Overview:
        """Note the look, and wait."""
        self.looks.append(None)
        assert self.free.is_set() or self.go_on.wait(PATIENCE)
        return FULL


def test_twenty_scrapers_cost_two_pages() -> None:
    """Twenty scrapes at once read the sidecar twice: for the first that comes, and for all that come meanwhile."""
    sidecar, arrived = Held(), list[str]()
    with served(noting(make_app(sidecar), arrived)) as client, ThreadPoolExecutor(20) as scrapers:
        answers = [scrapers.submit(client.get, "/metrics") for _ in range(20)]
        eventually(lambda: len(arrived) == 20, within=PATIENCE)
        sidecar.go_on.set()
        pages = [answer.result(PATIENCE) for answer in answers]
    assert {page.status_code for page in pages} == {200}
    assert all("sqlalchemy_pool_info" in page.text for page in pages)
    assert len(sidecar.looks) == 2


def test_pages_of_ones_own_keep_no_scrape_waiting() -> None:
    """Of pages by names, of which there are endlessly many, only a few wait; everybody's page is made all the same."""
    sidecar, arrived = Held(), list[str]()
    with served(noting(make_app(sidecar), arrived)) as client, ThreadPoolExecutor(30) as others:
        # A page of unknown names alone would be made without a look at the sidecar, which is what holds it here.
        names = [["sqlalchemy_pool_info", f"n{number}"] for number in range(20)]
        asked_for = [others.submit(client.get, "/metrics", params={"name[]": own}) for own in names]
        # One is being made, if it has begun before the others came.
        eventually(lambda: sum(answer.done() for answer in asked_for) >= 20 - 1 - MOST_WAITING, within=PATIENCE)
        scrape = others.submit(client.get, "/metrics")
        eventually(lambda: len(arrived) == 21, within=PATIENCE)
        sidecar.go_on.set()
        assert "sqlalchemy_pool_info" in scrape.result(PATIENCE).text
        answers = [answer.result(PATIENCE) for answer in asked_for]
    turned_away = [answer for answer in answers if answer.status_code == 429]
    assert len(turned_away) in (20 - 1 - MOST_WAITING, 20 - MOST_WAITING)
    assert all("come again later" in answer.text and answer.headers["Retry-After"] == "1" for answer in turned_away)


def test_people_keep_no_scrape_waiting() -> None:
    """While pages for people take all the threads that there are for them, a scrape is answered, and health."""
    sidecar, arrived = Held(), list[str]()
    with served(noting(make_app(sidecar), arrived)) as client, ThreadPoolExecutor(50) as people:
        answers = [people.submit(client.get, "/") for _ in range(50)]
        eventually(lambda: len(arrived) == 50 and len(sidecar.looks) == 40, within=PATIENCE)
        sidecar.free.set()  # for the next to look
        assert "sqlalchemy_pool_info" in client.get("/metrics").text
        assert client.get("/-/healthy").status_code == 200
        assert len(sidecar.looks) == 41
        sidecar.go_on.set()
        assert {answer.result(PATIENCE).status_code for answer in answers} == {200}
