"""What goes wrong on the server's side of the connection."""

from __future__ import annotations

from exporter.demo.scenarios.scenario import BROWSING, GOOD_POOL, HEALTH, Scenario, Setup
from exporter.demo.traffic import Customers, Request

_TWO_WORKERS = Setup((BROWSING,), workers=2)

KILLED_WORKER = Scenario(
    name="killed-worker",
    title="a worker was killed, and its sessions stay on the server: nobody owns them",
    story=(
        "A worker of the application has forked a helper, which inherits all its open files, connections among them.",
        "Then the worker is killed, as the kernel kills when memory runs out. A new worker takes its place; but as",
        "long as the helper lives, the old connections are not closed: the server keeps three sessions that sleep for",
        "nobody.",
        "(The same is left by a machine that lost its power, until TCP notices.)",
    ),
    look=(
        "sqlalchemy_server_unowned_sessions: sessions that look like this pool's, and that no live pool owns.",
        "sqlalchemy_server_connections: more than the pools have open, plus the sidecar's own.",
        "sqlalchemy_pool_connections: as if nothing had happened; the pool cannot know.",
    ),
    trouble=_TWO_WORKERS,
    cure=("The helper is ended, and with it the last of who had these connections open: the server closes them.",),
    cured=_TWO_WORKERS,
    incident="worker_killed",
    alerts=("SqlalchemyServerUnownedSessions",),
    seconds=50.0,
)

SERVER_DOWN = Scenario(
    name="server-down",
    title="the database server is stopped",
    story=(
        "The server is stopped in the middle of the traffic. Every request fails: the pool's connections are dead,",
        "and new ones are refused.",
    ),
    look=(
        'sqlalchemy_server_up: 0; sqlalchemy_server_sample_errors_total{reason="connect"} rises.',
        "sqlalchemy_pool_connect_errors_total: what the application meets.",
        "The other figures of the server, and the match: absent. Old ones would be untrue.",
    ),
    trouble=HEALTH,
    cure=("The server is started again. The sidecar finds it within an interval, the pool with the next request.",),
    cured=HEALTH,
    incident="server_stops",
    alerts=("SqlalchemyServerDown",),
    seconds=45.0,
)

# One after the other: were somebody else there in the surge, the server would be full, which is another trouble.
_SURGE = Customers((Request("/reports/turnover?rendering=1", at_once=15), *[Request("/products")] * 20), pause=10.0)

NEAR_MAX_CONNECTIONS = Scenario(
    name="near-max-connections",
    title="the pools together come near the server's max_connections",
    story=(
        "The server allows 17 connections to ordinary users; the pool may open 15 + 5, and a surge of customers has",
        "had it open 15. Those lie idle now: the pool is content, but the server has hardly any connection left to",
        "give, to anybody.",
    ),
    look=(
        "sqlalchemy_server_connections against sqlalchemy_server_connections_max: 16 of 17.",
        'sqlalchemy_pool_finding{finding="capacity_exceeds_server_limit"}: foretold by the settings alone.',
        "sqlalchemy_pool_connections: mostly idle; the pool itself is not short of anything.",
    ),
    trouble=Setup((_SURGE,), pool={**GOOD_POOL, "pool_size": 15}),
    cure=(
        "The application is deployed anew with a pool of 5 + 5: the surge takes a second longer, and the server keeps",
        "room for others.",
    ),
    cured=Setup((_SURGE,), pool={**GOOD_POOL, "pool_timeout": 10}),
    alerts=("SqlalchemyServerNearConnectionLimit",),
    # PostgreSQL reserves three for its administrators.
    settings={"postgresql": {"max_connections": "20"}, "mariadb": {"max-connections": "17"}},
    seconds=50.0,
)
