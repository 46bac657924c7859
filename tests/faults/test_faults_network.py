"""All that a network does to connections: to those of a pool under load, and to the sidecar's own at the same time."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from plays import Fault, play
from sites import Site, frozen
from stages import DRIVERS, Stage, staged

pytestmark = [pytest.mark.servers, pytest.mark.timeout(400)]


@contextlib.contextmanager
def refused(stage: Stage) -> Iterator[None]:
    """Let nobody listen."""
    stage.proxy.refuse()
    yield
    stage.proxy.mend()


@contextlib.contextmanager
def reset(stage: Stage) -> Iterator[None]:
    """Reset every connection that there is, once."""
    stage.proxy.reset()
    yield


@contextlib.contextmanager
def reset_again_and_again(stage: Stage) -> Iterator[None]:
    """Reset every connection, many times over."""
    for _ in range(10):
        stage.proxy.reset()
        met = sum(stage.shop.outcomes("during").values())
        stage.wait_for("during", uses=met + 5)
    yield


@contextlib.contextmanager
def half_open(stage: Stage) -> Iterator[None]:
    """Let the server's side be gone, and nobody be told; who waits for an answer then waits until the line is cut."""
    stage.proxy.forsake()
    yield
    stage.proxy.reset()


@contextlib.contextmanager
def blackhole(stage: Stage) -> Iterator[None]:
    """Accept, and swallow everything; what waits then waits in vain."""
    stage.proxy.silent = True
    yield
    stage.proxy.mend()
    stage.proxy.reset()


@contextlib.contextmanager
def delayed(stage: Stage) -> Iterator[None]:
    """Let everything be late."""
    stage.proxy.delay = 0.03
    yield
    stage.proxy.mend()


@contextlib.contextmanager
def slow(stage: Stage) -> Iterator[None]:
    """Let no more than a trickle pass: enough for an application's little question, too little for the sampler's."""
    stage.proxy.rate = 400.0
    yield
    stage.proxy.mend()


@contextlib.contextmanager
def torn(stage: Stage) -> Iterator[None]:
    """Break every answer to the application off in its middle."""
    stage.proxy.fatal = b"SELECT 1"
    yield
    stage.proxy.mend()


@contextlib.contextmanager
def stopped(stage: Stage) -> Iterator[None]:
    """Stop all processes of the server: its kernel still accepts, and nobody ever answers."""
    with frozen(stage.site.database):
        yield


FAULTS = {
    "refused": Fault(refused, up=False),
    "reset": Fault(reset),
    "reset_again_and_again": Fault(reset_again_and_again),
    "half_open": Fault(half_open),
    "blackhole": Fault(blackhole, up=False, uses=0),
    "delayed": Fault(delayed, harmless=True),
    "slow": Fault(slow, up=False, uses=4),
    "torn": Fault(torn, uses=8),
    "stopped": Fault(stopped, up=False, uses=0),
}


@pytest.mark.parametrize("fault", FAULTS.values(), ids=list(FAULTS))
@pytest.mark.parametrize("driver", list(DRIVERS))
def test_a_fault_of_the_network(driver: str, fault: Fault, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    """Applications meet what they would meet without us; when it is over every count is right and nothing is left."""
    site: Site = request.getfixturevalue(DRIVERS[driver].site)
    with staged(site, DRIVERS[driver], tmp_path) as stage:
        play(stage, fault)
