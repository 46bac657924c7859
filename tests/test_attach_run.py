"""`pool-exporter run -- COMMAND`: a program as it is, every engine of it and of its children watched."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from attaching import ENGINE, LAUNCHER, PROGRAM, SHOW, environment, launch, launch_code, write
from exporter.runner import BOOTSTRAP, asked, python_path, run
from waiting import eventually


def test_a_script(tmp_path: Path) -> None:
    """The engine of an unchanged script is watched from its first connection; nothing else is said."""
    assert launch_code(tmp_path, PROGRAM) == (0, "1\n", "")


def test_a_module(tmp_path: Path) -> None:
    """A module starts as well, with its arguments and its exit code."""
    write(tmp_path, "shop.py", f"{PROGRAM}import sys; sys.exit(sys.argv[1])\n")
    done = launch(tmp_path, sys.executable, "-m", "shop", "nothing left")
    assert (done.returncode, done.stdout, done.stderr) == (1, "1\n", "nothing left\n")


def test_it_takes_our_place(tmp_path: Path) -> None:
    """The program has our pid, hence every signal that is sent to us, and its end is ours."""
    code = "import os, signal; print(os.getpid(), flush=True); signal.pause()"
    command = [*LAUNCHER, sys.executable, "-c", code]
    with subprocess.Popen(command, env=environment(tmp_path), stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert int(process.stdout.readline()) == process.pid
        process.send_signal(signal.SIGTERM)
        assert process.wait(10) == -signal.SIGTERM


def test_a_shell_is_left_its_signals(tmp_path: Path) -> None:
    """What Python ignores is not ignored by the program: a pipe that ends still ends it."""
    assert launch(tmp_path, "sh", "-c", "kill -PIPE $$; echo alive").returncode == -signal.SIGPIPE


def test_forked_children(tmp_path: Path) -> None:
    """A child counts from zero on the engine of its parent, and engines of its own are watched too."""
    code = (
        f"{PROGRAM}import os, warnings\nwarnings.simplefilter('ignore', DeprecationWarning)\n"
        "if os.fork() == 0:\n"
        "    engine.dispose(close=False)\n"
        "    show()\n"
        "    other = create_engine('sqlite:///other.db')\n"
        "    other.connect().close()\n"
        "    show('sqlite:///other.db')\n"
        "    os._exit(0)\n"
        "os.wait()\nshow()\n"
    )
    assert launch_code(tmp_path, code) == (0, "1\n0\n1\n1\n", "")


def test_spawned_children(tmp_path: Path) -> None:
    """Children of multiprocessing and of subprocess are watched, whatever way they are started."""
    write(tmp_path, "work.py", f"{SHOW}def work():\n    {ENGINE.strip()}\n    show()\n".replace("\ne", "\n    e"))
    code = (
        "import multiprocessing, subprocess, sys\nfrom work import work\n"
        "if __name__ == '__main__':\n"
        "    for way in ('spawn', 'forkserver', 'fork'):\n"
        "        child = multiprocessing.get_context(way).Process(target=work)\n"
        "        child.start(); child.join()\n"
        "    subprocess.run([sys.executable, '-c', 'from work import work; work()'], check=True)\n"
    )
    assert launch_code(tmp_path, code) == (0, "1\n" * 4, "")


def test_every_process_publishes(tmp_path: Path) -> None:
    """With POOL_EXPORTER_DIR, parent and child each have a file of their own there while they live."""
    letters = tmp_path / "letters"
    letters.mkdir()
    code = (
        f"{ENGINE}import os, signal, time, warnings\nwarnings.simplefilter('ignore', DeprecationWarning)\n"
        "child = os.fork()\n"
        "if child == 0:\n"
        "    signal.pause()\n"
        f"files = lambda: [name for name in os.listdir({str(letters)!r}) if name.endswith('.json')]\n"
        "names = lambda: sorted(name.partition('.')[0] for name in files())\n"
        "while names() != sorted([str(os.getpid()), str(child)]):\n"
        "    time.sleep(0.02)\n"
        "os.kill(child, 9); os.wait()\n"
    )
    assert launch_code(tmp_path, code, POOL_EXPORTER_DIR=str(letters)) == (0, "", "")


def test_any_program(tmp_path: Path) -> None:
    """What is no Python program is started as it stands, with its arguments."""
    assert launch(tmp_path, "sh", "-c", "echo $0 $1", "a", "b  c").stdout == "a b c\n"


@pytest.fixture
def _signals() -> Iterator[None]:
    """Put back what `run` changes on its way into another program, which it does not reach here."""
    kept = {number: signal.getsignal(number) for number in (signal.SIGPIPE, signal.SIGXFSZ)}
    yield
    for number, handler in kept.items():
        signal.signal(number, handler)


@pytest.mark.usefixtures("_signals")
def test_what_cannot_be_started(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A command that is not there, or is no program, is a sentence and exit code 2."""
    assert run(["no-such-program"]) == 2
    assert capsys.readouterr().err == "pool-exporter: cannot run no-such-program: No such file or directory\n"
    script = tmp_path / write(tmp_path, "shop.py", "")
    assert run([str(script)]) == 2
    assert capsys.readouterr().err == (
        f"pool-exporter: cannot run {script}: Permission denied; "
        f"a Python file is started as: pool-exporter run -- python {script}\n"
    )
    assert launch(tmp_path, "no-such-program").returncode == 2


def test_launched_within(tmp_path: Path) -> None:
    """A launched program that launches another puts nothing on the path twice."""
    code = "from exporter.runner import run\nrun(['sh', '-c', 'echo $PYTHONPATH'])\n"
    _, out, _ = launch_code(tmp_path, code)
    assert out.count("bootstrap") == 1


@pytest.mark.parametrize(
    ("before", "after"),
    [("", BOOTSTRAP), ("a:b", f"{BOOTSTRAP}:a:b"), (f"a:{BOOTSTRAP}:b", f"{BOOTSTRAP}:a:b"), (":a", f"{BOOTSTRAP}::a")],
)
def test_python_path(before: str, after: str) -> None:
    """Our folder stands in front, once; all else stays, an empty entry (the current folder) included."""
    assert python_path(before) == after


@pytest.mark.parametrize(
    ("arguments", "command"),
    [
        (["run", "--", "gunicorn", "-w", "2", "app:app"], ["gunicorn", "-w", "2", "app:app"]),
        (["run", "python", "-m", "shop"], ["python", "-m", "shop"]),
        (["run", "--", "sh", "--", "-c"], ["sh", "--", "-c"]),
        (["run"], None),
        (["run", "--"], None),
        (["run", "--help"], None),
        (["serve", "--config", "run"], None),
        ([], None),
    ],
)
def test_what_is_asked(arguments: list[str], command: list[str] | None) -> None:
    """The command behind `run` is found without the libraries of the command line; all else is left to those."""
    assert asked(arguments) == command


@pytest.mark.parametrize("more", [[], ["--preload"]])
def test_under_gunicorn(tmp_path: Path, more: list[str]) -> None:
    """Each worker of gunicorn is watched, whether the application is loaded before the workers are forked or after."""
    pytest.importorskip("gunicorn")
    letters = tmp_path / "letters"
    letters.mkdir()
    write(
        tmp_path, "app.py", f"import sqlalchemy.exc\n{ENGINE}def app(environ, start_response):\n    raise SystemExit\n"
    )
    command = [*LAUNCHER, sys.executable, "-m", "gunicorn", "app:app", "--workers=2", f"--bind=unix:{tmp_path}/socket"]
    surroundings = environment(tmp_path, POOL_EXPORTER_DIR=str(letters))
    with subprocess.Popen([*command, *more], cwd=tmp_path, env=surroundings, stderr=subprocess.PIPE) as process:
        try:
            wanted = 3 if more else 2  # with --preload the first process has an engine too
            files = eventually(lambda: found if len(found := list(letters.glob("*.json"))) == wanted else [], within=30)
            assert all('"sqlite:///shop.db"' in file.read_text() for file in files)
        finally:
            process.terminate()
        assert process.wait(30) == 0
