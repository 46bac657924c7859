"""The traffic: customers of a shop, whose requests are real ones, and how those went."""

from __future__ import annotations

import itertools
import json
import random
import threading
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from exporter.demo.client import Answer, ask

PATIENCE = 30.0
"""Seconds that a customer waits for an answer."""


@dataclass(frozen=True)
class Request:
    """One request, or ``at_once`` of a kind; ``{product}`` and ``{customer}`` in the path are filled in."""

    path: str
    method: str = "GET"
    at_once: int = 1


@dataclass(frozen=True)
class Customers:
    """So many customers, one begun ``apart`` seconds after the other: their requests, a pause, and again.

    Without a pause they come only once. The first begins after ``first`` seconds.
    """

    requests: tuple[Request, ...]
    pause: float | None
    number: int = 1
    apart: float = 0.0
    first: float = 0.0


_REPORT = "/reports/turnover"
VISITORS = (
    # At once, so that every worker's pool has connections that can go stale.
    Customers((Request(_REPORT, at_once=8),), pause=None),
    # So rarely that the server has ended their connections in the meantime.
    Customers((Request(_REPORT),), pause=6.0, first=6.0),
    Customers((Request("/products"), Request("/products"), Request("/purchases/{product}", "POST")), pause=0.9),
    Customers((Request("/carts/{customer}", "POST"),), pause=4.0),
)
"""Who visits the shop of the demonstration: a few requests a second."""


class Traffic:
    """Sends customers to the application at ``address`` until it is stopped, and counts how that went."""

    def __init__(self, address: str) -> None:
        self.requests = 0
        self.failures = 0
        self.last_failure = ""
        self._address = address
        self._numbers = itertools.count(1)
        self._counting = threading.Lock()
        self._closed = threading.Event()

    def send(self, customers: Iterable[Customers]) -> None:
        """Send these in, after whoever was there has been stopped."""
        self._closed = threading.Event()
        for each in customers:
            for index in range(each.number):
                threading.Thread(
                    target=self._visit,
                    args=(each, each.first + index * each.apart, self._closed),
                    name="customer",
                    daemon=True,
                ).start()

    def stop(self) -> None:
        """Let no more customers in; what those inside have asked for no longer counts."""
        self._closed.set()

    def _visit(self, customer: Customers, first: float, closed: threading.Event) -> None:
        pause: float | None = first
        while pause is not None and not closed.wait(pause):
            for request in customer.requests:
                if closed.is_set():
                    return
                self._send(request, closed)
            pause = customer.pause

    def _send(self, request: Request, closed: threading.Event) -> None:
        if request.at_once == 1:
            self._note(request, self._ask(request), closed)
            return
        with ThreadPoolExecutor(request.at_once) as crowd:
            for answer in crowd.map(self._ask, [request] * request.at_once):
                self._note(request, answer, closed)

    def _ask(self, request: Request) -> Answer:
        path = request.path.format(product=random.randint(1, 6), customer=next(self._numbers))
        return ask(f"{self._address}{path}", method=request.method, timeout=PATIENCE)

    def _note(self, request: Request, answer: Answer, closed: threading.Event) -> None:
        with self._counting:
            if closed.is_set():
                return
            self.requests += 1
            if answer.status != 200:
                self.failures += 1
                self.last_failure = f"{request.method} {request.path}: {_why(answer)}"


def _why(answer: Answer) -> str:
    try:
        return f"{answer.status} {json.loads(answer.body)['detail']}"
    except (ValueError, KeyError, TypeError):
        return f"{answer.status} {answer.body}"
