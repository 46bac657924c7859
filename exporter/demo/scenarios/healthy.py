"""Nothing is wrong, in three ways that are worth a look."""

from __future__ import annotations

from exporter.demo.scenarios.scenario import BROWSING, GOOD_POOL, Scenario, Setup
from exporter.demo.traffic import Customers, Request

_WELL = Setup((BROWSING, Customers((Request("/reports/turnover", at_once=5),), pause=10.0)))
_NOTHING_TO_CURE = ("There is nothing to cure: the same goes on.",)

HEALTHY = Scenario(
    name="healthy",
    title="nothing is wrong: connections lie idle in the pool, their sessions sleep until the next request",
    story=(
        "A shop with a pool of 5, up to 10 when it is busy. Each request takes a connection and gives it back; five",
        "requests at once take five, so the pool has grown to five. Those stay open: on the server they sleep.",
    ),
    look=(
        "sqlalchemy_pool_matched_connections: all of it is idle x sleeping, but for the moments of a request.",
        "The page: no findings, nothing overdue, nobody waits.",
    ),
    trouble=_WELL,
    cure=_NOTHING_TO_CURE,
    cured=_WELL,
    seconds=40.0,
)

_BASKETS = Setup(
    # A new Session each time, and an old one that is used again.
    (Customers((Request("/baskets/{customer}", "POST"), Request("/baskets/0", "POST")), pause=0.5),),
    pool={**GOOD_POOL, "pool_size": 2, "max_overflow": 0},
)

COMMIT_KEEPS_SESSION = Scenario(
    name="commit-keeps-session",
    title="a commit returns the connection to the pool while the Session lives on",
    story=(
        "POST /baskets/{customer} keeps its Session for later, as POST /carts does in `leak`; but it commits. The",
        "commit ends the transaction and gives the connection back, while the Session lives on. New work in an old",
        "Session takes a connection from the pool again. So a pool of 2 serves any number of living Sessions.",
    ),
    look=(
        "sqlalchemy_pool_connections: nothing stays in use, one or two are idle, however many Sessions are alive.",
        "sqlalchemy_pool_checkouts_total and sqlalchemy_pool_checkins_total: the same, and rising.",
        "GET /baskets of the application: how many Sessions are alive.",
    ),
    trouble=_BASKETS,
    cure=(*_NOTHING_TO_CURE, "(All the same a Session is best closed: what it does next, and forgets, would leak.)"),
    cured=_BASKETS,
    figure=("Sessions that are alive", "/baskets"),
    seconds=40.0,
)

LAZY = Scenario(
    name="lazy",
    title="an engine without a connection: the first is made at the first use",
    story=(
        "The application has a second engine, `archive`, which nobody has used yet. Everything about an engine is",
        "lazy: its pool is empty, and the server knows nothing of it.",
    ),
    look=(
        "sqlalchemy_pool_info: the pool archive is there, with its limits.",
        'sqlalchemy_pool_connections{pool="archive"} and sqlalchemy_pool_connects_total: 0.',
    ),
    trouble=Setup((BROWSING,), archive=GOOD_POOL),
    cure=("There is nothing to cure. The archive gets its first request: one connection is made, and stays, idle.",),
    cured=Setup((BROWSING, Customers((Request("/archive"),), pause=2.0)), archive=GOOD_POOL),
    deploys=False,
    seconds=40.0,
)
