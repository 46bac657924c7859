"""The JSON: what programs read there, that it is JSON, and that the manual shows just that."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from exporter import api
from exporter.conclusions import Drift, Match, Overview, Recent, Unowned
from exporter.match import MATCHED_SESSIONS
from exporter.records import ProcessReport, ProcessSnapshot
from overviews import ENDLESS, FINDING, FULL, LEAK, LOCK, MATCH, NOW, SHOP, UNSERVED, UNSIZED, UP, Showing
from test_web import serving

MANUAL = Path(__file__).parents[1] / "docs" / "api.md"
EXAMPLE = Overview(
    NOW,
    pools=(dataclasses.replace(SHOP, waiting=0, overdue_by_site={LEAK.site or "": 1}, recycle_seconds=3600.0),),
    servers=(dataclasses.replace(UP, interval=15.0),),
    matches=(dataclasses.replace(MATCH, leak_suspects=1, stale=1, expiry=28770.0),),
    processes=(ProcessReport(ProcessSnapshot(7, NOW - 1, (SHOP,), id="id-7", host="web-1"), "live", 1.0),),
    findings=(FINDING,),
    holders=(LOCK, LEAK),
    drifts=(Drift("shop", "events_pool", 0),),
    unowned=(Unowned("orders", "shop", "shop", "10.0.0.7", 4),),
    recent=(Recent("shop", 300.0, timeouts=0, stale_errors=2),),
)


@pytest.fixture(scope="module")
def client() -> Iterator[httpx.Client]:
    """A client for a sidecar that knows of everything."""
    with serving(Showing(dataclasses.replace(FULL, holders=(UNSERVED, LOCK, LEAK)))) as client:
        yield client


def _held(answer: httpx.Response) -> list[int | None]:
    return [each["server_id"] for each in answer.json()["holders"]]


def test_the_manual_shows_what_is_answered() -> None:
    """Both examples of the manual are what a sidecar that knows of this answers."""
    blocks = re.findall(r"```json\n(.*?)```", MANUAL.read_text(encoding="utf-8"), re.DOTALL)
    shown = [json.loads(block) for block in blocks]
    assert shown == [api.pools(EXAMPLE), api.holders(EXAMPLE)]


def test_the_manual_explains_every_key() -> None:
    """No key is left for the reader to guess."""
    explained = re.sub(r"```.*?```", "", MANUAL.read_text(encoding="utf-8"), flags=re.DOTALL)
    document, holder = api.pools(EXAMPLE), api.holders(EXAMPLE)["holders"][0]
    pool, server = document["pools"][0], document["servers"][0]
    keys = {*pool, *holder, *pool["matches"][0], *pool["findings"][0], *pool["settings"], *pool["drift"]}
    keys |= {*document, *server, *server["sample"], *document["unowned"][0], *document["verdicts"][0]}
    keys |= {*pool["recent"], *pool["matches"][0]["cells"][0]}
    assert [key for key in sorted(keys) if f"`{key}`" not in explained] == []


def test_it_is_json_that_nobody_keeps(client: httpx.Client) -> None:
    """Both documents are JSON, not to be cached, and say of which moment they are."""
    for path in ("/api/v1/pools", "/api/v1/holders"):
        answer = client.get(path)
        assert (answer.status_code, answer.headers["content-type"]) == (200, "application/json")
        assert answer.headers["cache-control"] == "no-store"
        assert answer.json()["now"] == NOW


def test_every_pool_is_there_with_its_own(client: httpx.Client) -> None:
    """A match belongs to its pool; a limit that there is not is no number, and what is unknown is null."""
    endless, files, shop = client.get("/api/v1/pools").json()["pools"]
    assert [pool["name"] for pool in (endless, files, shop)] == ["endless", "files", "shop"]
    assert (endless["max"], endless["unlimited"], shop["max"], shop["unlimited"]) == (None, True, 15.0, False)
    assert (files["max"], files["unlimited"], files["size"], files["waiting"], files["host"]) == (None,) * 5
    assert (files["matches"], shop["processes"]) == ([], {"live": 2, "silent": 0})
    assert shop["matches"][0]["pairs"]["idle"] == {**dict.fromkeys(MATCHED_SESSIONS, 0), "gone": 1}
    assert files["drift"] == {"events_pool": None, "pool_server": None}


def test_a_match_that_is_not_possible_says_nothing() -> None:
    """Behind a proxy there are no pairs, which is something else than none in any state."""
    seen = dataclasses.replace(FULL, matches=(Match("shop", "orders", {}, possible=False),))
    match = api.pools(seen)["pools"][-1]["matches"][0]
    nothing = dict.fromkeys(("pairs", "leak_suspects", "stale", "expiry_seconds"))
    assert match == {"server": "orders", "possible": False, "cells": [], **nothing}


def test_holders_come_longest_first(client: httpx.Client) -> None:
    """Whoever has held on for longest is first; those that no server is known of are there, too."""
    answer = client.get("/api/v1/holders")
    assert _held(answer) == [12, 13, None]
    leak, lock, unserved = answer.json()["holders"]
    assert (leak["suspect"], leak["holds_transaction"]) == (True, False)
    assert (lock["suspect"], lock["holds_transaction"]) == (False, True)
    assert (unserved["server"], unserved["session"], unserved["session_seconds"]) == (None, None, None)


@pytest.mark.parametrize(
    ("query", "held"),
    [
        ("pool=shop", [12, 13]),
        ("pool=files&pool=shop", [12, 13, None]),
        ("server=orders", [12, 13]),
        ("server=", [None]),
        ("pool=files&server=orders", []),
        ("pool=nothing", []),
        ("other=1", [12, 13, None]),
    ],
)
def test_filters_choose_pools_and_servers(client: httpx.Client, query: str, held: list[int | None]) -> None:
    """A filter names what is wanted, several times for several; an empty server means those without one."""
    assert _held(client.get(f"/api/v1/holders?{query}")) == held


def test_a_list_is_bounded_and_says_so() -> None:
    """Of thousands the longest are shown, and how many are left out is a number."""
    many = tuple(dataclasses.replace(LEAK, seconds=float(number), server_id=number) for number in range(1200))
    found = api.holders(dataclasses.replace(FULL, holders=many))
    assert (len(found["holders"]), found["left_out"]) == (api.MOST_HOLDERS, 200)
    assert found["holders"][0]["server_id"] == 1199
    assert api.holders(FULL)["left_out"] == 0


def test_names_that_are_no_proper_text_do_no_harm() -> None:
    """Quotes, control characters and halves of characters in names come through as JSON has them."""
    odd = 'a"\n\u2028</script>\ud800'
    seen = dataclasses.replace(FULL, holders=(dataclasses.replace(LEAK, site=odd),))
    with serving(Showing(seen)) as client:
        text = client.get("/api/v1/holders").text
    assert text.isascii()
    assert json.loads(text)["holders"][0]["site"] == odd


def test_an_error_of_ours_is_an_answer() -> None:
    """What cannot be made is answered with 500 as JSON; the page goes on."""

    class Broken(Showing):
        def overview(self) -> Overview:
            raise RuntimeError("as the test wants it")

    with serving(Broken()) as client:
        answer = client.get("/api/v1/pools")
        assert client.get("/-/healthy").status_code == 200
    assert (answer.status_code, list(answer.json())) == (500, ["error"])
    assert answer.headers["cache-control"] == "no-store"


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE"])
def test_it_only_tells(client: httpx.Client, method: str) -> None:
    """Nothing can be changed here."""
    assert client.request(method, "/api/v1/holders").status_code == 405


def test_the_document_of_nothing() -> None:
    """Without pools there are lists, and they are empty."""
    empty: Any = Overview(NOW, (), (), ())
    found = api.pools(empty)
    assert (found["now"], found["pools"], found["servers"], found["unowned"]) == (NOW, [], [], [])
    assert [each["verdict"] for each in found["verdicts"]] == ["unseen", "unseen"]
    assert api.holders(empty) == {"now": NOW, "holders": [], "left_out": 0}
    assert api.pools(dataclasses.replace(empty, pools=(ENDLESS, UNSIZED)))["pools"][0]["processes"]["live"] == 0
