"""The command line: what each command prints, where, and with which exit code."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from config_files import PLANTED, SERVER, write
from exporter.cli import cli
from exporter.version import VERSION

COMMANDS = ("serve", "check-config", "doctor", "demo")
EXAMPLE = Path(__file__).parent.parent / "config.example.yaml"


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(cli, [str(argument) for argument in arguments], prog_name="pool-exporter")


def run_without(library: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    code = f"import sys; sys.modules[{library!r}] = None; from exporter.__main__ import main; main()"
    return subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=False)


def test_version() -> None:
    """The command and the module print one line with the version."""
    done = subprocess.run([sys.executable, "-m", "exporter", "--version"], capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == (f"pool-exporter {VERSION}\n", "")


def test_help_names_every_command() -> None:
    """The first help that a user asks for lists the commands and the exit codes."""
    result = run("--help")
    assert result.exit_code == 0
    assert all(command in result.stdout for command in COMMANDS)
    assert "Exit codes: 0 good, 1 the answer is bad news, 2 used wrongly or cannot run." in result.stdout


@pytest.mark.parametrize("command", COMMANDS)
def test_help_of_a_command_shows_an_example(command: str) -> None:
    """Each command's help holds a line that can be copied."""
    assert f"Example: pool-exporter {command}" in run(command, "-h").stdout


def test_check_config_of_a_good_file() -> None:
    """A good configuration is summed up in one line."""
    result = run("check-config", EXAMPLE)
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout == (
        f"{EXAMPLE}: good; listens on 127.0.0.1:10306; processes in /run/pool-exporter; "
        "servers: orders (mysql), billing (postgresql)\n"
    )


def test_check_config_brackets_an_ipv6_address(tmp_path: Path) -> None:
    """What is printed as an address can be written as one, and what is not configured is said."""
    path = write(tmp_path, "web: {listen: '[::]:0'}\n" + SERVER)
    assert run("check-config", path).stdout == (
        f"{path}: good; listens on [::]:0; processes in no directory; servers: orders (mysql)\n"
    )
    assert run("check-config", write(tmp_path, "processes: {directory: /run}")).stdout == (
        f"{path}: good; listens on 127.0.0.1:10306; processes in /run; servers: none\n"
    )


def test_check_config_lists_every_fault(tmp_path: Path) -> None:
    """A bad configuration gives one line for each fault, as editors understand it, and exit code 1."""
    path = write(tmp_path, SERVER + f"password: {PLANTED}\n    intervall: 15s\nleak_after: 60")
    result = run("check-config", path)
    assert (result.exit_code, result.stderr) == (1, "")
    assert result.stdout.splitlines() == [
        f"{path}:4:15: servers.orders.password: must not be written out here; write !env NAME or !file PATH",
        f"{path}:5:5: servers.orders.intervall: unknown key; did you mean interval?",
        f"{path}:6:13: leak_after: '60' is no duration; write a number and its unit: 500ms, 15s, 5m or 1h",
    ]


@pytest.mark.parametrize("command", [["check-config"], ["serve", "--config"]])
@pytest.mark.parametrize(("name", "reason"), [("absent.yaml", "No such file or directory"), (".", "Is a directory")])
def test_file_that_cannot_be_read(tmp_path: Path, command: list[str], name: str, reason: str) -> None:
    """A file that cannot be read is not bad news but a wrong use: exit code 2, and the reason."""
    result = run(*command, tmp_path / name)
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr == f"pool-exporter: cannot read {tmp_path / name}: {reason}\n"


def test_serve_with_faults_starts_nothing(tmp_path: Path) -> None:
    """With a bad configuration, serve prints its faults, makes nothing and ends with 2."""
    path = write(tmp_path, "leak_after: 60\nprocesses: {directory: run}")
    result = run("serve", "--config", path)
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr.splitlines() == [
        f"{path}:1:13: leak_after: '60' is no duration; write a number and its unit: 500ms, 15s, 5m or 1h",
        "pool-exporter: nothing was started",
    ]
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("arguments", [[], ["serve"], ["check-config"], ["check"], ["demo", "now"], ["--verbose"]])
def test_wrong_use(arguments: list[str]) -> None:
    """Whatever is used wrongly ends with 2 and shows how it is used."""
    result = run(*arguments)
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr.startswith("Usage: pool-exporter ")


def test_demo_refuses_a_bad_duration() -> None:
    """The demo is not started for a time that nobody can tell."""
    result = run("demo", "--for", "30")
    assert result.exit_code == 2
    assert "'30' is no duration; write a number and its unit: 500ms, 15s, 5m or 1h" in result.stderr


@pytest.mark.parametrize("library", ["click", "pydantic", "uvicorn"])
def test_missing_extra_sidecar(library: str) -> None:
    """Without a library of the sidecar, the command says what to install and ends with 2."""
    done = run_without(library, "--version")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == (
        f"pool-exporter: the library {library} is not installed; run: pip install 'sqlalchemy-pool-exporter[sidecar]'\n"
    )


def test_missing_extra_demo() -> None:
    """Without a library of the demo, only the demo cannot run, and says what to install."""
    assert run_without("rich", "--version").returncode == 0
    done = run_without("rich", "demo")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == (
        "pool-exporter: the library rich is not installed; run: pip install 'sqlalchemy-pool-exporter[demo]'\n"
    )


def test_missing_module_of_ours_is_not_explained_away() -> None:
    """An installation that is broken shows its traceback: no extra would mend it."""
    done = run_without("exporter.config", "--version")
    assert done.returncode == 1
    assert "ModuleNotFoundError: import of exporter.config halted" in done.stderr
