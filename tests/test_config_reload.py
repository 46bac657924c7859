"""The configuration read again while everything runs: what stays, what is exchanged, and what a bad one changes."""

from __future__ import annotations

import contextlib
import os
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
from prometheus_client import generate_latest

from config_files import PLANTED
from doors import HASH, PASSWORD, Door, door
from exporter.config import Config, ServerConfig, WebConfig, load
from exporter.parts import assemble
from exporter.records import ProcessSnapshot, ServerView
from exporter.sampler import Sampler
from exporter.sidecar import Sidecar
from overviews import SHOP, config, publish, server, silent_server
from sites import Site, sessions_of
from waiting import eventually

RELOADED = "pool_exporter_config_last_reload_"


def view(sidecar: Sidecar, name: str = "orders") -> ServerView:
    return next(each for each in sidecar.overview().servers if each.name == name)


def threads() -> list[str]:
    return sorted(each.name for each in threading.enumerate())


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))  # noqa: PTH208  it is no path to walk


@pytest.mark.servers
def test_a_server_that_stays_keeps_what_it_has(site: Site, tmp_path: Path) -> None:
    """Over twenty reloads it keeps its session, its samples and its counts; the others come and go without a trace."""
    account, leaving = site.sampler_account(), site.sampler_account()
    staying = site.server(account, interval=60.0)
    other = site.server(leaving, name="other", interval=0.2)
    sidecar = Sidecar(config(tmp_path, staying))
    sidecar.start()
    try:
        eventually(lambda: view(sidecar).up)
        session, taken = sessions_of(site, account), view(sidecar).sampled_at
        before = threads(), descriptors()
        for number in range(20):
            sidecar.apply(config(tmp_path, staying, replace(other, stale_after=600.0 + number)))
            if number % 4 == 0:
                eventually(lambda: view(sidecar, "other").up)
            sidecar.apply(config(tmp_path, staying))
            assert [each.name for each in sidecar.overview().servers] == ["orders"]
        assert (sessions_of(site, account), view(sidecar).sampled_at) == (session, taken)
        eventually(lambda: sessions_of(site, leaving) == [])
        eventually(lambda: (threads(), descriptors()) == before, within=60)
    finally:
        assert sidecar.stop(within=10.0)
    eventually(lambda: sessions_of(site, account) == [])


def test_counts_do_not_fall() -> None:
    """The errors of a server are counted on, also where its settings change; a new one begins at zero."""
    sidecar = Sidecar(config(None, server(1)))
    sidecar.start()
    try:
        eventually(lambda: view(sidecar).errors["connect"])
        before = view(sidecar).errors["connect"]
        sidecar.apply(config(None, replace(server(1), stale_after=5.0), server(2, name="new")))
        assert view(sidecar).errors["connect"] >= before
        eventually(lambda: view(sidecar).errors["connect"] > before)
        eventually(lambda: view(sidecar, "new").errors["connect"])
    finally:
        assert sidecar.stop(within=10.0)


def test_reloads_during_a_sample() -> None:
    """While a sample hangs on a silent server its settings change many times, pages are made, and nothing is left."""
    with silent_server() as port:
        sidecar = Sidecar(config(None, server(port, timeout=1.0)))
        sidecar.start()
        before = threads()
        for number in range(30):
            sidecar.apply(config(None, replace(server(port, timeout=1.0), stale_after=60.0 + number)))
            assert 'sqlalchemy_server_up{server="orders"} 0.0' in generate_latest(sidecar.registry).decode()
        eventually(lambda: len(threads()) <= len(before), within=30)
        assert sidecar.stop(within=10.0)


def test_a_directory_may_change(tmp_path: Path) -> None:
    """Pools are read from the new directory at the next scrape, with or without the label of each process."""
    first, second = tmp_path / "first", tmp_path / "second"
    for folder in (first, second):
        folder.mkdir()
    publish(second, ProcessSnapshot(7, 1_700_000_000.0, (SHOP,)))
    sidecar = Sidecar(config(first))
    sidecar.start()
    assert sidecar.overview().pools == ()
    sidecar.apply(config(second))
    assert [each.identity.name for each in sidecar.overview().pools] == ["shop"]
    apart = config(second)
    sidecar.apply(replace(apart, processes=replace(apart.processes, per_process=True)))
    assert 'process="' in generate_latest(sidecar.registry).decode()
    sidecar.apply(config(None))
    assert sidecar.overview().pools == ()
    assert sidecar.stop(within=10.0)


def test_what_is_known_of_processes_stays(tmp_path: Path) -> None:
    """With the label of each process or without, the letterbox is the same one; of another directory it is not."""
    without = config(tmp_path)
    before = assemble(without, lambda: 0.0, _no_sampler)
    apart = replace(without, processes=replace(without.processes, per_process=True))
    assert assemble(apart, lambda: 0.0, _no_sampler, before=before).letterbox is before.letterbox
    elsewhere = assemble(config(tmp_path / "elsewhere"), lambda: 0.0, _no_sampler, before=before)
    assert elsewhere.letterbox is not before.letterbox


def _no_sampler(_server: ServerConfig, _errors: object) -> Sampler:
    raise AssertionError("no server is configured here")


WEB = "web: {{listen: 127.0.0.1:0, reload: true{more}}}\nprocesses: {{directory: {folder}}}\n"
DOWN = "servers: {{orders: {{url: mysql+pymysql://probe@127.0.0.1:1/, password: !env {variable}}}}}\n"


class Reloads:
    """A sidecar whose configuration lies in a file, and the page that may reload it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.path = folder / "config.yaml"
        self.write()
        self.sidecar = Sidecar(self.load())

    def write(self, more: str = "", text: str = "") -> None:
        self.path.write_text(WEB.format(more=more, folder=self.folder) + text)

    def load(self) -> Config:
        return load(self.path)

    def value(self, page: Door, name: str) -> float:
        lines = page.ask("/metrics").text.splitlines()
        return next(float(line.split()[-1]) for line in lines if line.startswith(f"{RELOADED}{name} "))


def test_a_post_reloads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    """POST says what it did, metrics and log say so too, secrets are read again, and a bad file changes nothing."""
    monkeypatch.setenv("FIRST", PLANTED)
    monkeypatch.delenv("SECOND", raising=False)
    reloads = Reloads(tmp_path)
    with door(tmp_path, sidecar=reloads.sidecar, again=reloads.load) as page:
        reloads.sidecar.start()
        began = reloads.value(page, "timestamp_seconds")
        reloads.write(text=DOWN.format(variable="FIRST"))
        said = page.ask("/-/reload", method="POST")
        assert (said.status, said.text) == (200, "reloaded\n")
        assert [str(each.url.password) for each in reloads.sidecar.config.servers] == [PLANTED]
        good = reloads.value(page, "timestamp_seconds")
        assert (reloads.value(page, "successful"), good > began) == (1.0, True)

        reloads.write(text=f"{DOWN.format(variable='SECOND')}colour: {PLANTED}\n")
        said = page.ask("/-/reload", method="POST")
        assert said.status == 500
        unset = "the environment variable SECOND is not set; set it to the password"
        assert said.text.splitlines() == [
            f"{reloads.path}:3:71: servers.orders.password: {unset}",
            f"{reloads.path}:4:1: colour: unknown key; known here are web, processes, leak_after, servers",
        ]
        assert (reloads.value(page, "successful"), reloads.value(page, "timestamp_seconds")) == (0.0, good)
        assert [each.name for each in reloads.sidecar.config.servers] == ["orders"]
        assert "the one before still counts" in caplog.text
        assert PLANTED not in caplog.text + said.text

        reloads.path.unlink()
        assert "No such file or directory" in page.ask("/-/reload", method="POST").text
        monkeypatch.setenv("SECOND", "another")
        reloads.write(text=DOWN.format(variable="SECOND"))
        assert page.ask("/-/reload", method="POST").status == 200
        assert [str(each.url.password) for each in reloads.sidecar.config.servers] == ["another"]
        assert reloads.value(page, "successful") == 1.0
    assert reloads.sidecar.stop(within=10.0)


def test_what_a_reload_cannot_change(tmp_path: Path) -> None:
    """Another address to listen on is refused with a sentence, and the rest of the file is not applied either."""
    reloads = Reloads(tmp_path)
    with door(tmp_path, sidecar=reloads.sidecar, again=reloads.load) as page:
        reloads.path.write_text("web: {listen: 127.0.0.1:1, reload: true}\nprocesses: {directory: /elsewhere}\n")
        said = page.ask("/-/reload", method="POST")
        assert said.status == 500
        assert said.text == (
            f"{reloads.path}: web.listen: cannot change while it runs; restart to apply it, or take it back\n"
        )
        assert reloads.sidecar.config.processes.directory == tmp_path


def test_the_lock_is_exchanged_too(tmp_path: Path) -> None:
    """A reload may bring a web configuration, another one, or none; one that is faulty changes nothing."""
    reloads = Reloads(tmp_path)
    users = f"basic_auth_users: {{prometheus: '{HASH}'}}"
    with door(tmp_path, sidecar=reloads.sidecar, again=reloads.load) as page:
        (tmp_path / "users.yml").write_text(users)
        reloads.write(", config_file: users.yml")
        assert page.ask("/-/reload", method="POST").status == 200
        assert page.ask().status == 401
        assert page.ask("/-/reload", method="POST").status == 401
        (tmp_path / "users.yml").write_text("colour: red")
        said = page.ask("/-/reload", method="POST", login=f"prometheus:{PASSWORD}")
        assert (said.status, said.text.startswith(f"{tmp_path}/users.yml:1:1: colour: unknown key")) == (500, True)
        assert page.ask().status == 401
        reloads.write()
        assert page.ask("/-/reload", method="POST", login=f"prometheus:{PASSWORD}").status == 200
        assert page.ask().status == 200


def test_all_or_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the rest cannot be applied, the lock of the new file does not count either."""
    reloads = Reloads(tmp_path)
    (tmp_path / "users.yml").write_text(f"basic_auth_users: {{prometheus: '{HASH}'}}")
    with door(tmp_path, sidecar=reloads.sidecar, again=reloads.load) as page:
        reloads.write(", config_file: users.yml")
        with monkeypatch.context() as fault:
            fault.setattr(reloads.sidecar, "apply", lambda _config: 1 // 0)
            said = page.ask("/-/reload", method="POST")
            assert (said.status, "could not be applied because of an error of ours" in said.text) == (500, True)
        assert page.ask().status == 200
        assert page.ask("/-/reload", method="POST").status == 200
        assert page.ask().status == 401


def test_a_lock_waits_for_no_reload(tmp_path: Path) -> None:
    """While a reload hangs, a web configuration that has changed counts all the same; at the end it is answered."""
    reloads, ended, again = Reloads(tmp_path), threading.Event(), threading.Event()

    def hangs() -> Config:
        again.set()
        ended.wait(60)
        return reloads.load()

    try:
        with door(tmp_path, "", sidecar=reloads.sidecar, again=hangs) as page, page.dial() as line:
            line.sendall(b"POST /-/reload HTTP/1.1\r\nHost: x\r\n\r\n")
            eventually(again.is_set)
            page.web.write_text(f"basic_auth_users: {{prometheus: '{HASH}'}}")
            eventually(lambda: page.ask().status == 401)
    finally:
        ended.set()


def test_a_reload_that_hangs_is_answered_at_the_end(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Whoever waits for a reload when the sidecar ends is told so, with the usual headers and no traceback."""
    reloads, ended, again = Reloads(tmp_path), threading.Event(), threading.Event()

    def hangs() -> Config:
        again.set()
        ended.wait(60)
        return reloads.load()

    try:
        with contextlib.ExitStack() as stack:
            page = stack.enter_context(door(tmp_path, sidecar=reloads.sidecar, again=hangs))
            line = page.dial()
            line.sendall(b"POST /-/reload HTTP/1.1\r\nHost: x\r\n\r\n")
            eventually(again.is_set)
        with line:
            answer = b"".join(iter(lambda: line.recv(65536), b""))
    finally:
        ended.set()
    assert answer.startswith(b"HTTP/1.1 503 ")
    assert b"x-frame-options" in answer.lower()
    assert answer.endswith(b"the sidecar ends; come again later\n")
    assert "Traceback" not in caplog.text


def test_only_where_it_is_asked_for(tmp_path: Path) -> None:
    """Without web.reload a POST is refused with a sentence; a GET never reloads, nor does a page of another site."""
    sidecar = Sidecar(replace(config(tmp_path), web=WebConfig("127.0.0.1", 0)))
    with door(tmp_path, sidecar=sidecar) as page:
        said = page.ask("/-/reload", method="POST")
        assert (said.status, "set web.reload: true in the configuration, or send SIGHUP" in said.text) == (403, True)
    reloads = Reloads(tmp_path)
    with door(tmp_path, sidecar=reloads.sidecar) as page:
        for method in ("GET", "HEAD", "PUT", "DELETE"):
            answer = page.ask("/-/reload", method=method)
            assert (answer.status, answer.headers["allow"]) == (405, "POST")
        assert page.ask("/-/reload", method="POST", Origin="http://evil.example").status == 403
        assert page.ask("/-/reload", method="POST", Sec_Fetch_Site="cross-site").status == 403


def test_many_at_once(tmp_path: Path) -> None:
    """Fifty reloads at once are all answered after the last change, no scrape fails meanwhile, and nothing is left."""
    reloads = Reloads(tmp_path)
    with door(tmp_path, sidecar=reloads.sidecar, again=reloads.load) as page, ThreadPoolExecutor(16) as pool:
        reloads.sidecar.start()
        assert page.ask("/-/reload", method="POST").status == 200
        before = descriptors()
        posts = [pool.submit(page.ask, "/-/reload", method="POST") for _ in range(50)]
        scrapes = [pool.submit(page.ask) for _ in range(20)]
        assert {each.result().status for each in (*posts, *scrapes)} == {200}
        eventually(lambda: descriptors() <= before + 2)
    assert reloads.sidecar.stop(within=10.0)
