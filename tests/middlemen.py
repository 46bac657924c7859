"""Real proxies between an application and its server: haproxy passes connections on, pgbouncer pools them itself."""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import socket
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from exporter.demo.databases import free_port
from sites import PASSWORD, Site
from waiting import eventually

HAPROXY = """\
defaults
    mode tcp
    timeout connect 5s
    timeout client 1h
    timeout server 1h
listen database
    bind 127.0.0.1:{port}
    balance roundrobin
{servers}
"""
PGBOUNCER = """\
[databases]
orders = host=127.0.0.1 port={server}
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {port}
unix_socket_dir =
auth_type = plain
auth_file = {folder}/users.txt
pool_mode = {mode}
default_pool_size = 5
logfile = {folder}/log
"""


@contextlib.contextmanager
def haproxy(folder: Path, *sites: Site) -> Iterator[int]:
    """Pass connections on to servers in turn; gives the port."""
    port, config = free_port(), folder / "haproxy.cfg"
    servers = [f"    server s{at} 127.0.0.1:{site.database.url.port}" for at, site in enumerate(sites)]
    config.write_text(HAPROXY.format(port=port, servers="\n".join(servers)))
    with _running([_binary("haproxy"), "-db", "-f", str(config)], port):
        yield port


@contextlib.contextmanager
def pgbouncer(folder: Path, site: Site, account: str, *, mode: str) -> Iterator[int]:
    """Pool the connections of an account; gives the port."""
    port, config = free_port(), folder / "pgbouncer.ini"
    config.write_text(PGBOUNCER.format(port=port, server=site.database.url.port, folder=folder, mode=mode))
    (folder / "users.txt").write_text(f'"{account}" "{PASSWORD}"\n')
    command = [_binary("pgbouncer"), "-q", str(config)]
    if os.geteuid() == 0:  # it refuses to be root
        command[1:1] = ["-u", "nobody"]
        user = pwd.getpwnam("nobody")
        for path in (folder, *folder.iterdir()):
            os.chown(path, user.pw_uid, user.pw_gid)
        _opened(folder)
    with _running(command, port):
        yield port


def _opened(folder: Path) -> None:
    """Let others pass the folders of a test, which only their owner may enter."""
    for parent in folder.parents:
        if parent.owner() == folder.parents[0].owner() and parent.name.startswith(("pytest-", "popen-")):
            parent.chmod(0o711)


@contextlib.contextmanager
def _running(command: Sequence[str], port: int) -> Iterator[None]:
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as process:
        try:
            eventually(lambda: process.poll() is None and _answers(port))
            yield
        finally:
            process.terminate()


def _answers(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _binary(name: str) -> str:
    found = shutil.which(name) or shutil.which(name, path="/usr/sbin")
    if found is None:
        pytest.fail(f"no {name} on this machine: install Debian's {name}, or pass --without-servers")
    return found
