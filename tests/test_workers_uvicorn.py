"""The real uvicorn, alone and with workers: it ends by the signal that asked it to, past atexit."""

from __future__ import annotations

import os
import signal

import pytest

from waiting import eventually
from workers import Shop, children

pytestmark = [pytest.mark.servers, pytest.mark.parametrize("site", ["postgresql_site"], indirect=True)]


@pytest.mark.parametrize("stop", [signal.SIGTERM, signal.SIGINT])
def test_one_process(shop: Shop, stop: signal.Signals) -> None:
    """What was counted right before the signal is on the page."""
    command = ("uvicorn", "shop_asgi:asgi", f"--uds={shop.socket}", "--log-level=warning")
    with shop.running(*command, end=lambda program: program.send_signal(stop)):
        shop.ask(20)
    shop.wait_until_all_counted()
    eventually(shop.nothing_is_left_open)


def test_workers(shop: Shop) -> None:
    """Two workers, one of them killed with -9 after it published, the others ended at once after the last request."""
    command = ("uvicorn", "shop_asgi:asgi", f"--uds={shop.socket}", "--log-level=warning", "--workers=2")
    with shop.running(*command) as master:
        victim = shop.ask(20)[0]
        shop.wait_until_all_counted()
        eventually(lambda: shop.processes() == 2)
        os.kill(victim, signal.SIGKILL)
        eventually(lambda: victim not in children(master) and shop.processes() == 2)
        shop.ask(20)
    shop.wait_until_all_counted()
    eventually(shop.nothing_is_left_open)
    assert shop.counted() == shop.hits() >= 40
