"""Unix sockets: servers asked without a network, by accounts with a password and by those of the operating system."""

from __future__ import annotations

import os
import pwd
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy.engine import URL

from config_files import write
from exporter.config import ServerConfig, load
from exporter.sampler import Sampler
from exporter.tls import Tls
from samplers import sampled, sampling
from sites import PASSWORD, Site
from waiting import eventually

pytestmark = pytest.mark.servers


def socket_url(site: Site) -> str:
    """Write how the socket of a server is reached, without an account's name."""
    if site.dialect == "mysql":
        return f"mysql://{{}}@/?unix_socket={site.database.folder}/mariadb.sock"
    return f"postgresql://{{}}@/orders?host={site.database.folder}&port={site.database.url.port}"


def configured(folder: Path, site: Site, account: str, *lines: str) -> ServerConfig:
    """Return what a configuration file that names the socket becomes."""
    url = f"servers:\n  orders:\n    url: {socket_url(site).format(account)}"
    return load(write(folder, "\n    ".join((url, *lines)))).servers[0]


def peer_account(site: Site) -> str:
    """Make an account that is let in because of who runs this process."""
    us = pwd.getpwuid(os.geteuid()).pw_name
    if site.name == "mysql_site":
        account = site.sampler_account()
        if not site.run("SELECT 1 FROM information_schema.plugins WHERE plugin_name = 'auth_socket'"):
            site.run("INSTALL PLUGIN auth_socket SONAME 'auth_socket.so'")
        site.run(f"ALTER USER {account} IDENTIFIED WITH auth_socket AS '{us}'")
        return account
    if site.dialect == "mysql":
        # MariaDB 10.11 knows no other account than the one that is named like the user; root's is there already.
        account = f"'{us}'@localhost"
        site.run(
            f"CREATE USER IF NOT EXISTS {account} IDENTIFIED VIA unix_socket", f"GRANT PROCESS ON *.* TO {account}"
        )
        site.run(f"GRANT SELECT ON performance_schema.* TO {account}", "SELECT 1")
        return us
    account = site.sampler_account()
    folder = site.database.folder / "data"
    rules, names = folder / "pg_hba.conf", folder / "pg_ident.conf"
    rules.write_text(f"local all {account} peer map={account}\n{rules.read_text()}")
    names.write_text(f"{account} {us} {account}\n{names.read_text()}")
    site.run("SELECT pg_reload_conf()")
    eventually(lambda: site.run(f"SELECT 1 FROM pg_hba_file_rules WHERE '{account}' = ANY(user_name)"))
    return account


def test_with_a_password(tmp_path: Path, site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server is asked through its socket by an account that has a password."""
    monkeypatch.setenv("DB_PASSWORD", PASSWORD)
    config = configured(tmp_path, site, site.sampler_account(), "password: !env DB_PASSWORD")
    with sampling(config) as sampler:
        assert sampled(sampler).source


def test_without_a_password(tmp_path: Path, site: Site) -> None:
    """The operating system's word is enough where the server takes it."""
    account = peer_account(site)
    with sampling(configured(tmp_path, site, account)) as sampler:
        eventually(lambda: came_up(sampler))
    # It is no account without a password: over the network nobody gets in.
    with sampling(replace(configured(tmp_path, site, account), url=tcp_url(site, account))) as sampler:
        sampler.sample()
        assert sampler.view().reason == "auth"


def came_up(sampler: Sampler) -> bool:
    # PostgreSQL takes a moment to follow its new rules.
    sampler.sample()
    return sampler.view().up


def tcp_url(site: Site, account: str) -> URL:
    return site.url(account).set(password="wrong")


def test_a_socket_that_is_not_there(tmp_path: Path, site: Site) -> None:
    """A wrong path is shown, as it would be hard to find otherwise."""
    url = socket_url(site).format(site.sampler_account()).replace(str(site.database.folder), "/nonexistent")
    config = load(write(tmp_path, f"servers: {{orders: {{url: '{url}'}}}}")).servers[0]
    with sampling(config) as sampler:
        sampler.sample()
        view = sampler.view()
    assert (view.up, view.reason) == (False, "connect")
    assert "/nonexistent/" in view.message


def test_tls_on_a_socket_without_it(tmp_path: Path, mariadb_site: Site) -> None:
    """MySQL's socket may have TLS, and one that has none is refused where TLS is asked for."""
    config = configured(tmp_path, mariadb_site, mariadb_site.sampler_account(), "tls: {verify: none}")
    assert config.tls == Tls("none")
    with sampling(config) as sampler:
        sampler.sample()
        assert sampler.view().message.startswith("TLS: ")
