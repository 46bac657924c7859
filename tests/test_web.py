"""The page over real HTTP: what is answered, in which form, and how fast."""

from __future__ import annotations

import base64
import contextlib
import gzip
import hashlib
import re
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from prometheus_client.metrics_core import Metric
from prometheus_client.openmetrics.parser import text_string_to_metric_families
from prometheus_client.parser import text_string_to_metric_families as parse_text

from exporter.conclusions import Overview
from exporter.page import SCRIPT, STYLE
from exporter.records import ProcessSnapshot
from exporter.sidecar import Sidecar
from exporter.web import make_app
from overviews import FULL, SHOP, Showing, config, publish, server, silent_server
from served import served
from waiting import eventually

OPENMETRICS = "application/openmetrics-text; version=1.0.0"


@contextlib.contextmanager
def serving(sidecar: Sidecar, *, port: int = 0) -> Iterator[httpx.Client]:
    """Serve a sidecar with uvicorn, on a free port unless told which, and give a client for it."""
    with served(make_app(sidecar), port=port) as client:
        yield client


@pytest.fixture(scope="module")
def client() -> Iterator[httpx.Client]:
    """A client for the page of a sidecar that knows of everything."""
    with serving(Showing()) as client:
        yield client


def test_text_is_for_everyone(client: httpx.Client) -> None:
    """Whoever asks for nothing in particular gets the text format, which its parser understands."""
    answer = client.get("/metrics", headers={"Accept": "*/*", "Accept-Encoding": "identity"})
    families = {family.name for family in parse_text(answer.text)}
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/plain; version=")
    assert answer.headers["vary"] == "Accept, Accept-Encoding"
    assert {"sqlalchemy_pool_connections", "sqlalchemy_server_up", "sqlalchemy_pool_matched_connections"} <= families


def test_openmetrics_is_for_who_asks(client: httpx.Client) -> None:
    """Asked for OpenMetrics the page is OpenMetrics, to the taste of its strict parser."""
    answer = client.get("/metrics", headers={"Accept": f"{OPENMETRICS},text/plain;q=0.5"})
    parsed: Iterator[Metric] = text_string_to_metric_families(answer.text)  # type: ignore[no-untyped-call]
    families = {family.name: family for family in parsed}
    assert answer.headers["content-type"].startswith("application/openmetrics-text; version=1.0.0")
    assert families["sqlalchemy_pool_checkouts"].type == "counter"
    assert families["sqlalchemy_server_sleep_seconds"].type == "gaugehistogram"
    assert answer.text.endswith("# EOF\n")


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(
    accept=st.sampled_from(
        ["", "image/png", "application/openmetrics-text;version=never", ";;q=,", OPENMETRICS + ";q=x"]
    )
    | st.text(st.characters(min_codepoint=33, max_codepoint=126), max_size=40),
    encoding=st.sampled_from(["", "gzip;q=", "br", "gzip;;;", ",,", "*"]) | st.text("gzip;q=0.1, *", max_size=20),
)
def test_no_header_breaks_it(client: httpx.Client, accept: str, encoding: str) -> None:
    """Whatever a client says that it accepts, it gets a page."""
    answer = client.get("/metrics", headers={"Accept": accept.strip(), "Accept-Encoding": encoding.strip()})
    assert (answer.status_code, "sqlalchemy_pool_info" in answer.text) == (200, True)


@pytest.mark.parametrize(
    ("accepted", "zipped"),
    [
        ("gzip", True),
        ("deflate, GZIP;q=1.0", True),
        ("*", True),
        ("identity", False),
        ("", False),
        ("gzip;q=0", False),
        ("gzip; q=0.0, *", False),
        ("xgzip", False),
    ],
)
def test_gzip_where_it_is_taken(client: httpx.Client, accepted: str, *, zipped: bool) -> None:
    """The page is packed for those who can unpack it, and for nobody else."""
    with client.stream("GET", "/metrics", headers={"Accept-Encoding": accepted}) as answer:
        body = b"".join(answer.iter_raw())
    assert (answer.headers.get("content-encoding") == "gzip") is zipped
    assert b"sqlalchemy_pool_info" in (gzip.decompress(body) if zipped else body)


def test_names_filter_the_page(client: httpx.Client) -> None:
    """With name[] only the series of those names are shown; a name that is unknown adds nothing."""
    names = ["sqlalchemy_server_up", "sqlalchemy_pool_checkouts_total", "nothing"]
    answer = client.get("/metrics", params={"name[]": names})
    shown = {sample.name for family in parse_text(answer.text) for sample in family.samples}
    assert shown == {"sqlalchemy_server_up", "sqlalchemy_pool_checkouts_total"}
    assert client.get("/metrics", params={"name[]": "nothing"}).text == ""


@pytest.mark.parametrize("path", ["/", "/metrics", "/-/healthy", "/-/ready", "/api/v1/pools", "/api/v1/holders"])
def test_head_is_get_without_a_body(client: httpx.Client, path: str) -> None:
    """HEAD has the status and the type of GET."""
    head, get = client.head(path), client.get(path)
    assert (head.status_code, head.content) == (get.status_code, b"") == (200, b"")
    assert head.headers["content-type"] == get.headers["content-type"]
    assert get.headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize("path", ["/nothing", "/metrics/", "/-/", "/metrics%2f..", "/api/v1/", "/api/v1/pools/"])
def test_what_is_not_there(client: httpx.Client, path: str) -> None:
    """Any other path is a plain 404, and no redirect."""
    answer = client.get(path)
    assert (answer.status_code, answer.text) == (404, "Not Found")
    assert answer.headers["content-type"].startswith("text/plain")


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS"])
def test_what_is_not_done(client: httpx.Client, method: str) -> None:
    """Any other method is a plain 405 that names those which are done."""
    answer = client.request(method, "/metrics")
    assert (answer.status_code, answer.text) == (405, "Method Not Allowed")
    assert set(answer.headers["allow"].split(", ")) == {"GET", "HEAD"}


def test_the_status_page_lets_nothing_else_in(client: httpx.Client) -> None:
    """The browser is told to take the one style and the one script that are on the page, and to ask us alone."""
    answer = client.get("/")
    policy = dict(each.strip().split(" ", 1) for each in answer.headers["content-security-policy"].split(";"))
    (style,) = re.findall(r"<style>(.*?)</style>", answer.text, re.DOTALL)
    (script,) = re.findall(r"<script>(.*?)</script>", answer.text, re.DOTALL)
    assert (style, script) == (STYLE, SCRIPT)
    assert policy["style-src"] == _hash_of(style)
    assert policy["script-src"] == _hash_of(script)
    assert (policy["default-src"], policy["connect-src"], policy["img-src"]) == ("'none'", "'self'", "data:")
    assert "unsafe" not in answer.headers["content-security-policy"]
    assert "orders" in answer.text


def _hash_of(content: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()}'"


def test_ready_waits_for_the_first_sample() -> None:
    """While a server has not been tried the page says 503 for ready, and 200 for healthy."""
    with serving(Sidecar(config(None, server(1)))) as client:
        assert (client.get("/-/ready").status_code, client.get("/-/healthy").text) == (503, "healthy\n")
    with serving(Sidecar(config())) as client:
        assert (client.get("/-/ready").status_code, client.get("/-/ready").text) == (200, "ready\n")


def test_a_page_that_takes_long_blocks_nobody() -> None:
    """While one page is being made, health is answered: the loop never waits."""
    begun, go_on = threading.Event(), threading.Event()

    class Slow(Showing):
        def overview(self) -> Overview:
            begun.set()
            assert go_on.wait(10)
            return FULL

    with serving(Slow()) as client:
        scrape = threading.Thread(target=client.get, args=("/metrics",))
        scrape.start()
        assert begun.wait(5)
        assert client.get("/-/healthy").status_code == 200
        go_on.set()
        scrape.join()


def test_a_silent_server_delays_no_scrape(tmp_path: Path) -> None:
    """A database that accepts and never answers makes `up 0`; the scrape itself takes well under a second."""
    publish(tmp_path, ProcessSnapshot(7, time.time(), (SHOP,)))
    with silent_server() as port:
        sidecar = Sidecar(config(tmp_path, server(port, timeout=1.0)))
        sidecar.start()
        with serving(sidecar) as client:
            began = time.perf_counter()
            page = client.get("/metrics").text
            assert time.perf_counter() - began < 0.8
            assert client.get("/-/ready").status_code == 503
            eventually(lambda: client.get("/-/ready").status_code == 200)
            later = client.get("/metrics").text
        assert sidecar.stop()
    assert 'sqlalchemy_server_up{server="orders"} 0.0' in page
    assert 'sqlalchemy_server_sample_errors_total{reason="timeout",server="orders"} 1.0' in later
    assert 'sqlalchemy_pool_connections{pool="shop",state="used"} 2.0' in page
