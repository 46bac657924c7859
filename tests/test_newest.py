"""The newest server of each family is there to be tested on, and where it is not, that is said."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from samplers import sampled, sampling
from sites import Site, counts

TESTS = Path(__file__).parent


@pytest.mark.servers
def test_newest(newest_site: Site) -> None:
    """The sampler looks at the newest servers as it does at all others."""
    account = newest_site.new_account()
    with newest_site.pool(account, 2), sampling(newest_site.server()) as sampler:
        snapshot = sampled(sampler)
    assert counts(snapshot, account) == {("orders", newest_site.client, "sleeping"): 2}
    oldest = {"mysql_site": 9, "mariadb_newest_site": 11, "postgresql_newest_site": 18}[newest_site.name]
    found = re.match(r"\d+", snapshot.version)
    assert found
    assert int(found[0]) >= oldest


def test_said_loudly_when_not_run(tmp_path: Path) -> None:
    """Tests on a server that this machine cannot have are skipped, and counted at the end with what to do."""
    names = ("mysql_site", "mariadb_newest_site")
    chosen = [f"{__file__}::test_newest[{name}]" for name in names]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *chosen],
        cwd=TESTS.parent,
        env={**os.environ, "POOL_EXPORTER_NEWEST": str(tmp_path)},
        check=False,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout
    assert "2 skipped" in done.stdout
    assert "! NOT RUN !" in done.stdout
    for name in ("mysql", "mariadb"):
        assert re.search(f"1 tests for want of the newest {name}: ", done.stdout)


@dataclass(frozen=True)
class Machine:
    """A Debian whose tools are ours, for ``scripts/newest-servers`` to run on."""

    folder: Path

    @property
    def cache(self) -> Path:
        """Name the folder that is to hold the servers."""
        return self.folder / "cache"

    @property
    def asked(self) -> list[str]:
        """Return the arguments of each run of debootstrap."""
        log = self.folder / "asked"
        return log.read_text().splitlines() if log.exists() else []

    def tool(self, name: str, body: str) -> None:
        """Put a program of ours before that of the machine."""
        path = self.folder / name
        path.write_text(f"#!/bin/sh\n{body}\n")
        path.chmod(0o755)

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run the script."""
        path = f"{self.folder}{os.pathsep}{os.environ['PATH']}"
        return subprocess.run(
            ["sh", TESTS.parent / "scripts" / "newest-servers", *arguments],
            env={**os.environ, "PATH": path, "POOL_EXPORTER_NEWEST": str(self.cache)},
            check=False,
            capture_output=True,
            text=True,
        )


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    """A machine with a mirror, where unpacking works."""
    if not Path("/etc/debian_version").exists():
        pytest.skip("the script runs on Debian only")
    made = Machine(tmp_path)
    made.tool("id", "echo 0")
    made.tool("apt-get", "echo mirror.example/security Debian-Security; echo mirror.example/debian/ Debian")
    made.tool("apt-config", "echo \"http_proxy='proxy.example:3128'\"")
    made.tool("debootstrap", f'echo "$*" "$http_proxy" >> {tmp_path}/asked; mkdir -p "$4/var/cache/apt"')
    return made


def test_unpacked_once(machine: Machine) -> None:
    """All comes from the machine's own mirror, through its proxy, once; anew only when that is asked for."""
    folders = [f"{machine.cache}/mysql", f"{machine.cache}/mariadb"]
    for arguments, runs in (((), 2), ((), 2), (("--again",), 4)):
        done = machine.run(*arguments)
        assert (done.returncode, done.stdout.splitlines()) == (0, folders)
        assert len(machine.asked) == runs
    assert all(line.endswith("mirror.example/debian/ proxy.example:3128") for line in machine.asked)
    assert [" sid " in line for line in machine.asked] == [True] * 4


def test_unpacking_fails(machine: Machine) -> None:
    """Each is tried twice; then the script says what is not made and why, and leaves nothing half made."""
    works = (machine.folder / "debootstrap").read_text()
    machine.tool("debootstrap", f'echo "$*" >> {machine.folder}/asked; mkdir -p "$4"; echo "no such suite"; exit 1')
    done = machine.run()
    assert (done.returncode, done.stdout) == (1, "")
    assert len(machine.asked) == 4
    assert " trixie " in machine.asked[-1]
    assert "no such suite" in done.stderr
    for name in ("mysql", "mariadb"):
        assert f"NOT MADE: {machine.cache}/{name}, in 2 tries" in done.stderr
        assert not list(machine.cache.glob(f"{name}*[!g]"))
    (machine.folder / "debootstrap").write_text(works)
    assert machine.run().returncode == 0


def test_no_mirror(machine: Machine) -> None:
    """A machine whose apt knows no mirror of Debian is told so."""
    machine.tool("apt-get", "echo packages.example/other Other")
    done = machine.run()
    assert done.returncode == 1
    assert "NOT MADE: apt names no mirror of Debian" in done.stderr


def test_not_root(machine: Machine) -> None:
    """Without root nothing is tried."""
    machine.tool("id", "echo 1000")
    done = machine.run()
    assert done.returncode == 1
    assert "NOT MADE: the newest servers need Debian and root" in done.stderr
    assert machine.asked == []


def test_unknown_argument(machine: Machine) -> None:
    """An argument that the script does not know is refused, with what there is."""
    done = machine.run("--agian")
    assert done.returncode == 2
    assert "unknown argument --agian; there is only --again" in done.stderr
