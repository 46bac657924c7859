"""The bounds: the upper ends of every histogram's buckets, in seconds."""

from __future__ import annotations

USE_BUCKETS = (0.001, 0.005, 0.025, 0.1, 0.5, 1.0, 5.0, 15.0, 30.0, 60.0, 300.0, 900.0, 3600.0, 14400.0)
"""Upper bounds, in seconds, of the histogram of uses. They reach hours: a leak lies far beyond ten seconds."""

WAIT_BUCKETS = (0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0, 29.0, 31.0, 60.0, 120.0)
"""Upper bounds, in seconds, of the histogram of waits. They straddle 30 s, the default pool_timeout."""

CONNECT_BUCKETS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
"""Upper bounds, in seconds, of the histogram of connects."""

IDLE_BUCKETS = (0.1, 1.0, 5.0, 15.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1800.0, 3600.0, 14400.0, 28800.0)
"""Upper bounds, in seconds, of the histogram of idle times; the last is MySQL's default wait_timeout."""

LIFETIME_BUCKETS = (1.0, 10.0, 60.0, 300.0, 900.0, 1800.0, 3600.0, 7200.0, 14400.0, 28800.0, 86400.0)
"""Upper bounds, in seconds, of the histogram of ages at close."""

PING_BUCKETS = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 1.0, 5.0)
"""Upper bounds, in seconds, of the histogram of pings: mostly a round trip to the server."""

HISTOGRAMS = {
    "use_seconds": USE_BUCKETS,
    "wait_seconds": WAIT_BUCKETS,
    "connect_seconds": CONNECT_BUCKETS,
    "idle_seconds": IDLE_BUCKETS,
    "lifetime_seconds": LIFETIME_BUCKETS,
    "ping_seconds": PING_BUCKETS,
}
"""The histograms of a pool, and the upper bounds that each must have."""

SLEEP_BUCKETS = (1.0, 5.0, 15.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1800.0, 3600.0, 14400.0, 28800.0)
"""Upper bounds, in seconds, of the histogram of sleeping sessions; the last is MySQL's default wait_timeout."""
