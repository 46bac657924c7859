"""The real gunicorn: recycled, killed and ended workers, and not one request too few or too many."""

from __future__ import annotations

import contextlib
import os
import signal

import pytest

from waiting import eventually
from workers import OVERFLOW, SIZE, Shop

pytestmark = pytest.mark.servers

WORKERS = 2
KINDS = {
    "sync": ("shop:wsgi",),
    "gthread": ("shop:wsgi", "--threads=2"),
    "gevent": ("shop:wsgi",),
    "uvicorn_worker.UvicornWorker": ("shop_asgi:asgi",),
}
PRELOADS = {"no": ((), {}), "unused": (("--preload",), {}), "used": (("--preload",), {"USE_AT_IMPORT": "1"})}
CASES = [
    pytest.param(kind, preload, site, id=f"{kind.rpartition('.')[2]}-{preload}")
    for kind, preload, site in (
        ("sync", "no", "mariadb_site"),
        ("sync", "unused", "postgresql_site"),
        ("sync", "used", "postgresql_site"),
        ("gthread", "no", "postgresql_site"),
        ("gthread", "unused", "mariadb_site"),
        ("gevent", "no", "mariadb_site"),
        ("gevent", "unused", "postgresql_site"),
        ("uvicorn_worker.UvicornWorker", "no", "postgresql_site"),
        ("uvicorn_worker.UvicornWorker", "used", "mariadb_site"),
    )
]


@pytest.mark.parametrize(("kind", "preload", "site"), CASES, indirect=["site"])
def test_every_request_is_counted(shop: Shop, kind: str, preload: str) -> None:
    """Recycled by --max-requests, killed with -9 after it published, ended by SIGTERM at once after the last request.

    Of the worker that is killed nothing is lost, since all it had counted was published before: a snapshot a second.
    """
    options, environment = PRELOADS[preload]
    masters = bool(options)  # a master that has loaded the application has its pool too
    command = ("gunicorn", *KINDS[kind], f"--worker-class={kind}", f"--workers={WORKERS}", "--max-requests=15")
    # A worker that has just been forked does not hear a SIGTERM, and gunicorn waits for it: 30 s by default.
    options = (*options, "--graceful-timeout=3")
    with shop.running(*command, *options, f"--bind=unix:{shop.socket}", environment=environment):
        answered: set[int] = set()

        def some_were_recycled() -> bool:
            answered.update(shop.ask(25))
            return len(answered) > WORKERS

        eventually(some_were_recycled, within=30, every=0.5)  # an asynchronous worker looks once a second
        shop.wait_until_all_counted()
        eventually(lambda: shop.processes() == WORKERS + masters)
        assert shop.page.value("connections_max") == (WORKERS + masters) * (SIZE + OVERFLOW)
        (victim,) = shop.ask(1)
        shop.wait_until_all_counted()
        with contextlib.suppress(ProcessLookupError):  # that was its fifteenth request
            os.kill(victim, signal.SIGKILL)
        shop.ask(20)
        shop.wait_until_all_counted()
        eventually(lambda: shop.processes() == WORKERS + masters)
        assert shop.processes("silent") == 0
        shop.ask(10)
    shop.wait_until_all_counted()
    eventually(shop.nothing_is_left_open)
    assert shop.counted() == shop.hits() >= 56
