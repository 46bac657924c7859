"""PromQL as all panels write it: every selector keeps to what the variables at the top of the dashboard choose."""

from __future__ import annotations

from dataclasses import dataclass

EACH_POOL = "job, instance, pool"
"""What tells one pool on one target from every other: what a pool's series are joined on."""

EACH_SERVER = "job, instance, server"


@dataclass(frozen=True, slots=True)
class Query:
    """One query of a panel, and what its series are called in the legend, or its column in a table."""

    expr: str
    legend: str


def pool(name: str, **labels: str) -> str:
    """Select a metric that a pool has, by the end of its name; a value that begins with ~ is a pattern."""
    return _select(f"sqlalchemy_pool_{name}", ("job", "instance", "pool"), labels)


def server(name: str, **labels: str) -> str:
    """Select a metric that a server has."""
    return _select(f"sqlalchemy_server_{name}", ("job", "instance", "server"), labels)


def match(name: str, **labels: str) -> str:
    """Select a metric that a pool has on a server."""
    return _select(f"sqlalchemy_pool_{name}", ("job", "instance", "pool", "server"), labels)


def exporter(name: str, *, pool: bool = False) -> str:
    """Select a metric of the exporter itself."""
    return _select(f"pool_exporter_{name}", ("job", "instance", "pool") if pool else ("job", "instance"), {})


def rate(selector: str) -> str:
    """Return a counter's growth a second."""
    return f"rate({_living(selector)}[$__rate_interval])"


def increase(selector: str, window: str) -> str:
    """Return how much a counter grew within a window."""
    return f"increase({_living(selector)}[{window}])"


def within_view(selector: str) -> str:
    """Return how much a counter grew in the time that the dashboard shows."""
    return increase(selector, "$__range")


def quantile(share: float, histogram: str) -> str:
    """Return what so large a share of a pool's observations stayed below."""
    return f"histogram_quantile({share:g}, sum by (pool, le) ({rate(pool(f'{histogram}_bucket'))}))"


def buckets(histogram: str) -> str:
    """Return how many observations fell into each bucket, for a heatmap."""
    return f"sum by (le) ({increase(pool(f'{histogram}_bucket'), '$__rate_interval')})"


def used_share(by: str) -> str:
    """Return the used part of what a pool may open; of several instances the fullest."""
    used = f"sum by ({EACH_POOL}) ({pool('connections', state='used')})"
    # An unlimited pool (+Inf) cannot run dry, and one that may open nothing (0) has no share.
    limit = f"(sum by ({EACH_POOL}) ({pool('connections_max')}) > 0 < +Inf)"
    return f"max by ({by}) ({used} / {limit})"


def server_share(by: str) -> str:
    """Return the open part of the connections that a server allows."""
    return f"max by ({by}) ({server('connections')} / ({server('connections_max')} > 0))"


def stale_unprotected() -> str:
    """Return the stale connections of each pool that does not ping before use: somebody will meet them."""
    return (
        f"sum by ({EACH_POOL}) ({match('stale_connections')}) > 0 unless min by ({EACH_POOL}) ({pool('pre_ping')}) == 1"
    )


def overdue_at_work(by: str = "pool") -> str:
    """Return about how many overdue checkouts the server is still at work on.

    Those overdue and those active are more than all in use by as many as are both. The server was asked a while ago, so
    where all that is overdue is suspected of a leak, it is none.
    """
    active = f"sum by ({EACH_POOL}) ({match('matched_connections', state='used', session='active')})"
    overdue = f"sum by ({EACH_POOL}) ({pool('overdue')})"
    used = f"sum by ({EACH_POOL}) ({pool('connections', state='used')})"
    suspects = f"sum by ({EACH_POOL}) ({match('leak_suspects')})"
    return f"sum by ({by}) (clamp_min({active} + {overdue} - {used}, 0) * ({overdue} > bool {suspects}))"


def _living(selector: str) -> str:
    """Leave out what ended processes had counted in all their lives, which comes at once where processes are apart."""
    return f'{selector[:-1]}, process!="ended"}}' if selector.startswith("sqlalchemy_pool_") else selector


def _select(name: str, chosen: tuple[str, ...], labels: dict[str, str]) -> str:
    variables = [f'{label}=~"${label}"' for label in chosen]
    fixed = [f'{label}=~"{value[1:]}"' if value[0] == "~" else f'{label}="{value}"' for label, value in labels.items()]
    return f"{name}{{{', '.join(variables + fixed)}}}"
