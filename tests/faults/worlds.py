"""A world of its own for the programs of a stage: its directory on a small disk, and its own list of hosts."""

from __future__ import annotations

import contextlib
import errno
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from io import FileIO
from pathlib import Path

from namespaces import shared_mounts
from stages import Place

NAME = "database.test"
_MOUNTS = """
mount -t tmpfs -o size=512k none "$1"
mount --bind "$2" /etc/hosts
mount --bind "$3" /etc/resolv.conf
"""


@dataclass(frozen=True)
class World:
    """What a command begins with to be in it, where the root of its files lies for us, and its list of hosts."""

    prefix: Sequence[str]
    root: Path
    hosts: Path

    @property
    def place(self) -> Place:
        """Return it as a stage takes it."""
        return Place(lambda _role: self.prefix, NAME, self.root)

    @contextlib.contextmanager
    def no_names(self) -> Iterator[None]:
        """Let no name lead anywhere."""
        known = self.hosts.read_text()
        self.hosts.write_text("")
        yield
        self.hosts.write_text(known)


@contextlib.contextmanager
def own_world(folder: Path) -> Iterator[World]:
    """Make a world whose folder ``box`` is a disk of 512 KB, and that knows one name."""
    hosts, resolver, box = folder / "hosts", folder / "resolv.conf", folder / "box"
    hosts.write_text(f"127.0.0.1 localhost {NAME}\n")
    resolver.write_text("nameserver 127.0.0.1\noptions timeout:1 attempts:1\n")
    box.mkdir()
    with shared_mounts(_MOUNTS, str(box), str(hosts), str(resolver)) as (prefix, root):
        yield World(prefix, root, hosts)


@contextlib.contextmanager
def full(box: Path) -> Iterator[None]:
    """Fill the disk that ``box`` is on to its last byte."""
    ballast = box / "ballast"
    with ballast.open("ab", buffering=0) as file:
        for size in (65536, 4096, 1):
            _fill(file, size)
    yield
    ballast.unlink()


def _fill(file: FileIO, size: int) -> None:
    try:
        while True:
            file.write(b"x" * size)
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
