"""The configuration read again in the midst of everything: of a sample that hangs, of scrapes, and of the end."""

from __future__ import annotations

import contextlib
import itertools
import signal
import threading
import time
from collections import Counter
from collections.abc import Iterator
from http.client import HTTPConnection, HTTPException
from pathlib import Path

import pytest

from plays import Fault, play
from sites import Site, frozen
from stages import DRIVERS, Stage, agree, staged
from test_faults_ends import ENDS_WITHIN, scrapes

pytestmark = [pytest.mark.servers, pytest.mark.timeout(400)]

RELOADS = 24
ASKING = 3  # threads that ask for a reload, or for the page, at once
LINES = 6 * RELOADS  # in the sidecar's log: each reload is said, and a server that is another one is down anew


class Reloads:
    """A sidecar's configuration, written anew while it runs."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self._path = stage.sidecar.log.with_suffix(".yaml")
        self._text = self._path.read_text().replace("web:\n", "web:\n  reload: true\n")
        self.statuses: Counter[int] = Counter()
        self._write(self._text)
        self._hang_up()
        agree(self.post, 200)
        self.statuses.clear()

    def change(self, number: int) -> None:
        """Write another version: the server's settings are others, as they were, or faulty, by turns."""
        self._write(self._text + (f"    stale_after: {600 + number}s\n", "", "    interval: never\n")[number % 3])

    def restore(self) -> None:
        """Let the first version count again."""
        self._write(self._text)
        agree(self.post, 200)

    def _write(self, text: str) -> None:
        # Several write at once, and none may be read that is half written.
        new = self._path.with_suffix(f".{threading.get_ident()}")
        new.write_text(text)
        new.replace(self._path)

    def reload(self, number: int) -> None:
        """Have it read again, by signal and over HTTP, from several at once, beside scrapes."""
        self._hang_up()
        asking = [threading.Thread(target=self._count, args=(turn,)) for turn in range(ASKING)]
        for thread in asking:
            thread.start()
        if number % 2:
            self._hang_up()
        for thread in asking:
            thread.join()

    def _count(self, turn: int) -> None:
        if turn:
            self.statuses[self.post()] += 1
        else:
            assert self.ask("GET", "/metrics") == 200

    def post(self) -> int:
        """Ask for a reload, and return the answer's status."""
        return self.ask("POST", "/-/reload")

    def ask(self, method: str, path: str) -> int:
        """Ask once, on a connection that ends with the answer."""
        with contextlib.closing(HTTPConnection(*self._stage.sidecar.address(), timeout=60)) as connection:
            connection.request(method, path, headers={"Connection": "close"})
            answer = connection.getresponse()
            answer.read()
            return answer.status

    def _hang_up(self) -> None:
        self._stage.sidecar.process.send_signal(signal.SIGHUP)


@contextlib.contextmanager
def reloaded(stage: Stage) -> Iterator[None]:
    """Read it again many times while a sample hangs on a server that is stopped."""
    reloads = Reloads(stage)
    with frozen(stage.site.database):
        agree(stage.up, expected=False)
        for number in range(RELOADS):
            reloads.change(number)
            reloads.reload(number)
        assert reloads.statuses.keys() == {200, 500}
        assert reloads.statuses.total() == RELOADS * (ASKING - 1)
        reloads.restore()
        yield
    good = stage.number("pool_exporter_config_last_reload_successful")
    assert good == 1


@pytest.mark.parametrize("driver", ["pymysql", "psycopg"])
def test_reloads_during_a_sample(driver: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    """However often it is read again meanwhile, no thread, file, session or count is stuck afterwards."""
    site: Site = request.getfixturevalue(DRIVERS[driver].site)
    with staged(site, DRIVERS[driver], tmp_path) as stage:
        play(stage, Fault(reloaded, up=False, uses=0, most=LINES))
        said = stage.sidecar.log.read_text()
    assert "Traceback" not in said
    assert said.count("the configuration cannot be used") <= 2 * RELOADS


@pytest.mark.parametrize("driver", ["pymysql", "psycopg"])
def test_sigterm_in_the_midst_of_reloads(driver: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    """With reloads, scrapes and a sample that hangs under way it ends within 5 s, with 0, and without an error."""
    site: Site = request.getfixturevalue(DRIVERS[driver].site)
    ended = threading.Event()
    with staged(site, DRIVERS[driver], tmp_path) as stage, scrapes(stage):
        reloads = Reloads(stage)

        def keep_reloading(turn: int) -> None:
            for number in itertools.count(turn):
                if ended.is_set():
                    return
                reloads.change(3 * number)
                with contextlib.suppress(OSError, HTTPException):  # it ends
                    reloads.post()

        asking = [threading.Thread(target=keep_reloading, args=(turn,)) for turn in range(ASKING)]
        with frozen(site.database):
            agree(stage.up, expected=False)
            for thread in asking:
                thread.start()
            agree(lambda: stage.sidecar.log.read_text().count("was read again and counts") > 2 * ASKING, expected=True)
            stage.sidecar.process.send_signal(signal.SIGTERM)
            began = time.monotonic()
            code = stage.sidecar.process.wait(30)
            took = time.monotonic() - began
            ended.set()
            for thread in asking:
                thread.join()
        assert (code, took < ENDS_WITHIN) == (0, True)
    said = stage.sidecar.log.read_text()
    assert "Traceback" not in said
    assert "ERROR" not in said
