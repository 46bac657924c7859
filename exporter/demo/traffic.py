"""The shop's customers: a few requests a second, from one thread."""

from __future__ import annotations

import itertools
import json
import random
import threading
import time
from concurrent.futures import ThreadPoolExecutor

from exporter.demo.client import Answer, ask

BROWSE_EVERY = 0.3
CART_EVERY = 4.0
REPORT_EVERY = 6.0
"""In seconds. Reports are asked for so rarely that the server has ended their connections in the meantime."""

REPORTS_AT_FIRST = 8
"""At once, so that every worker's pool has connections that can go stale."""


class Traffic:
    """Visits the shop until it is stopped, and counts how that went."""

    def __init__(self, shop: str) -> None:
        self.requests = 0
        self.failures = 0
        self.last_failure = ""
        self._shop = shop
        self._customers = itertools.count(1)
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="traffic", daemon=True)

    def start(self) -> None:
        """Send the first customers in."""
        self._thread.start()

    def stop(self) -> None:
        """Let no more customers in."""
        self._stopped.set()

    def _run(self) -> None:
        self._first_reports()
        now = time.monotonic()
        due = {self._browse: now, self._open_cart: now, self._report: now + REPORT_EVERY}
        every = {self._browse: BROWSE_EVERY, self._open_cart: CART_EVERY, self._report: REPORT_EVERY}
        while not self._stopped.wait(max(min(due.values()) - time.monotonic(), 0.0)):
            visit = min(due, key=lambda each: due[each])
            visit()
            # From now, not from when it was due: a shop that has become slow is not to be run over.
            due[visit] = time.monotonic() + every[visit]

    def _first_reports(self) -> None:
        with ThreadPoolExecutor(REPORTS_AT_FIRST) as crowd:
            for answer in crowd.map(ask, [f"{self._shop}/reports/turnover"] * REPORTS_AT_FIRST):
                self._note("GET /reports/turnover", answer)

    def _browse(self) -> None:
        if random.random() < 0.3:
            self._visit("POST", f"/purchases/{random.randint(1, 6)}")
        else:
            self._visit("GET", "/products")

    def _open_cart(self) -> None:
        self._visit("POST", f"/carts/{next(self._customers)}")

    def _report(self) -> None:
        self._visit("GET", "/reports/turnover")

    def _visit(self, method: str, path: str) -> None:
        self._note(f"{method} {path}", ask(f"{self._shop}{path}", method=method))

    def _note(self, request: str, answer: Answer) -> None:
        self.requests += 1
        if answer.status != 200 and not self._stopped.is_set():
            self.failures += 1
            self.last_failure = f"{request}: {_why(answer)}"


def _why(answer: Answer) -> str:
    try:
        return f"{answer.status} {json.loads(answer.body)['detail']}"
    except (ValueError, KeyError, TypeError):
        return f"{answer.status} {answer.body}"
