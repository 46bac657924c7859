"""Many scrapers at once on one page, each asking as Prometheus does: what each scrape took, as JSON.

usage: soak_scrapers.py URL COUNT SECONDS PAUSE FORM

Each scrapes for so many seconds, and begins anew ``PAUSE`` seconds after it began (0: at once). FORM is gzip or plain.
"""

from __future__ import annotations

import json
import statistics
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from http.client import HTTPConnection, HTTPException
from urllib.parse import urlsplit

PATIENCE = 15.0
ACCEPT = "application/openmetrics-text;version=1.0.0;q=0.5,text/plain;version=0.0.4;q=0.3,*/*;q=0.2"
HEADERS = {
    "gzip": {"Accept": ACCEPT, "Accept-Encoding": "gzip"},
    "plain": {"Accept": ACCEPT, "Accept-Encoding": "identity"},
}


@dataclass
class Scraper:
    """One of them, on a connection of its own, which it keeps where the server does."""

    url: str
    form: str
    milliseconds: list[float] = field(default_factory=list)
    failures: int = 0

    def scrape_for(self, seconds: float, pause: float, *, first: float = 0.0) -> None:
        """Scrape again and again, the first time after ``first`` seconds."""
        address = urlsplit(self.url)
        connection = HTTPConnection(address.hostname or "", address.port, timeout=PATIENCE)
        due = time.monotonic() + first
        end = due - first + seconds
        while due < end:
            time.sleep(max(due - time.monotonic(), 0.0))
            self._scrape(connection, address.path)
            due = max(due + pause, time.monotonic())
        connection.close()

    def _scrape(self, connection: HTTPConnection, path: str) -> None:
        began = time.perf_counter()
        try:
            connection.request("GET", path, headers=HEADERS[self.form])
            answer = connection.getresponse()
            good = bool(answer.read()) and answer.status == 200
        except (OSError, HTTPException):
            connection.close()
            good = False
        self.milliseconds.append((time.perf_counter() - began) * 1000)
        self.failures += not good


def main() -> None:
    """Let them scrape, and print what they saw."""
    url, count, seconds, pause, form = sys.argv[1:]
    scrapers = [Scraper(url, form) for _ in range(int(count))]
    threading.stack_size(256 * 1024)
    began = time.monotonic()
    with ThreadPoolExecutor(len(scrapers)) as threads:
        for number, scraper in enumerate(scrapers):
            first = float(pause) * number / len(scrapers)  # as Prometheus spreads them
            threads.submit(scraper.scrape_for, float(seconds), float(pause), first=first)
    taken = [each for scraper in scrapers for each in scraper.milliseconds]
    figures = {
        "seconds": round(time.monotonic() - began, 3),
        "failures": sum(scraper.failures for scraper in scrapers),
        "milliseconds": [round(each, 2) for each in taken],
    }
    json.dump(figures, sys.stdout)


def percentile(values: list[float], percent: int) -> float:
    """Return what so many percent of the values do not exceed."""
    return statistics.quantiles(values, n=100, method="inclusive")[percent - 1]


if __name__ == "__main__":
    main()
