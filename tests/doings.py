"""What brings those messages about that need more than a configuration: processes, folders, servers, strangers."""

from __future__ import annotations

import contextlib
import os
import pwd
import re
import resource
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest import mock

from sqlalchemy import create_engine
from sqlalchemy.engine import make_url
from sqlalchemy.pool import QueuePool

import exporter
from causes import Cause, Stage, call, command, tls_of_page
from config_files import write
from doors import HASH, door
from exporter.config import Config, ServerConfig, WebConfig
from exporter.demo.databases import free_port, postgresql, serving
from exporter.demo.guard import guarding
from exporter.demo.interruption import remembering
from exporter.demo.processes import Processes
from exporter.demo.programs import Program, server_account
from exporter.demo.scenarios import SCENARIOS
from exporter.doctor import for_people, look
from exporter.letterbox import Letterbox
from exporter.records import ServerSnapshot
from exporter.reload import Reloader
from exporter.sampler import Sampler
from exporter.sidecar import Sidecar
from exporter.sole import Sole
from exporter.web_keeper import Keeper
from exporter.web_lock import BusyError
from exporter.wish import default_leak_after
from letters import put
from overviews import SAMPLE, config, silent_server
from samplers import no_ids, unreachable
from waiting import eventually


def plugin(**options: Any) -> Cause:
    def made() -> None:
        create_engine("sqlite://", plugins=["pool_exporter"], **options).dispose()

    return call(made)


def instrumented(**options: Any) -> Cause:
    return call(lambda: exporter.instrument(create_engine("sqlite://"), **options))


def read_letters(look: Callable[[Path], object]) -> Cause:
    def read(stage: Stage) -> list[str]:
        look(stage.folder)
        Letterbox(stage.folder).read()
        return stage.logged

    return read


def file_then_folder(stage: Stage) -> list[str]:
    box = stage.folder / "box"
    letterbox = Letterbox(box)
    letterbox.read()
    box.mkdir()
    letterbox.read()
    return stage.logged


def diagnosed(stage: Stage) -> list[str]:
    put(stage.folder, "[]")
    return [for_people(look(config(stage.folder), wait=0.01))]


def port_taken(_stage: Stage) -> list[str]:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        listen = f"web: {{listen: '127.0.0.1:{taken.getsockname()[1]}'}}\nprocesses: {{directory: .}}\n"
        return command("serve", "--config", "{}", content=listen)(_stage)


def replaced() -> None:
    engine = create_engine("sqlite:///shop.db", poolclass=QueuePool)
    engine.pool.connect = mock.Mock()  # type: ignore[method-assign]
    exporter.instrument(engine)


def bad_default() -> None:
    with mock.patch.dict(os.environ, {"POOL_EXPORTER_LEAK_AFTER": "soon"}):
        default_leak_after()


def nobody_there(stage: Stage) -> list[str]:
    url = make_url(f"mysql+pymysql://probe@127.0.0.1:{free_port()}/")
    Sampler(unreachable(url=url, dialect="mysql"), ids=no_ids).sample()
    return stage.logged


def sampled_at(url: str) -> Cause:
    """Sample a MySQL whose URL is no good."""

    def sample(stage: Stage) -> list[str]:
        Sampler(unreachable(url=make_url(url), dialect="mysql"), ids=no_ids).sample()
        return stage.logged

    return sample


class _Answering:
    """A line whose server answers as fast as it is told to, with advice; sampling is what listens to it."""

    def __init__(self, seconds: Iterator[float]) -> None:
        self._seconds = seconds
        self.answer_seconds = 0.0

    def ask(self, *_: object, **__: object) -> ServerSnapshot:
        """Answer."""
        self.answer_seconds = next(self._seconds)
        return replace(SAMPLE, advice="may not see the sessions of others; GRANT PROCESS ON *.* TO 'probe'@'%'")


def sampled(stage: Stage, *seconds: float) -> list[str]:
    with mock.patch("exporter.sampler.Line", return_value=_Answering(iter(seconds))):
        sampler = Sampler(unreachable(), ids=no_ids)
    for _ in seconds:
        sampler.sample()
    return stage.logged


def fast_again(stage: Stage) -> list[str]:
    return sampled(stage, 5.0, 0.0, 0.0, 0.0)


def advised(stage: Stage) -> list[str]:
    return sampled(stage, 0.0)


def ended_while_sampling(stage: Stage) -> list[str]:
    with silent_server() as port:
        of_server = f"{{url: 'mysql://a@127.0.0.1:{port}/', interval: 2m, timeout: 1m}}"
        text = f"web: {{listen: 127.0.0.1:0}}\nservers: {{orders: {of_server}}}"
        serve = [sys.executable, "-m", "exporter", "serve", "--config", str(write(stage.folder, text))]
        with subprocess.Popen(serve, stderr=subprocess.PIPE, text=True) as process:
            assert process.stderr is not None
            said = [process.stderr.readline()]
            process.terminate()
            return [*said, *process.stderr]


@contextlib.contextmanager
def _serving(folder: Path, log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Run a sidecar, with what it says in a file, and hand it out when it serves."""
    path = write(folder, "web: {listen: 127.0.0.1:0}\nprocesses: {directory: .}\n")
    serve = [sys.executable, "-m", "exporter", "serve", "--config", str(path)]
    with log.open("wb") as output, subprocess.Popen(serve, stderr=output) as process:
        try:
            _until(log, "serving on ")
            yield process
        finally:
            process.kill()


def _until(log: Path, words: str) -> None:
    assert eventually(lambda: words in log.read_text(), within=60)


def hung_up(stage: Stage) -> list[str]:
    log = stage.folder / "log"
    with _serving(stage.folder, log) as process:
        process.send_signal(signal.SIGHUP)
        _until(log, "was read again")
        (stage.folder / "config.yaml").unlink()
        process.send_signal(signal.SIGHUP)
        _until(log, "cannot be used")
    return [log.read_text()]


def no_descriptors(stage: Stage) -> list[str]:
    log = stage.folder / "log"
    with _serving(stage.folder, log) as process:
        port = int(re.findall(r"serving on http://127.0.0.1:(\d+)/", log.read_text())[0])
        resource.prlimit(process.pid, resource.RLIMIT_NOFILE, (3, 3))
        with socket.create_connection(("127.0.0.1", port)):
            _until(log, "cannot accept connections")
    return [log.read_text()]


def our_error(stage: Stage) -> list[str]:
    def again() -> Config:
        raise RuntimeError

    reloader = Reloader(Sidecar(config(stage.folder)), Keeper(), file=stage.folder / "config.yaml", again=again)
    try:
        return [*reloader.ask().result(), *stage.logged]
    finally:
        reloader.close()


def web_file_again(stage: Stage) -> list[str]:
    path = stage.folder / "web.yml"
    path.write_text("")
    keeper = Keeper(path)
    for content in ("colour: red", "# good"):
        path.write_text(content)
        keeper.look()
    return stage.logged


def answered(
    path: str,
    *,
    method: str = "GET",
    lock: str | None = None,
    of: ServerConfig | None = None,
    web: WebConfig | None = None,
    **headers: str,
) -> Cause:
    """Ask a page twice; ``lock`` is its web configuration, ``of`` the server that it has."""

    def answers(stage: Stage) -> list[str]:
        known = config(stage.folder, *filter(None, [of]))
        sidecar = Sidecar(known if web is None else replace(known, web=web))
        with door(stage.folder, lock, sidecar=sidecar) as page:
            return [page.ask(path, method=method, **headers).text for _ in range(2)]

    return answers


def too_many_logins(stage: Stage) -> list[str]:
    with mock.patch("exporter.web_guard.Lock.admits", side_effect=BusyError):
        return answered("/metrics", lock=f"basic_auth_users: {{a: '{HASH}'}}")(stage)


def old_client(stage: Stage) -> list[str]:
    with door(stage.folder) as page, page.dial() as line:
        line.sendall(b"GET /metrics HTTP/9.9\r\nHost: x\r\n\r\n")
        return [b"".join(iter(lambda: line.recv(4096), b"")).decode()]


def two_sidecars(stage: Stage) -> list[str]:
    first, second = Sole(stage.folder), Sole(stage.folder)
    first.claim()
    second.claim()
    first.release()
    second.hold()
    second.release()
    return stage.logged


def unknown_curve(stage: Stage) -> list[str]:
    with mock.patch.dict("exporter.web_tls.CURVES", {"X25519": "no-such-curve"}):
        return tls_of_page("curve_preferences: [X25519]")(stage)


def nobody_to_show(stage: Stage) -> list[str]:
    return command("top", "--once", "--url", f"http://127.0.0.1:{free_port()}")(stage)


def shown_to(scheme: str, answer: bytes) -> Cause:
    """Ask something for a sidecar's page that answers in this way and hangs up."""

    def ask(stage: Stage) -> list[str]:
        with socket.create_server(("127.0.0.1", 0)) as listener, ThreadPoolExecutor(1) as thread:
            talking = thread.submit(_answer_once, listener, answer)
            said = command("top", "--once", "--url", f"{scheme}://127.0.0.1:{listener.getsockname()[1]}")(stage)
            talking.result()
        return said

    return ask


def _answer_once(listener: socket.socket, answer: bytes) -> None:
    accepted, _ = listener.accept()
    with accepted:
        accepted.recv(65536)
        accepted.sendall(answer)


def nonsense(stage: Stage) -> list[str]:
    with socket.create_server(("127.0.0.1", 0)) as listener, ThreadPoolExecutor(1) as thread:
        talking = thread.submit(_greet, listener, b"\x05\x00\x00\x00\x0aabcd")
        at = make_url(f"mysql+pymysql://probe@127.0.0.1:{listener.getsockname()[1]}/")
        Sampler(unreachable(url=at, dialect="mysql"), ids=no_ids).sample()
        talking.result()
    return stage.logged


def _greet(listener: socket.socket, words: bytes) -> None:
    accepted, _ = listener.accept()
    with accepted, contextlib.suppress(ConnectionError):  # who understands nothing hangs up rudely
        accepted.sendall(words)
        accepted.recv(1)


def played_elsewhere(stage: Stage) -> list[str]:
    leak = replace(SCENARIOS["leak"], servers=("postgresql",))
    with mock.patch("exporter.cli.SCENARIOS", {"leak": leak}):
        return command("demo", "--scenario", "leak", "--on", "mariadb")(stage)


def no_such_postgresql(name: str = "a", *, account: str = "", binaries: Path | None = None) -> Cause:
    """Start a PostgreSQL that cannot be; ``account`` is whom it would run as."""

    def begin(stage: Stage) -> list[str]:
        stage.folder.chmod(0o700)
        found = pwd.getpwnam(account) if account else None

        def start() -> None:
            with (
                mock.patch("exporter.demo.databases.server_account", return_value=found),
                postgresql(stage.folder / name, binaries=binaries),
            ):
                pass

        return call(start)(stage)

    return begin


def no_postgresql(stage: Stage) -> list[str]:
    with mock.patch("importlib.util.find_spec", return_value=None):
        return no_such_postgresql()(stage)


def let_nobody_in(stage: Stage) -> list[str]:
    at = make_url(f"mysql+pymysql://a@127.0.0.1:{free_port()}/")

    def begin() -> None:
        sleeping = Program(["sleep", "600"], stage.folder, stop=signal.SIGTERM, orphaned=signal.SIGKILL)
        with mock.patch("exporter.demo.databases.LOGIN_SECONDS", 0.1), serving(sleeping, at):
            pass

    return call(begin)(stage)


def no_port(stage: Stage) -> list[str]:
    with mock.patch("socket.socket.bind", side_effect=OSError):
        return call(free_port)(stage)


def no_account(stage: Stage) -> list[str]:
    with mock.patch("os.geteuid", return_value=0), mock.patch("pwd.getpwnam", side_effect=KeyError):
        return call(server_account)(stage)


def ended_part(stage: Stage) -> list[str]:
    def begin() -> None:
        with guarding(stage.folder / "unused") as guard, remembering() as interruption:
            started = Processes(stage.folder, guard, interruption)
            try:
                started.wait_for(started.start("ended", ["false"]), lambda: False)
            finally:
                started.stop()

    return call(begin)(stage)


LONG_HOST = "x" * 300
OF_POSTGRESQL = "postgresql://probe@db/"
