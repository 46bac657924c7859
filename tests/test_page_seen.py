"""The status page in a real Chromium: what a person sees, that it changes by itself, and what it never does."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from browsers import PHONE, WIDE, Browser, browsing
from exporter.conclusions import Overview, Unowned
from overviews import FINDING, FULL, LEAK, LOCK, SHOP, UNSERVED, UP, Showing
from test_web import serving
from waiting import eventually

pytestmark = [pytest.mark.servers, pytest.mark.timeout(300)]

WITHIN = 60.0
"""Seconds for what a browser does by itself; busy machines give it little."""

BAD = dataclasses.replace(
    FULL,
    servers=(UP,),
    holders=(UNSERVED, LOCK, LEAK),
    findings=(FINDING,),
    unowned=(Unowned("orders", "shop", "shop", "10.0.0.7", 4),),
)
GOOD = dataclasses.replace(
    FULL, servers=(UP,), matches=(), pools=(dataclasses.replace(SHOP, overdue=0, used_longest_seconds=1.0),)
)
CONTRAST = Path(__file__).with_name("contrast.js").read_text(encoding="utf-8")


class Live(Showing):
    """A sidecar whose clock goes on, and that can be told something else."""

    def show(self, seen: Overview) -> None:
        """Know this from now on."""
        self._seen = seen

    def overview(self) -> Overview:
        """Return what it was told, as of now."""
        return dataclasses.replace(self._seen, now=time.time())


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """One browser for all of these tests; each opens its page anew."""
    with browsing() as browser:
        yield browser


@pytest.fixture
def live(browser: Browser) -> Iterator[tuple[Live, str]]:
    """A sidecar and its page's address; what it asked for and complained of before is forgotten."""
    browser.asked_for()
    browser.complaints()
    sidecar = Live(BAD)
    with serving(sidecar) as client:
        yield sidecar, f"{client.base_url}/"


def test_it_changes_without_being_loaded_again(browser: Browser, live: tuple[Live, str]) -> None:
    """The verdict, the title and the tables follow, while the document stays the same; nothing else is asked for."""
    sidecar, address = live
    browser.show(address)
    browser.run("window.kept = true")
    assert browser.text("#verdict h2") == "Leak pool shop"
    assert "leak suspect" in browser.text("#holders")
    sidecar.show(GOOD)
    eventually(lambda: browser.text("#verdict h2") == "All is well", within=WITHIN)
    assert browser.run("return window.kept") is True
    assert browser.run("return document.title") == "All is well - connection pools"
    assert browser.text("#said") == "All is well"
    assert "No connection is in use." in browser.text("#holders")
    assert set(browser.asked_for()) == {address}
    assert browser.complaints() == []


def test_what_a_person_did_stays(browser: Browser, live: tuple[Live, str]) -> None:
    """What was unfolded stays open, the focus and the scroll position stay, whatever changes around them."""
    sidecar, address = live
    browser.show(address, size=(1280, 500))
    browser.run(
        "document.getElementById('all-processes').open = true;"
        "document.querySelector('#legend summary').focus(); window.scrollTo(0, 400)"
    )
    more = (dataclasses.replace(LEAK, server_id=99, site="new.py:1 line"), *BAD.holders)
    sidecar.show(dataclasses.replace(BAD, holders=more))
    eventually(lambda: "new.py:1 line" in browser.text("#holders"), within=WITHIN)
    assert browser.run("return document.getElementById('all-processes').open") is True
    assert browser.run("return document.activeElement.parentElement.id") == "legend"
    assert browser.run("return window.scrollY") > 300


def test_it_says_when_the_sidecar_is_gone(browser: Browser) -> None:
    """When no answer comes the page says so, and how old what it shows is; when one comes it is live again."""
    with serving(Live(BAD)) as client:
        port = client.base_url.port or 0
        browser.show(f"{client.base_url}/")
        eventually(lambda: browser.text("#age") == "live", within=WITHIN)
        assert browser.text("#lost") == ""
    eventually(lambda: "The sidecar is not reachable: no connection." in browser.text("#lost"), within=WITHIN)
    eventually(lambda: int(browser.text("#lost-age").split()[0]) >= 4, within=WITHIN)
    assert "old" in browser.text("#age")
    assert str(browser.run("return document.title")).startswith("Not reachable: Leak")
    assert browser.text("#verdict h2") == "Leak pool shop"
    with serving(Live(GOOD), port=port):
        eventually(lambda: browser.text("#verdict h2") == "All is well", within=WITHIN)
        assert browser.text("#lost") == ""
        assert browser.run("return document.title") == "All is well - connection pools"
    browser.complaints()


def test_without_scripts_it_loads_itself_again(browser: Browser, live: tuple[Live, str]) -> None:
    """A browser without scripts shows everything, and asks again by itself."""
    sidecar, address = live
    try:
        browser.show(address, script=False)
        assert browser.driver.title == "Leak: shop - connection pools"
        sidecar.show(GOOD)
        eventually(lambda: browser.driver.title == "All is well - connection pools", within=WITHIN)
    finally:
        browser.show("about:blank")


@pytest.mark.parametrize("size", [PHONE, WIDE], ids=["phone", "laptop"])
@pytest.mark.parametrize("name", ["shop", "a" * 300, "a long name of many words " * 12], ids=["short", "long", "words"])
def test_it_fits(browser: Browser, live: tuple[Live, str], size: tuple[int, int], name: str) -> None:
    """Whatever the names are, the page as a whole never scrolls sideways."""
    sidecar, address = live
    identity = dataclasses.replace(SHOP.identity, name=name, database=name)
    odd = tuple(dataclasses.replace(each, pool=name, site=name, holder=name, server=name) for each in BAD.holders)
    sidecar.show(
        dataclasses.replace(
            BAD,
            pools=(dataclasses.replace(SHOP, identity=identity), *BAD.pools),
            holders=odd,
            matches=(*BAD.matches, dataclasses.replace(BAD.matches[0], pool=name, server=name)),
            findings=(dataclasses.replace(FINDING, pool=name, change=name, why=name),),
            unowned=(Unowned(name, name, name, name, 2),),
        )
    )
    browser.show(address, size=size)
    assert browser.run("return document.documentElement.scrollWidth") <= size[0]


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_every_text_can_be_read(browser: Browser, live: tuple[Live, str], *, dark: bool) -> None:
    """In light and in dark each text stands out from its ground by 4.5 to 1 at least, as WCAG asks."""
    _, address = live
    browser.show(address, dark=dark)
    ground = browser.run("return getComputedStyle(document.body).backgroundColor")
    assert (sum(int(part) for part in ground[4:-1].split(",")) < 200) is dark
    assert browser.run(CONTRAST) == []


def test_hostile_names_do_nothing(browser: Browser, live: tuple[Live, str]) -> None:
    """Names that are HTML are shown as they are, on the page as it is loaded and as it is refreshed."""
    sidecar, address = live
    evil = "<img src=x onerror=\"document.title='owned'\"><script>document.title='owned'</script>"
    browser.show(address)
    pool = dataclasses.replace(SHOP, identity=dataclasses.replace(SHOP.identity, name=evil))
    odd = dataclasses.replace(LEAK, pool=evil, site=evil, holder=evil, server=evil)
    sidecar.show(dataclasses.replace(BAD, pools=(pool,), holders=(odd,), unowned=(Unowned(evil, evil, evil, evil, 1),)))
    eventually(lambda: evil in browser.text("#pools"), within=WITHIN)
    browser.show(address)
    assert evil in browser.text("#holders")
    assert evil in browser.text("#unowned")
    assert browser.run("return document.querySelectorAll('img, main script').length") == 0
    assert "owned" not in str(browser.run("return document.title")).replace(evil, "")
    assert browser.complaints() == []
    assert set(browser.asked_for()) == {address}
