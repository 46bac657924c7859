"""`pool-exporter run`: whatever the program is like, and whatever fails of ours, it runs as it would without us."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from attaching import ENGINE, LAUNCHER, PROGRAM, environment, launch_code, write


def test_a_program_without_sqlalchemy(tmp_path: Path) -> None:
    """A program that does not use SQLAlchemy gets nothing loaded, and its path is as it was."""
    code = (
        "import sys; ours = {'sqlalchemy', 'exporter', 'prometheus_client', 'sitecustomize', 'logging'}\n"
        "print(sorted(ours & set(sys.modules)), [entry for entry in sys.path if 'bootstrap' in entry])\n"
    )
    assert launch_code(tmp_path, code) == (0, "[] []\n", "")


def test_a_program_without_engines(tmp_path: Path) -> None:
    """Importing SQLAlchemy alone imports nothing of ours, and leaves SQLAlchemy its own loader."""
    code = (
        "import importlib.util, sys; found = importlib.util.find_spec('sqlalchemy')\n"
        "import sqlalchemy\n"
        "print('exporter' in sys.modules, 'prometheus_client' in sys.modules)\n"
        "print(type(sqlalchemy.__loader__).__name__, type(sqlalchemy.__spec__.loader).__name__)\n"
        "print([finder for finder in sys.meta_path if type(finder).__module__ == 'sitecustomize'])\n"
        "print(found.loader.get_filename('sqlalchemy') == sqlalchemy.__file__)\n"
    )
    assert launch_code(tmp_path, code) == (0, "False False\nSourceFileLoader SourceFileLoader\n[]\nTrue\n", "")


def test_asking_whether_sqlalchemy_is_there(tmp_path: Path) -> None:
    """A program that looks for SQLAlchemy first, and imports it later, is watched all the same."""
    code = f"import importlib.util\nassert importlib.util.find_spec('sqlalchemy')\n{PROGRAM}"
    assert launch_code(tmp_path, code) == (0, "1\n", "")


def test_a_program_that_instruments_itself(tmp_path: Path) -> None:
    """What the program says of its own engines wins: name and registry, for one and for all."""
    code = (
        "import exporter, prometheus_client\n"
        f"{PROGRAM}exporter.instrument(engine, name='orders'); show('orders')\n"
        "registry = prometheus_client.CollectorRegistry(); exporter.instrument_all(registry=registry)\n"
        "REGISTRY = registry; create_engine('sqlite:///other.db').connect().close(); show('sqlite:///other.db')\n"
    )
    assert launch_code(tmp_path, code) == (0, "1\n1\n1\n", "")


def test_it_instruments_all_before_the_first_engine(tmp_path: Path) -> None:
    """A program that calls instrument_all before its first engine keeps its own registry."""
    code = (
        "import exporter, prometheus_client; registry = prometheus_client.CollectorRegistry()\n"
        f"exporter.instrument_all(registry=registry)\n{PROGRAM}REGISTRY = registry; show()\n"
    )
    assert launch_code(tmp_path, code) == (0, "None\n1\n", "")


def test_another_sitecustomize(tmp_path: Path) -> None:
    """The sitecustomize that was there before runs as ever, and is the one that the program finds."""
    write(tmp_path, "sitecustomize.py", "print('theirs')\nanswer = 42\n")
    assert launch_code(tmp_path, f"import sitecustomize; print(sitecustomize.answer)\n{PROGRAM}") == (
        0,
        "theirs\n42\n1\n",
        "",
    )


def test_another_sitecustomize_that_fails(tmp_path: Path) -> None:
    """Its errors are told as they are without us, and the program runs and is watched."""
    write(tmp_path, "sitecustomize.py", "raise ValueError('theirs')\n")
    bare = subprocess.run(
        [sys.executable, "-c", ""], env=environment(tmp_path), capture_output=True, text=True, check=True
    )
    assert "ValueError: theirs" in bare.stderr
    assert launch_code(tmp_path, PROGRAM) == (0, "1\n", bare.stderr)


def test_another_sitecustomize_that_imports_sqlalchemy(tmp_path: Path) -> None:
    """SQLAlchemy may be there before the program begins."""
    write(tmp_path, "sitecustomize.py", "import sqlalchemy\n")
    assert launch_code(tmp_path, PROGRAM) == (0, "1\n", "")


def test_a_program_that_lacks_us(tmp_path: Path) -> None:
    """Where exporter cannot be imported, the program runs unharmed, and one line says what to install."""
    code = f"import sys\nsys.modules['exporter'] = None\n{ENGINE}{ENGINE}print('done')\n"
    status, out, err = launch_code(tmp_path, code)
    assert (status, out) == (0, "done\n")
    assert err.count("\n") == 1
    assert "are not watched: install sqlalchemy-pool-exporter into the environment of the program" in err


def test_a_program_with_a_module_of_our_name(tmp_path: Path) -> None:
    """A module of the program's own called exporter is not imported by us, and one line says that it is in the way."""
    write(tmp_path, "exporter.py", "print('imported')\n")
    (tmp_path / "elsewhere").mkdir()
    script = write(tmp_path, "program.py", f"{ENGINE}print('first')\nimport exporter\n")
    launcher = tmp_path / "elsewhere"
    command = [*LAUNCHER, sys.executable, str(tmp_path / script)]
    done = subprocess.run(command, cwd=launcher, env=environment(launcher), capture_output=True, text=True, check=True)
    assert done.stdout == "first\nimported\n"
    assert f"a module of its own with the name exporter: {tmp_path}/exporter.py" in done.stderr


def test_our_half_that_fails(tmp_path: Path) -> None:
    """With our own half broken, the program gets its engines, and one line says that they are not watched."""
    status, out, err = launch_code(
        tmp_path, f"import exporter\ndel exporter.instrument_all\n{ENGINE}{ENGINE}print(1)\n"
    )
    assert (status, out) == (0, "1\n")
    assert err.count("are not watched: module 'exporter' has no attribute 'instrument_all'") == 1


def test_a_sqlalchemy_that_we_do_not_know(tmp_path: Path) -> None:
    """Where SQLAlchemy has no such hook, the program runs, and one line says that it is not watched."""
    (tmp_path / "sqlalchemy").mkdir()
    write(tmp_path / "sqlalchemy", "__init__.py", "answer = 42\n")
    status, out, err = launch_code(tmp_path, "import sqlalchemy; print(sqlalchemy.answer)\n")
    assert (status, out) == (0, "42\n")
    assert err.count("\n") == 1


def test_a_sqlalchemy_that_fails(tmp_path: Path) -> None:
    """An error of the import is the program's, as ever."""
    (tmp_path / "sqlalchemy").mkdir()
    write(tmp_path / "sqlalchemy", "__init__.py", "raise LookupError('theirs')\n")
    code = "try:\n    import sqlalchemy\nexcept LookupError as error:\n    print(error)\n"
    assert launch_code(tmp_path, code) == (0, "theirs\n", "")


def test_without_sqlalchemy_installed(tmp_path: Path) -> None:
    """A module that is not there is not there."""
    missing = "try:\n    import sqlalchemy\nexcept ModuleNotFoundError as error:\n    print(error)\n"
    code = f"import sys\nsys.path[:] = []\n{missing}"
    assert launch_code(tmp_path, code) == (0, "No module named 'sqlalchemy'\n", "")
