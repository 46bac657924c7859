"""Connections that are in use: forgotten, too few, waiting for the database, or idle in a transaction."""

from __future__ import annotations

from exporter.demo.scenarios.scenario import BROWSING, GOOD_POOL, Scenario, Setup
from exporter.demo.traffic import Customers, Request

LEAK = Scenario(
    name="leak",
    title="Sessions are never closed, until the pool is dry and requests time out",
    story=(
        "POST /carts/{customer} makes a Session, keeps it for later and never closes it. SQLAlchemy believes its",
        "connection in use and opens another for the next request; the server sees one more sleeper. After five carts",
        "the pool of 3 + 2 is dry: every request waits for pool_timeout (2 s) and fails, while the server is idle.",
    ),
    look=(
        "sqlalchemy_pool_matched_connections: used x sleeping (or sleeping_in_transaction) grows to the limit.",
        "sqlalchemy_pool_leak_suspects and sqlalchemy_pool_overdue: in use for longer than leak_after (5 s here).",
        "The page, under who holds connections: each is held by exporter/demo/lab_application.py, in open_cart.",
        "sqlalchemy_pool_timeouts_total: what the customers feel.",
    ),
    trouble=Setup(
        (BROWSING, Customers((Request("/carts/{customer}", "POST"),), pause=1.0)),
        pool={**GOOD_POOL, "pool_size": 3, "max_overflow": 2},
    ),
    cure=(
        "The application is deployed anew with `with Session(engine) as session:`, which closes the Session at the",
        "end of each request. What had leaked ends with the old process.",
    ),
    alerts=("SqlalchemyPoolLeak", "SqlalchemyPoolTimeouts"),
)

_CROWD = Customers((Request("/reports/turnover?rendering=0.5"),), pause=0.5, number=14, apart=0.07)

EXHAUSTION = Scenario(
    name="exhaustion",
    title="more traffic than the pool has connections: requests wait, and some time out; nothing leaks",
    story=(
        "14 customers ask for reports, each of which keeps a connection for half a second. The pool may open 2 + 1:",
        "all three are always in use, the rest of the customers wait, and whoever waits for longer than pool_timeout",
        "(1 s) gets an error. Every connection comes back in time: it is too few, and no leak.",
    ),
    look=(
        'sqlalchemy_pool_connections{state="used"} against sqlalchemy_pool_connections_max: 3 of 3.',
        "sqlalchemy_pool_waiting, sqlalchemy_pool_wait_seconds and sqlalchemy_pool_timeouts_total: rising.",
        "sqlalchemy_pool_overdue and sqlalchemy_pool_leak_suspects: 0, which tells it from a leak.",
        "sqlalchemy_pool_use_seconds: short.",
    ),
    trouble=Setup((_CROWD,), pool={**GOOD_POOL, "pool_size": 2, "max_overflow": 1, "pool_timeout": 1}),
    cure=("The application is deployed anew with pool_size=15, as large as this traffic needs. The server has room.",),
    cured=Setup((_CROWD,), pool={**GOOD_POOL, "pool_size": 15}),
    alerts=("SqlalchemyPoolTimeouts",),
)

_SLOW = Customers((Request("/reports/history?seconds=12"),), pause=0.2, number=4, apart=3.0)

SLOW_DATABASE = Scenario(
    name="slow-database",
    title="statements take long: connections are used, and active on the server; that is no leak",
    story=(
        "A statement takes 12 s, as one does that has lost its index; four customers ask for it again and again.",
        "Their connections are out for longer than leak_after (5 s here), as in a leak; but the server is at work on",
        "each.",
    ),
    look=(
        "sqlalchemy_pool_matched_connections: used x active. In a leak the sessions would sleep.",
        "sqlalchemy_pool_overdue: up to 4, while sqlalchemy_pool_leak_suspects stays 0.",
        'sqlalchemy_server_sessions{state="active"}: what the server is busy with.',
    ),
    trouble=Setup((BROWSING, _SLOW)),
    cure=("The statement gets its index back: the same report takes 0.1 s.",),
    cured=Setup((BROWSING, Customers((Request("/reports/history?seconds=0.1"),), pause=1.0, number=4, apart=0.3))),
    alerts=("SqlalchemyServerSlow",),
)

_BROWSING_ONLY = Customers((Request("/products"),), pause=0.3)


def _orders(more: str, *, pause: float) -> tuple[Customers, ...]:
    # Each its own product: they hold locks, but nobody waits for them.
    return tuple(
        Customers((Request(f"/orders/{product}?{more}", "POST"),), pause=pause, first=7.0 * index)
        for index, product in enumerate((1, 2, 3, 4))
    )


IDLE_IN_TRANSACTION = Scenario(
    name="idle-in-transaction",
    title="transactions stay open while the application waits for somebody else",
    story=(
        "POST /orders/{product} changes a row, and then asks a supplier who takes 28 s to answer, with its",
        "transaction open all the while. The server's session sleeps in the transaction: the row stays locked, and",
        "old rows cannot be cleaned up. Each connection comes back in the end, within leak_after (30 s here): it is",
        "no leak.",
    ),
    look=(
        "sqlalchemy_server_transaction_longest_seconds: the oldest transaction that a sleeping session holds open.",
        "sqlalchemy_pool_matched_connections: used x sleeping_in_transaction.",
        "sqlalchemy_pool_overdue and sqlalchemy_pool_leak_suspects: 0, which tells it from a leak.",
    ),
    trouble=Setup((_BROWSING_ONLY, *_orders("supplier=28", pause=0.2))),
    cure=(
        "The application is deployed anew, and commits before it asks the supplier: the wait is as long as before,",
        "but no transaction and no connection waits with it.",
    ),
    cured=Setup((_BROWSING_ONLY, *_orders("supplier=28&commit_first=true", pause=0.2))),
    leak_after=30,
    alerts=("SqlalchemyServerTransactionHeld",),
)
