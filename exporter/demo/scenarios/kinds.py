"""Other pools than the usual one, and what can be said of them."""

from __future__ import annotations

from exporter.demo.scenarios.scenario import BROWSING, Scenario, Setup
from exporter.demo.traffic import Customers, Request

NULL_POOL = Scenario(
    name="null-pool",
    title="NullPool: every request makes a connection of its own, and closes it",
    story=(
        "poolclass=NullPool keeps nothing: each checkout makes a connection, each return closes it. Nothing can go",
        "stale, and nothing limits how many are open; each request pays for a connect.",
    ),
    look=(
        "sqlalchemy_pool_connects_total: as many as sqlalchemy_pool_checkouts_total.",
        "sqlalchemy_pool_connect_seconds: what each of them costs.",
        "sqlalchemy_pool_size and sqlalchemy_pool_connections_max: absent, for it has none; nothing is idle.",
    ),
    trouble=Setup((BROWSING,), pool={"poolclass": "NullPool"}),
    cure=("Where the connects cost too much: the application is deployed anew with the usual QueuePool.",),
    seconds=45.0,
)

# This request closes its Session before it answers. FastAPI closes one that it lends after the answer, when the next
# request may have begun; on MariaDB two on one connection read each other's packets.
_ONE_BY_ONE = Customers((Request("/archive"),), pause=0.5)

STATIC_POOL = Scenario(
    name="static-pool",
    title="StaticPool: one connection for everybody",
    story=(
        "poolclass=StaticPool makes one connection and gives it to whoever asks, at the same time if need be. That is",
        "meant for SQLite in memory; here one customer comes at a time, for two would get into each other's",
        "transactions.",
    ),
    look=(
        "sqlalchemy_pool_connects_total: 1, whatever sqlalchemy_pool_checkouts_total says.",
        "sqlalchemy_pool_matched_connections: one, idle x sleeping. There is no size, and no limit: both are absent.",
    ),
    trouble=Setup((_ONE_BY_ONE,), pool={"poolclass": "StaticPool", "pool_recycle": 1800}),
    cure=("The application is deployed anew with the usual QueuePool, which lends a connection to one at a time.",),
    seconds=45.0,
)
