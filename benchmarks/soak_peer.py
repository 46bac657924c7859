"""prometheus_client's own server with as many series as a page has.

usage: soak_peer.py PAGE PORT

PAGE is a file with the page that it is to equal: each of its families is made, of its kind, with its labels.
"""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable
from pathlib import Path

import prometheus_client
from multiprocess import fill
from prometheus_client import CollectorRegistry, start_http_server
from prometheus_client.parser import text_string_to_metric_families


def main() -> None:
    """Serve until a signal ends it."""
    page, port = sys.argv[1:]
    without_created: Callable[[], None] = prometheus_client.disable_created_metrics
    without_created()  # they would be more series than the page has
    registry = CollectorRegistry()
    for family in text_string_to_metric_families(Path(page).read_text()):
        if family.samples:
            fill(registry, family)
    start_http_server(int(port), addr="127.0.0.1", registry=registry)
    signal.sigwait({signal.SIGTERM, signal.SIGINT})


if __name__ == "__main__":
    main()
