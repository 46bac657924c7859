"""What a scenario is: one trouble, how it comes about, what shows it, and what cures it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from exporter.demo.traffic import Customers, Request

Incident = Literal["server_stops", "worker_killed"]
"""What happens once the application is at work."""

Pool = Mapping[str, object]
"""Options of create_engine; the class of the pool by its name."""

# Its recycle is well below the eight hours that MySQL lets a connection sleep by default.
GOOD_POOL: Pool = {"pool_size": 5, "max_overflow": 5, "pool_timeout": 2, "pool_recycle": 1800}

BROWSING = Customers((Request("/products"), Request("/products"), Request("/purchases/{product}", "POST")), pause=0.9)

LEAK_AFTER = 5


@dataclass(frozen=True)
class Setup:
    """How the application and its server are set up for a while, and who visits.

    The server ends sessions that sleep for longer than ``idle_timeout`` seconds; None stands for what is usual there.
    """

    customers: tuple[Customers, ...]
    pool: Pool = field(default_factory=lambda: GOOD_POOL)
    archive: Pool | None = None
    idle_timeout: int | None = None
    workers: int = 1


HEALTH = Setup((BROWSING,))


@dataclass(frozen=True)
class Scenario:
    """One trouble. ``alerts`` are the names of those that it should ring; ``servers`` where it can be played.

    ``settings`` are what each server is started with. ``deploys`` says whether the cure is one of the application's
    code or pool, which takes a new deployment. ``figure`` is what the application itself can be asked: what it is, and
    where. ``seconds`` is how long a look at all of it takes.
    """

    name: str
    title: str
    story: tuple[str, ...]
    look: tuple[str, ...]
    trouble: Setup
    cure: tuple[str, ...]
    cured: Setup = HEALTH
    incident: Incident | None = None
    alerts: tuple[str, ...] = ()
    servers: tuple[str, ...] = ("postgresql", "mariadb")
    settings: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    deploys: bool = True
    leak_after: int = LEAK_AFTER
    figure: tuple[str, str] | None = None
    seconds: float = 60.0
