"""Names of hosts: looked up in the background, renewed, and never waited for."""

from __future__ import annotations

import logging
import threading

import pytest

from exporter.names import Names, look_up
from waiting import eventually

SEVEN = frozenset({"10.0.0.7"})


def test_nothing_is_known_before_it_was_looked_up() -> None:
    """Asking does not wait, and makes the name one of those that are looked up."""
    asked: list[str] = []

    def answer(name: str) -> list[str]:
        asked.append(name)
        return ["10.0.0.7"]

    names = Names(["db"], look_up=answer)
    assert (names.addresses("db"), names.addresses("stock"), asked) == (None, None, [])
    names.refresh()
    assert (names.addresses("db"), names.addresses("stock")) == (SEVEN, SEVEN)
    assert asked == ["db", "stock"]


def test_a_name_that_is_lost_keeps_its_addresses() -> None:
    """A name server that is down for a while changes nothing; one that never knew the name is asked again."""
    known = {"db": ["10.0.0.7"]}

    def answer(name: str) -> list[str]:
        if name not in known:
            raise OSError("nobody knows")
        return known[name]

    names = Names(["db", "stock"], look_up=answer)
    names.refresh()
    del known["db"]
    known["stock"] = ["10.0.0.8"]
    names.refresh()
    assert (names.addresses("db"), names.addresses("stock")) == (SEVEN, frozenset({"10.0.0.8"}))


def test_many_addresses_are_said_once(caplog: pytest.LogCaptureFixture) -> None:
    """Whoever wonders why a pool is matched with nobody finds it in the log, with what to do."""
    names = Names(["db"], look_up=lambda _name: ["10.0.0.7", "10.0.0.8"])
    with caplog.at_level(logging.WARNING):
        names.refresh()
        names.refresh()
    (record,) = caplog.records
    assert "db has 2 addresses" in record.getMessage()
    assert "servers.NAME.pools" in record.getMessage()


def test_a_silent_name_server_holds_nobody_up() -> None:
    """While a name is being looked up, others are answered, and the end does not wait."""
    asked, answered = threading.Event(), threading.Event()

    def silent(_name: str) -> list[str]:
        asked.set()
        answered.wait(30)
        return ["10.0.0.7"]

    names = Names(["db"], look_up=silent)
    names.start()
    assert asked.wait(10)
    assert names.addresses("db") is None
    names.stop()
    answered.set()
    eventually(lambda: names.addresses("db"))


def test_new_names_are_looked_up_at_once() -> None:
    """A name that comes up later does not wait for the next round; they are not more than memory can bear."""
    names = Names(look_up=lambda name: [f"address of {name}"])
    names.start()
    for number in range(2000):
        names.addresses(str(number))
    assert eventually(lambda: names.addresses("999")) == frozenset({"address of 999"})
    assert names.addresses("1000") is None
    names.stop()


def test_the_machine_s_own_name() -> None:
    """Names are looked up as every program here does it; what can be no name is nobody's."""
    assert look_up("localhost") & {"127.0.0.1", "::1"}
    with pytest.raises(OSError, match="cannot be the name"):
        look_up("a" * 64 + ".example")
