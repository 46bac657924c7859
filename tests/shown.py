"""Which panel must have data in which scenario of the lab, by dashboard and the panel's number."""

from __future__ import annotations

from collections.abc import Mapping

LEAK, STALE, PING, SLOW, KILLED, DOWN = (
    "leak",
    "stale",
    "stale-pre-ping",
    "slow-database",
    "killed-worker",
    "server-down",
)

PLAYED: Mapping[str, str] = {
    LEAK: "postgresql",
    STALE: "mariadb",  # which counts sessions that ended without a goodbye, too
    PING: "postgresql",
    SLOW: "postgresql",
    KILLED: "postgresql",
    DOWN: "postgresql",
}
"""The scenarios that are played, and on which server: as few as show everything."""

ABOVE_ZERO: Mapping[str, Mapping[int, tuple[str, ...]]] = {
    "sqlalchemy-overview": {
        2: (LEAK,),
        3: (STALE,),
        4: (STALE,),
        5: (LEAK,),
        6: (LEAK,),
        7: (SLOW,),
        8: (LEAK, STALE, SLOW, KILLED, DOWN),
        9: (LEAK, STALE, SLOW),
        21: (LEAK, STALE, SLOW),
        22: (LEAK, SLOW),
        23: (LEAK, SLOW),
        31: (LEAK, STALE, KILLED, DOWN),
        32: (LEAK, STALE),
        41: (LEAK, STALE, SLOW, KILLED, DOWN),
        42: (LEAK, SLOW),
        43: (LEAK,),
    },
    "sqlalchemy-pools": {
        4: (LEAK, SLOW),
        5: (STALE, PING),
        7: (LEAK, STALE),
        8: (LEAK, STALE, SLOW),
        9: (LEAK, SLOW),
        10: (LEAK, SLOW),
        11: (STALE, SLOW),
        12: (STALE, SLOW),
        13: (STALE, PING),
        14: (STALE, PING),
        16: (LEAK,),
        17: (LEAK,),
        18: (LEAK,),
        19: (LEAK,),
        21: (LEAK, SLOW),
        22: (LEAK, SLOW),
        24: (STALE, PING),
        25: (STALE, PING),
        26: (PING,),
        27: (STALE, PING),
        29: (STALE, PING),
        30: (DOWN,),
        49: (LEAK, STALE),
        50: (LEAK, STALE),
        51: (STALE, PING),
        53: (LEAK, STALE),
        55: (LEAK,),
        56: (STALE, PING),
        104: (STALE,),
        201: (LEAK,),
        202: (STALE,),
        203: (STALE,),
        204: (LEAK,),
        205: (LEAK,),
        206: (SLOW,),
        207: (LEAK, SLOW),
        211: (LEAK,),
        221: (PING,),
        222: (PING,),
        231: (SLOW, STALE),
        241: (SLOW,),
        242: (SLOW, STALE),
        251: (LEAK, PING),
        261: (LEAK, DOWN),
        262: (LEAK, DOWN),
    },
    "sqlalchemy-servers": {
        2: (LEAK, STALE),
        3: (LEAK, STALE),
        34: (LEAK, STALE),
        35: (LEAK, STALE),
        36: (LEAK, STALE),
        37: (LEAK, STALE),
        39: (STALE, PING),
        40: (LEAK, STALE),
        41: (DOWN,),
        45: (LEAK,),
        52: (KILLED,),
        301: (LEAK, STALE),
        303: (LEAK,),
        304: (KILLED,),
        311: (LEAK, SLOW, KILLED),
        312: (LEAK,),
        313: (LEAK, STALE),
        321: (STALE, PING),
        331: (LEAK, STALE),
    },
}
"""These show something."""

THERE: Mapping[str, Mapping[int, tuple[str, ...]]] = {
    "sqlalchemy-overview": {},
    "sqlalchemy-pools": {
        31: (LEAK, STALE),  # nobody detaches a connection or disposes of a pool in these scenarios
        32: (LEAK, STALE),
        43: (LEAK, STALE),  # the exporter has no errors of its own,
        44: (LEAK, STALE),
        102: (LEAK, STALE),  # and agrees with itself
    },
    "sqlalchemy-servers": {
        38: (LEAK, STALE),  # the lab's sessions sleep for seconds, not for the ten minutes of stale_after
        302: (LEAK, STALE),
        46: (STALE, PING),  # the servers count a session that they end themselves late, or not at all
        47: (LEAK, STALE),  # and hide none from the lab's sampler
        305: (LEAK, STALE),
    },
}
"""These show 0, which is not the same as nothing."""

CAUSES: Mapping[str, str] = {
    LEAK: "2 leak",
    STALE: "3 stale",
    PING: "",  # dead connections there harm nobody
    SLOW: "5 slow database",
    KILLED: "7 sessions: asleep, and nobody's",
    DOWN: "1 server: cannot be sampled",
}
"""How the first line of the overview's list must begin: the answer to the question at night."""

CHOICES = (LEAK, STALE, DOWN)
"""Where the variables must have something to choose from."""

MARKS = (LEAK, STALE, SLOW)
"""Where the annotations must have something to mark."""
