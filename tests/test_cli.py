"""The command line: what each command prints, where, and with which exit code."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from config_files import PLANTED, SERVER, write
from exporter.cli import cli
from exporter.version import VERSION

COMMANDS = ("serve", "check-config", "doctor", "top", "demo")
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


def test_check_config_checks_the_web_configuration(tmp_path: Path) -> None:
    """Faults of the file that web.config_file names are listed with that file's name, after the configuration's own."""
    web = tmp_path / "web.yml"
    web.write_text(f"basic_auth_users:\n  prometheus: {PLANTED}\ncolour: red\n")
    path = write(tmp_path, f"web: {{config_file: web.yml}}\n{SERVER}password: {PLANTED}\n")
    for command in (("check-config", path), ("doctor", "--config", path), ("serve", "--config", path)):
        result = run(*command)
        assert result.exit_code == (1 if command[0] == "check-config" else 2)
        assert PLANTED not in result.output
        said = [
            result.output.find(each) for each in (f"{path}", f"{web}", "basic_auth_users.prometheus", "colour: unk")
        ]
        assert said == sorted(said)
        assert said[0] >= 0
    found = run("check-config", path).stdout.splitlines()
    assert [line.partition(": ")[0] for line in found] == [f"{path}:5:15", f"{web}:2:15", f"{web}:3:1"]


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
    assert result.stderr == f"pool-exporter: cannot read {tmp_path / name}: {reason}; name a file that it may read\n"


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


@pytest.mark.parametrize("library", ["click", "pydantic", "rich", "uvicorn"])
def test_missing_extra_sidecar(library: str) -> None:
    """Without a library of the sidecar, the command says what to install and ends with 2."""
    done = run_without(library, "--version")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == (
        f"pool-exporter: the library {library} is not installed; run: pip install 'sqlalchemy-pool-exporter[sidecar]'\n"
    )


def test_missing_extra_demo() -> None:
    """Without a library of the demo, only the demo cannot run, and says what to install."""
    assert run_without("fastapi", "--version").returncode == 0
    done = run_without("fastapi", "demo")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == (
        "pool-exporter: the library fastapi is not installed; run: pip install 'sqlalchemy-pool-exporter[demo]'\n"
    )


def test_missing_module_of_ours_is_not_explained_away() -> None:
    """An installation that is broken shows its traceback: no extra would mend it."""
    done = run_without("exporter.config", "--version")
    assert done.returncode == 1
    assert "ModuleNotFoundError: import of exporter.config halted" in done.stderr


def apart(*arguments: str | Path, stdout: int) -> subprocess.CompletedProcess[str]:
    """Run the command as a process of its own, its output into what cannot take it."""
    command = [sys.executable, "-m", "exporter", *map(str, arguments)]
    return subprocess.run(command, stdout=stdout, stderr=subprocess.PIPE, text=True, check=False, timeout=100)


def without_log(said: str) -> str:
    """Leave out that the server is down, which is logged."""
    return "".join(line for line in said.splitlines(keepends=True) if "orders is down" not in line)


def test_nobody_reads_the_answer(tmp_path: Path) -> None:
    """Behind `| true` each command ends with the code of its answer and says nothing; on a full disk it says so."""
    good, bad = tmp_path / "good.yaml", tmp_path / "bad.yaml"
    good.write_text(f"processes: {{directory: {tmp_path}}}\n")
    bad.write_text("colour: red\n")
    with socket.create_server(("127.0.0.1", 0)) as listener:
        free = listener.getsockname()[1]
    lost = tmp_path / "lost.yaml"
    lost.write_text(f"servers: {{orders: {{url: 'mysql://probe@127.0.0.1:{free}/', timeout: 500ms}}}}\n")
    cases: dict[tuple[str | Path, ...], int] = {
        ("check-config", good): 0,
        ("check-config", bad): 1,
        ("doctor", "--config", good, "--wait", "1ms"): 2,
        ("demo", "--list"): 0,
        ("--version",): 0,
        ("top", "--help"): 0,
        ("top", "--config", lost, "--json"): 1,
        ("top", "--config", lost, "--once"): 1,
    }
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "wb"), open("/dev/full", "wb") as full:  # noqa: PTH123  a device
        for arguments, code in cases.items():
            done = apart(*arguments, stdout=writer)
            assert (done.returncode, without_log(done.stderr)) == (code, ""), arguments
            done = apart(*arguments, stdout=full.fileno())
            assert (done.returncode, without_log(done.stderr)) == (
                2,
                "pool-exporter: cannot write the answer: No space left on device; write it elsewhere\n",
            ), arguments


def test_an_interrupted_look(tmp_path: Path) -> None:
    """Ctrl-C ends the doctor as a shell says it, without a word."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        path = write(tmp_path, f"servers: {{a: {{url: 'mysql://probe@127.0.0.1:{silent.getsockname()[1]}/'}}}}\n")
        # Whatever runs in the background of a script has Ctrl-C ignored, this test's run perhaps too.
        command = ["env", "--default-signal=INT", sys.executable, "-m", "exporter", "doctor", "--config", str(path)]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        with silent.accept()[0]:
            process.send_signal(signal.SIGINT)
            out, said = process.communicate(timeout=100)
    assert (process.returncode, out, said.strip()) == (130, "", "")


def test_doctor_knows_the_families_of_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What serve and check-config take, the doctor takes: a family that a distribution brings along."""
    monkeypatch.setattr("exporter.servers.offers", lambda: {"ledger": lambda: None})
    path = write(tmp_path, "servers: {books: {url: 'ledger:///x'}}")
    assert run("check-config", path).exit_code == 0
    assert "is not supported" not in run("doctor", "--config", path).output
