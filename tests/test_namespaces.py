"""Two containers and one directory: each has its own pid 1 and, if it comes to that, the same name."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from exporter.demo.programs import process_tree
from namespaces import in_own_processes
from pages import Page, scraped
from waiting import eventually
from workers import sidecar_on

pytestmark = pytest.mark.root

PROGRAM = """
import os, sys
from sqlalchemy import create_engine
from sqlalchemy.pool import QueuePool
import exporter

assert os.getpid() == 1
engine = create_engine("sqlite:///shop.db", poolclass=QueuePool)
exporter.instrument(engine, name="orders")
for line in sys.stdin:
    engine.connect().close()
    print("used", flush=True)
"""


@contextlib.contextmanager
def container(folder: Path) -> Iterator[subprocess.Popen[str]]:
    """Run a program as pid 1 of a namespace of its own, in a host name of its own, which all containers share here."""
    with subprocess.Popen(
        in_own_processes(sys.executable, "-c", PROGRAM),
        cwd=folder,
        env={**os.environ, "POOL_EXPORTER_DIR": str(folder / "box")},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def use(container: subprocess.Popen[str], times: int) -> None:
    """Have the program in a container take a connection so many times."""
    assert container.stdin is not None
    assert container.stdout is not None
    for _ in range(times):
        container.stdin.write("\n")
        container.stdin.flush()
        assert container.stdout.readline() == "used\n"


def test_two_containers_with_the_same_name_and_pid(tmp_path: Path) -> None:
    """Both live, their counts add up, and of the two that are pid 1 of `twin` it is the killed one that is dead."""
    (tmp_path / "box").mkdir()
    page = Page("orders")
    with sidecar_on(tmp_path / "box") as sidecar:
        page.registry = sidecar.registry
        with scraped(page, every=0.05), container(tmp_path) as first, container(tmp_path) as second:
            use(first, 3)
            use(second, 4)
            assert eventually(lambda: page.find("checkouts_total") == 7)
            assert page.find("processes", state="live") == 2
            assert page.connections() == (2, 0)
            names = {(report.snapshot.host, report.snapshot.pid) for report in sidecar.overview().processes}
            assert names == {("twin", 1)}
            os.kill(process_tree(first.pid)[-1], signal.SIGKILL)
            first.wait(10)
            assert eventually(lambda: page.find("processes", state="live") == 1)
            assert page.connections() == (1, 0)
            assert page.find("checkouts_total") == 7
            with container(tmp_path) as third:
                use(third, 2)
                use(second, 1)
                assert eventually(lambda: page.find("checkouts_total") == 10)
                assert page.find("processes", state="live") == 2
        assert eventually(lambda: page.find("processes", state="live") == 0)
        assert page.find("checkouts_total") == 10
