"""TLS to real servers: what is verified, what is refused, and that nothing is ever sent in plain text instead."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import cast

import pytest

from certificates import Certificates, make_certificates
from exporter.config import ServerConfig
from exporter.records import ServerView
from exporter.tls import Tls, Verify
from samplers import sampled, sampling
from sites import Launch, Site, frozen, sessions_of
from waiting import eventually

pytestmark = pytest.mark.servers


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    """A private authority, and what it has signed."""
    return make_certificates(tmp_path_factory.mktemp("certificates"))


@pytest.fixture(scope="module")
def mariadb_tls_site(servers_folder: Path, start_mariadb: Launch, certificates: Certificates) -> Iterator[Site]:
    """A MariaDB with TLS."""
    ca, cert, key = map(str, certificates.for_server(servers_folder / "mariadb-certificates"))
    settings = {"ssl-ca": ca, "ssl-cert": cert, "ssl-key": key}
    with start_mariadb(servers_folder / "mariadb-tls", settings=settings) as database:
        yield prepared(Site("mariadb_tls_site", "mysql", database))


@pytest.fixture(scope="module")
def postgresql_tls_site(servers_folder: Path, start_postgresql: Launch, certificates: Certificates) -> Iterator[Site]:
    """A PostgreSQL with TLS."""
    ca, cert, key = map(str, certificates.for_server(servers_folder / "postgresql-certificates"))
    settings = {"ssl": "on", "ssl_ca_file": ca, "ssl_cert_file": cert, "ssl_key_file": key}
    with start_postgresql(servers_folder / "postgresql-tls", settings=settings) as database:
        yield prepared(Site("postgresql_tls_site", "postgresql", database))


@pytest.fixture(params=["mariadb_tls_site", "postgresql_tls_site"])
def tls_site(request: pytest.FixtureRequest) -> Site:
    """Each of the servers with TLS in turn."""
    return cast("Site", request.getfixturevalue(request.param))


def prepared(site: Site) -> Site:
    site.run("CREATE DATABASE orders")
    return site


def server(site: Site, tls: Tls | None, *, host: str = "localhost", account: str | None = None) -> ServerConfig:
    config = site.server(account, tls=tls)
    return replace(config, url=config.url.set(host=host))


def tried(config: ServerConfig) -> ServerView:
    with sampling(config) as sampler:
        sampler.sample()
        return sampler.view()


def encrypted(site: Site, account: str) -> bool:
    """Tell whether the session of an account is encrypted, as PostgreSQL says; MariaDB is told to insist."""
    statement = f"SELECT ssl FROM pg_stat_ssl JOIN pg_stat_activity USING (pid) WHERE usename = '{account}'"
    return site.dialect == "mysql" or [tuple(row) for row in site.run(statement)] == [(True,)]


def insisting(site: Site) -> str:
    """Make a sampler's account, one that MariaDB lets in with TLS only."""
    account = site.sampler_account()
    if site.dialect == "mysql":
        site.run(f"ALTER USER {account} REQUIRE SSL")
    return account


@pytest.mark.parametrize(
    ("verify", "host"), [("full", "localhost"), ("ca", "localhost"), ("ca", "127.0.0.1"), ("none", "127.0.0.1")]
)
def test_a_good_server(tls_site: Site, certificates: Certificates, verify: Verify, host: str) -> None:
    """A server whose certificate is as asked for is sampled, over TLS."""
    tls = Tls(verify, None if verify == "none" else certificates.ca)
    account = insisting(tls_site)
    with sampling(server(tls_site, tls, host=host, account=account)) as sampler:
        sampled(sampler)
        assert encrypted(tls_site, account)


def test_no_section(tls_site: Site) -> None:
    """Without the section TLS is taken where it is offered, from whoever offers it."""
    account = insisting(tls_site)
    with sampling(server(tls_site, None, account=account)) as sampler:
        sampled(sampler)
        assert encrypted(tls_site, account)


def test_no_section_reads_no_authorities(tls_site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whom to trust is not looked up for a connection that trusts whoever answers."""

    def look_up(*_args: object, **_options: object) -> None:
        raise AssertionError

    config = server(tls_site, None)
    monkeypatch.setattr(ssl, "create_default_context", look_up)
    with sampling(config) as sampler:
        sampled(sampler)


@pytest.mark.parametrize("verify", ["full", "ca"])
def test_a_stranger_has_signed(tls_site: Site, certificates: Certificates, verify: Verify) -> None:
    """A certificate of another authority ends it before the password is sent."""
    tls = Tls(verify, certificates.stranger)
    account = tls_site.sampler_account()
    view = tried(server(tls_site, tls, account=account))
    assert (view.up, view.reason) == (False, "connect")
    assert view.message.startswith("TLS: ")
    assert "certificate verify failed" in view.message


def test_another_name(tls_site: Site, certificates: Certificates) -> None:
    """The name in the certificate must be the host of the URL."""
    view = tried(server(tls_site, Tls(ca=certificates.ca), host="127.0.0.1"))
    assert (view.up, view.reason) == (False, "connect")
    assert view.message.startswith("TLS: ")
    assert "127.0.0.1" in view.message


@pytest.mark.parametrize("verify", ["full", "ca", "none"])
@pytest.mark.parametrize("name", ["mariadb_site", "postgresql_site"])
def test_a_server_without_tls(
    request: pytest.FixtureRequest, name: str, certificates: Certificates, verify: Verify
) -> None:
    """With the section, a server without TLS is refused: no password is ever sent in plain text instead."""
    site = cast("Site", request.getfixturevalue(name))
    account = site.sampler_account()
    tls = Tls(verify, None if verify == "none" else certificates.ca)
    view = tried(server(site, tls, account=account))
    assert (view.up, view.reason) == (False, "connect")
    assert view.message.startswith("TLS: ")
    assert "support" in view.message
    assert sessions_of(site, account) == []


@pytest.fixture
def certified(tls_site: Site) -> str:
    """An account that is let in with a certificate only."""
    account = tls_site.sampler_account()
    if tls_site.dialect == "mysql":
        tls_site.run(f"ALTER USER {account} REQUIRE X509")
    else:
        rules = tls_site.database.folder / "data" / "pg_hba.conf"
        rules.write_text(f"hostssl all {account} all scram-sha-256 clientcert=verify-ca\n{rules.read_text()}")
        tls_site.run("SELECT pg_reload_conf()")
        eventually(lambda: tls_site.run(f"SELECT 1 FROM pg_hba_file_rules WHERE '{account}' = ANY(user_name)"))
    return account


def test_a_certificate_of_ours(tls_site: Site, certificates: Certificates, certified: str) -> None:
    """A server that wants to see a certificate is shown ours, be the key in a file of its own or not."""
    both = certificates.client_both
    for cert, key in ((certificates.client_cert, certificates.client_key), (both, both)):
        with sampling(server(tls_site, Tls("full", certificates.ca, cert, key), account=certified)) as sampler:
            sampled(sampler)


def test_a_certificate_that_we_do_not_have(
    tls_site: Site, certificates: Certificates, certified: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Without one the login is refused; what lies in the home directory is not taken in its place."""
    home = tmp_path / ".postgresql"
    home.mkdir()
    (home / "postgresql.crt").write_bytes(certificates.client_cert.read_bytes())
    (home / "postgresql.key").touch(mode=0o600)
    (home / "postgresql.key").write_bytes(certificates.client_key.read_bytes())
    monkeypatch.setenv("HOME", str(tmp_path))
    assert eventually(lambda: refused(server(tls_site, Tls("full", certificates.ca), account=certified))) == "auth"


def test_a_certificate_that_the_server_does_not_know(
    tls_site: Site, certificates: Certificates, tmp_path: Path
) -> None:
    """A certificate of ours that no authority of the server's has signed ends it, with TLS in the message."""
    other = make_certificates(tmp_path)
    view = tried(server(tls_site, Tls("full", certificates.ca, other.client_cert, other.client_key)))
    assert (view.up, view.reason) == (False, "connect")
    assert view.message.startswith("TLS: ")


def refused(config: ServerConfig) -> str | None:
    # PostgreSQL takes a moment to follow its new rules.
    return tried(config).reason


def test_an_authority_in_the_home_directory(
    tls_site: Site, certificates: Certificates, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Nothing to verify means that nothing is verified, whatever lies in the home directory."""
    (tmp_path / ".postgresql").mkdir()
    (tmp_path / ".postgresql" / "root.crt").write_bytes(certificates.stranger.read_bytes())
    monkeypatch.setenv("HOME", str(tmp_path))
    with sampling(server(tls_site, Tls("none"))) as sampler:
        sampled(sampler)


def test_files_that_change(tls_site: Site, certificates: Certificates, tmp_path: Path) -> None:
    """A file that is gone makes the server down, with the file in the message; one that is back or renewed is taken."""
    ca = tmp_path / "ca.pem"
    for content, up in ((None, False), (certificates.stranger, False), (certificates.ca, True), (None, False)):
        ca.unlink(missing_ok=True)
        if content is not None:
            ca.write_bytes(content.read_bytes())
        with sampling(server(tls_site, Tls(ca=ca))) as sampler:
            sampler.sample()
            view = sampler.view()
            assert view.up is up
            if not up:
                assert view.reason == "connect"
                assert view.message.startswith("TLS: ")
                assert (str(ca) in view.message) == (content is None)


def test_a_server_that_freezes(tls_site: Site, certificates: Certificates) -> None:
    """The timeout holds under TLS too, on a kept connection and on a new one, and all is well afterwards."""
    config = replace(server(tls_site, Tls(ca=certificates.ca)), timeout=tls_site.patience)
    with sampling(config) as sampler:
        sampled(sampler)
        with frozen(tls_site.database):
            for _ in ("kept", "new"):
                sampler.sample()
                assert sampler.view().reason == "timeout"
        sampled(sampler)


def test_what_mysql_makes_for_itself(mysql_site: Site) -> None:
    """The certificates that MySQL makes at its first start are good enough for all but their name."""
    made = mysql_site.database.folder / "data"
    account = mysql_site.sampler_account()
    mysql_site.run(f"ALTER USER {account} REQUIRE X509")
    good = Tls("ca", made / "ca.pem", made / "client-cert.pem", made / "client-key.pem")
    with sampling(server(mysql_site, good, account=account)) as sampler:
        sampled(sampler)
    assert tried(server(mysql_site, replace(good, cert=None, key=None), account=account)).reason == "auth"
    assert tried(server(mysql_site, replace(good, verify="full"), account=account)).reason == "connect"
