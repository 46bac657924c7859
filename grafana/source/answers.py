"""The row of figures that answers the question: a leak, stale connections, a pool too small, a slow database?"""

from __future__ import annotations

from grafana_foundation_sdk.models import dashboard

import runbooks
from faces import ANY_IS_BAD, Face
from panels import figures
from queries import Query, match, overdue_at_work, pool, stale_unprotected, within_view

ANSWERS = (
    (
        "Leak suspects",
        "Connections used for longer than leak_after whose sessions have slept for as long: forgotten, most likely.",
        runbooks.LEAK,
        f"sum({match('leak_suspects')})",
    ),
    (
        "Stale connections",
        (
            "Idle in a pool and ended by the server: the next user of each gets an error. Those of pools that ping"
            " before use harm nobody and are not in here, nor are those that pool_recycle replaces first."
        ),
        runbooks.STALE,
        f"sum({stale_unprotected()}) or 0 * sum({match('stale_connections')})",
    ),
    (
        "Errors by dead connections",
        "Dead connections that a user met, in the time shown. Those that pool_pre_ping found first are not in here.",
        runbooks.STALE_ERRORS,
        f"sum({within_view(pool('stale_total', found='use'))})",
    ),
    (
        "Waiting now",
        (
            "Threads or tasks that wait for a connection. Together with leak suspects, the leak is the cause; alone,"
            " the pool is too small for the traffic, or the database slow."
        ),
        runbooks.WAITING,
        f"sum({pool('waiting')})",
    ),
    (
        "Timeouts",
        "Waits for a connection that ended in the pool's timeout, in the time shown: requests that failed.",
        runbooks.TIMEOUTS,
        f"sum({within_view(pool('timeouts_total'))})",
    ),
    (
        "Overdue, and at work",
        (
            "Checkouts out for longer than leak_after while the server is still busy for them, about so many:"
            " the statements are slow, nobody has forgotten anything."
        ),
        runbooks.SLOW,
        overdue_at_work(""),
    ),
)
"""In the order of the question: title, explanation, runbook, query."""


def answers(number: int) -> tuple[dashboard.Panel, ...]:
    """Make the figures, numbered from ``number`` on."""
    return tuple(
        figures(Face(place, title, says, runbook, decimals=0, width=4, height=4), Query(expr, title), levels=ANY_IS_BAD)
        for place, (title, says, runbook, expr) in enumerate(ANSWERS, number)
    )
