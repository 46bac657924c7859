"""The accounts: what the shop and the sidecar may do on a new server, and how each of them connects to it."""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field

from sqlalchemy import create_engine, text
from sqlalchemy.engine import URL
from sqlalchemy.pool import NullPool

from exporter.demo.models import stock

# The sidecar's accounts have just the right to see everybody's sessions.
POSTGRESQL = (
    "CREATE ROLE shop LOGIN PASSWORD '{shop}'",
    "CREATE DATABASE shop OWNER shop",
    "CREATE ROLE pool_exporter LOGIN PASSWORD '{exporter}'",
    "GRANT pg_monitor TO pool_exporter",
)
MARIADB = (
    "CREATE DATABASE shop",
    "CREATE USER shop IDENTIFIED BY '{shop}'",
    "GRANT ALL ON shop.* TO shop",
    "CREATE USER pool_exporter IDENTIFIED BY '{exporter}'",
    "GRANT PROCESS ON *.* TO pool_exporter",
)

# How a client has the server end its sessions; a server-wide setting would do the same.
IMPATIENT = {
    "postgresql": {"options": "-c idle_session_timeout={seconds}s"},
    "mysql": {"init_command": "SET SESSION wait_timeout={seconds}"},
}


@dataclass(frozen=True)
class Accounts:
    """One server as the shop and as the sidecar know it; the sidecar gets its password another way than by the URL."""

    shop: URL
    exporter: URL
    exporter_password: str = field(repr=False)

    def impatient(self, seconds: int) -> URL:
        """Return the shop's address, with the wish that the server ends sessions that sleep for longer."""
        query = IMPATIENT[self.shop.get_backend_name()]
        return self.shop.update_query_dict({key: value.format(seconds=seconds) for key, value in query.items()})


def open_accounts(administrator: URL) -> Accounts:
    """Make both accounts and the shop's database, and fill its tables."""
    postgresql = administrator.get_backend_name() == "postgresql"
    passwords = {"shop": secrets.token_hex(16), "exporter": secrets.token_hex(16)}
    engine = create_engine(administrator, poolclass=NullPool, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        for statement in POSTGRESQL if postgresql else MARIADB:
            connection.execute(text(statement.format(**passwords)))
    shop = administrator.set(username="shop", password=passwords["shop"], database="shop")
    stock(create_engine(shop, poolclass=NullPool))
    if postgresql:
        shop = shop.update_query_dict({"application_name": "shop"})
    exporter = URL.create(
        administrator.drivername,
        username="pool_exporter",
        host=administrator.host,
        port=administrator.port,
        database=administrator.database,
    )
    return Accounts(shop, exporter, passwords["exporter"])
