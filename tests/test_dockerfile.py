"""The image: what the Dockerfile says, and what of it runs without a container."""

from __future__ import annotations

import http.server
import json
import re
import shutil
import socket
import subprocess
import sys
import threading
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from certificates import make_certificates
from exporter.sidecar import REVISION_VARIABLE
from test_serve import running
from waiting import eventually

ROOT = Path(__file__).parents[1]
PORT = "10306"


def _instructions() -> list[tuple[str, str]]:
    """Read the Dockerfile: instruction and the rest, comments left out and continued lines joined."""
    lines = (ROOT / "Dockerfile").read_text(encoding="utf-8").splitlines()
    text = "\n".join(line for line in lines if not line.startswith("#")).replace("\\\n", "")
    return [(word, rest.strip()) for word, _, rest in (line.partition(" ") for line in text.splitlines() if line)]


def _stages() -> list[list[tuple[str, str]]]:
    stages: list[list[tuple[str, str]]] = []
    for instruction in _instructions():
        if instruction[0] == "FROM":
            stages.append([])
        stages[-1].append(instruction)
    return stages


def _only(stage: list[tuple[str, str]], word: str) -> str:
    (rest,) = [rest for name, rest in stage if name == word]
    return rest


def _copied() -> list[str]:
    """Return what is copied from the repository."""
    copies = [rest for name, rest in _instructions() if name == "COPY" and not rest.startswith("--from")]
    return [source for rest in copies for source in rest.split()[:-1]]


def test_two_stages_on_one_named_base() -> None:
    """What builds stays behind, and both stages have the same Python, never whatever is the latest."""
    build, final = [stage[0][1] for stage in _stages()]
    assert build.removesuffix(" AS build") == final
    assert re.fullmatch(r"python:3\.\d+-slim-\w+", final)
    assert [rest for name, rest in _stages()[1] if name == "COPY"] == [
        "--from=build /opt/pool-exporter /opt/pool-exporter"
    ]
    assert not [rest for name, rest in _stages()[1] if name == "RUN"]


def test_it_runs_as_a_numbered_user_with_one_port() -> None:
    """Not root, by number, for runAsNonRoot; and one port."""
    final = _stages()[1]
    assert re.fullmatch(r"[1-9]\d*:[1-9]\d*", _only(final, "USER"))
    assert _only(final, "EXPOSE") == PORT


def test_the_revision_that_is_built_reaches_the_page() -> None:
    """The build argument is in the environment under the name that the sidecar reads."""
    assert f"{REVISION_VARIABLE}=$REVISION" in _only(_stages()[1], "ENV").split()
    assert _only(_stages()[1], "ARG").startswith("REVISION=")


def test_it_starts_the_sidecar_and_takes_other_commands() -> None:
    """Without arguments it serves; `check-config FILE` instead works as well."""
    final = _stages()[1]
    assert json.loads(_only(final, "ENTRYPOINT")) == ["pool-exporter"]
    assert json.loads(_only(final, "CMD")) == ["serve", "--config", "/etc/pool-exporter/config.yaml"]


def test_packages_come_from_the_lock_with_their_hashes() -> None:
    """Nothing is installed that the lock does not name, and the build tools are taken out again."""
    runs = " && ".join(rest for name, rest in _instructions() if name == "RUN")
    installs = re.findall(r"pip (?:install|wheel) ([^&]*)", runs)
    assert all("--require-hashes" in install or "--no-deps" in install for install in installs)
    removed = {name for names in re.findall(r"pip uninstall --quiet --yes ([^&]*)", runs) for name in names.split()}
    lock = (ROOT / "requirements" / "sidecar.txt").read_text(encoding="utf-8")
    locked = set(re.findall(r"^([a-z0-9-]+)==", lock, re.MULTILINE))
    assert removed - {"pip"} <= locked
    assert {"hatchling", "pip"} <= removed


def test_everything_that_is_copied_exists_and_is_let_through() -> None:
    """The build context holds what the Dockerfile wants, and nothing else."""
    let_through = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    assert "*" in let_through
    assert {line[1:] for line in let_through if line.startswith("!")} - {"requirements"} == set(_copied())
    assert [source for source in _copied() if not (ROOT / source).exists()] == []


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Iterator[zipfile.ZipFile]:
    """Build the wheel as the first stage does, out of nothing but what it copies."""
    context = tmp_path_factory.mktemp("context")
    for source in _copied():
        target = context / source
        target.parent.mkdir(parents=True, exist_ok=True)
        if (ROOT / source).is_dir():
            shutil.copytree(ROOT / source, target, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(ROOT / source, target)
    # What `pip wheel --no-build-isolation` calls. An environment that uv made has no pip.
    build = ("-m", "hatchling", "build", "--target", "wheel", "--directory", "dist")
    subprocess.run((sys.executable, *build), cwd=context, check=True, capture_output=True, timeout=100)
    (file,) = (context / "dist").iterdir()
    with zipfile.ZipFile(file) as archive:
        yield archive


def test_the_wheel_holds_the_package_and_nothing_else(wheel: zipfile.ZipFile) -> None:
    """Every module, the mark of a typed package and the licence are in; tests and dashboards are not."""
    names = set(wheel.namelist())
    modules = {str(path.relative_to(ROOT)) for path in (ROOT / "exporter").rglob("*.py")}
    assert modules <= names
    assert "exporter/py.typed" in names
    assert any(name.endswith(".dist-info/licenses/LICENSE") for name in names)
    assert {name.split("/")[0] for name in names if ".dist-info/" not in name} == {"exporter"}


def test_the_wheel_brings_the_command(wheel: zipfile.ZipFile) -> None:
    """The entrypoint of the image is a script of the wheel."""
    (scripts,) = [name for name in wheel.namelist() if name.endswith("entry_points.txt")]
    assert "pool-exporter = exporter.__main__:main" in wheel.read(scripts).decode()


@contextmanager
def _answering(status: int) -> Iterator[tuple[str, list[str]]]:
    """Answer every request with a status; give the port and the list of the paths asked for."""
    asked: list[str] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_response(status)
            self.end_headers()

        log_message: Callable[..., None] = lambda *_: None

    with http.server.HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield str(server.server_port), asked
        finally:
            server.shutdown()
            thread.join()


def _check_health(port: str) -> int:
    check = _only(_stages()[1], "HEALTHCHECK")
    python, *arguments = json.loads(check[check.index("[") :])
    assert python == "python"
    command = [argument.replace(f":{PORT}'", f":{port}'") for argument in arguments]
    # A proxy that the environment names must not be asked about our own health.
    environment = {"http_proxy": "http://127.0.0.1:1", "PATH": ""}
    return subprocess.run(
        (sys.executable, *command), check=False, stderr=subprocess.DEVNULL, env=environment, timeout=30
    ).returncode


@pytest.mark.parametrize(("status", "healthy"), [(200, True), (503, False)])
def test_the_health_check_says_what_the_page_says(status: int, healthy: bool) -> None:  # noqa: FBT001  a parameter of the table above
    """The image's own check asks /-/healthy and fails with it."""
    with _answering(status) as (port, asked):
        assert (_check_health(port) == 0) is healthy
    assert asked == ["/-/healthy"]


def test_the_health_check_fails_when_nobody_answers() -> None:
    """A sidecar that is gone is not healthy."""
    with _answering(200) as (port, _):
        pass
    assert _check_health(port) != 0


@pytest.mark.parametrize("clients", ["", ", client_ca_file: ca.pem, client_auth_type: RequireAndVerifyClientCert"])
def test_the_health_check_speaks_tls(tmp_path: Path, clients: str) -> None:
    """A page with TLS, of its clients too, is healthy while it shakes hands, and is not once it is gone."""
    make_certificates(tmp_path)
    (tmp_path / "web.yml").write_text(f"tls_server_config: {{cert_file: server.pem, key_file: server.key{clients}}}\n")
    with running(tmp_path, web="config_file: web.yml") as command:
        serving = eventually(lambda: re.search(r"serving on https://.*:(\d+)/", command.log.read_text()), within=60)
        assert serving is not None
        assert _check_health(serving[1]) == 0
    assert _check_health(serving[1]) != 0


def test_the_health_check_fails_when_what_listens_has_no_tls() -> None:
    """Who hangs up on HTTP and does not shake hands is not healthy."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def hang_up(on: socket.socket = listener) -> None:
            for _ in range(2):
                on.accept()[0].close()

        thread = threading.Thread(target=hang_up)
        thread.start()
        assert _check_health(str(listener.getsockname()[1])) != 0
        thread.join()
