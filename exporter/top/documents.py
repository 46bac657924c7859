"""What `top` shows of the sidecar's JSON, checked: whoever answers there may be anybody."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from exporter.readable import printable


class _Shown(BaseModel):
    model_config = ConfigDict(frozen=True)


class Verdict(_Shown):
    """What is wrong, and what to do."""

    verdict: str
    level: str
    what: str
    do: str = ""
    pool: str = ""
    server: str = ""


class Cell(_Shown):
    """A pair of the match that has connections."""

    pool_says: str
    server_says: str
    count: int
    meaning: str
    level: str | None


class Match(_Shown):
    """A pool held against a server."""

    server: str
    possible: bool
    cells: tuple[Cell, ...] = ()


class Finding(_Shown):
    """A setting that will hurt."""

    server: str
    finding: str
    pool_says: str
    held_against: str
    why: str
    change: str


class Pool(_Shown):
    """A pool."""

    name: str
    idle: int
    used: int
    max: float | None
    unlimited: bool | None
    waiting: int | None
    waiting_longest_seconds: float | None
    used_longest_seconds: float | None
    overdue: int
    matches: tuple[Match, ...]
    findings: tuple[Finding, ...]


class Sample(_Shown):
    """What a server said."""

    dialect: str
    version: str
    connections: int
    connections_max: int | None
    sessions: dict[str, int]
    stale_sessions: int


class Server(_Shown):
    """A server."""

    name: str
    up: bool
    reason: str | None
    message: str | None
    sampled_seconds_ago: float | None
    sample: Sample | None


class Unowned(_Shown):
    """Sessions that nobody owns."""

    server: str
    user: str
    database: str
    client: str
    count: int


class Holder(_Shown):
    """A connection in use."""

    pool: str
    server: str | None
    process: str
    site: str | None
    holder: str | None
    seconds: float
    session: str | None
    session_seconds: float | None
    suspect: bool
    holds_transaction: bool


class Content(_Shown):
    """Both documents in one; a sidecar that is older than `top` gives no verdicts and no servers."""

    now: float
    verdicts: tuple[Verdict, ...] = Field(min_length=1)
    pools: tuple[Pool, ...]
    servers: tuple[Server, ...]
    unowned: tuple[Unowned, ...]
    holders: tuple[Holder, ...]
    left_out: int


class UnreadableError(Exception):
    """Nothing could be read; the message says why, and what to do."""


def check(document: Mapping[str, Any]) -> Content:
    """Return what a document holds, or say that it is none of a sidecar's."""
    try:
        return Content.model_validate(document)
    except ValidationError as error:
        first = error.errors()[0]
        key = printable(".".join(map(str, first["loc"])))
        raise UnreadableError(
            f"what answers is no sidecar of this version: {key}: {first['msg']}; see that both are the same version"
        ) from None
