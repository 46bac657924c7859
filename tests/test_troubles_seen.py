"""The lab's troubles as people see them: on the page in a real browser, and in `top` on a real terminal, at once."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from browsers import browsing
from exporter.demo.lab import performing
from exporter.demo.scenarios import SCENARIOS
from terminals import terminal
from waiting import eventually

pytestmark = [pytest.mark.servers, pytest.mark.timeout(400)]

WITHIN = 120.0


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder that PostgreSQL's own user may pass."""
    with tempfile.TemporaryDirectory(prefix="seen-") as name:
        Path(name).chmod(0o711)
        yield Path(name) / "lab"


def test_a_leak_is_seen_and_so_is_its_end(folder: Path) -> None:
    """During a leak page and terminal name it, its line and who waits, and after the cure they do not any more."""
    with (
        performing(SCENARIOS["leak"], folder, on="postgresql") as performance,
        browsing() as browser,
        terminal("--url", performance.sidecar, size=(130, 45)) as screen,
    ):
        address = f"{performance.sidecar}/"
        browser.show(address)
        browser.run("window.kept = true")
        eventually(lambda: browser.text("#verdict h2") == "Leak pool shop", within=WITHIN, every=0.5)
        eventually(lambda: "leak suspect" in browser.text("#holders"), within=WITHIN, every=0.5)
        assert "open_cart" in browser.text("#verdict")
        assert "open_cart" in browser.text("#holders")
        assert "leak:" in browser.text("#match")
        eventually(lambda: " LEAK " in screen.screen() and "leak suspect" in screen.screen(), within=WITHIN)
        assert "open_cart" in screen.screen()
        performance.check()
        performance.cure()
        eventually(lambda: not browser.text("#verdict h2").startswith("Leak"), within=WITHIN, every=0.5)
        eventually(lambda: "leak suspect" not in screen.screen(), within=WITHIN)
        assert browser.run("return window.kept") is True
        assert browser.complaints() == []
        assert set(browser.asked_for()) == {address}


def test_a_stale_pool_is_seen(folder: Path) -> None:
    """While the server ends what sleeps, page and terminal say that the next user gets an error, and the cure."""
    with (
        performing(SCENARIOS["stale"], folder, on="mariadb") as performance,
        browsing() as browser,
        terminal("--url", performance.sidecar, size=(130, 45)) as screen,
    ):
        browser.show(f"{performance.sidecar}/")
        eventually(lambda: "gone on the server" in browser.text("#verdict"), within=WITHIN, every=0.3)
        assert browser.text("#verdict h2") == "Stale pool shop"
        assert "pool_pre_ping=True" in browser.text("#verdict")
        assert "wait_timeout=3" in browser.text("#findings")
        eventually(lambda: "stale: the next user gets an error" in screen.screen(), within=WITHIN, every=0.2)
        assert " STALE " in screen.screen()
        assert "pool_pre_ping=True" in screen.screen()
        performance.check()
        assert browser.complaints() == []
