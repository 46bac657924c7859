"""A fault from its beginning to its end, and what must be true of it whatever it is."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass

from loaded import WORKERS
from pages import scraped
from players import Application
from stages import Stage, agree

ORDINARY = {
    "BrokenPipeError", "ConnectionAbortedError", "ConnectionDoesNotExistError", "ConnectionError",
    "ConnectionRefusedError", "ConnectionResetError", "DBAPIError", "InterfaceError", "InternalError", "OSError",
    "OperationalError", "TimeoutError", "gaierror",
}  # fmt: skip
"""What an application may meet when its server is lost, be it in asyncpg's own words; whatever else it meets, its twin
must meet as well."""

AFTER = 10


@dataclass(frozen=True)
class Fault:
    """One way to break something, for as long as the body of ``bring`` runs.

    ``harmless`` is one that no application may notice. ``up`` is what the page says of the server meanwhile, None where
    that may change. ``uses`` is how often each application uses its pool meanwhile, ``most`` how many lines each log
    may gain. While an ``unseen`` one lasts the page itself cannot be had. ``kinds`` are the errors that are its own.
    """

    bring: Callable[[Stage], AbstractContextManager[object]]
    harmless: bool = False
    up: bool | None = True
    uses: int = 30
    most: int = 6
    unseen: bool = False
    kinds: frozenset[str] = frozenset()


def play(stage: Stage, fault: Fault) -> None:
    """Bring the fault about under load, mend it, and see that all is as it was."""
    lines = len(stage.shop.lines()), len(stage.sidecar.lines())
    stage.enter("during")
    with contextlib.nullcontext() if fault.unseen else scraped(stage.page, every=0.2):
        stage.go()
        with fault.bring(stage):
            if fault.up is not None:
                agree(stage.up, fault.up)
            stage.wait_for("during", uses=fault.uses)
        stage.enter("mending")
        stage.wait_for("mending", good=30)
        stage.pause()
        stage.check()
    _compare(stage, fault)
    _use_once_more(stage)
    stage.nothing_is_left()
    gained = len(stage.shop.lines()) - lines[0], len(stage.sidecar.lines()) - lines[1]
    assert max(gained) <= fault.most, (stage.shop.lines(), stage.sidecar.lines())


def _compare(stage: Stage, fault: Fault) -> None:
    """Hold what the instrumented application met against what its bare twin did."""
    ours, twins = (_errors(each) for each in stage.both)
    if fault.harmless:
        assert (ours, twins) == (Counter(), Counter())
    assert ours.keys() <= twins.keys() | ORDINARY | fault.kinds
    # Want of memory meets whoever happens to ask for some just then; that none is raised by us is seen elsewhere.
    ordinary = Counter({kind: count for kind, count in ours.items() if kind not in fault.kinds})
    assert ordinary.total() <= 2 * twins.total() + 2 * WORKERS


def _errors(each: Application) -> Counter[str]:
    met = each.outcomes("during") + each.outcomes("mending")
    del met["ok"]
    return met


def _use_once_more(stage: Stage) -> None:
    """See that neither application meets an error any more."""
    stage.enter("after")
    for each in stage.both:
        each.tell(f"use {AFTER}")
        assert each.outcomes("after") == {"ok": AFTER}
    stage.check()
