"""All that can happen between a sampler and a real server: what it says, whom else it harms, and how it comes back."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from contextlib import AbstractContextManager

import pytest
from prometheus_client import generate_latest

from exporter.sidecar import Sidecar
from overviews import config
from samplers import failed, sampled, sampling
from scenes import PATIENCE, Scene, cut_off, on_stage, other_password, refused, silent, stopped, turned_away
from sites import PASSWORD, Site, sessions_of
from waiting import eventually

Fault = Callable[[Scene], AbstractContextManager[None]]
FAULTS: dict[str, tuple[Fault, str]] = {
    "refused": (refused, "connect"),
    "silent": (silent, "timeout"),
    "frozen": (stopped, "timeout"),
    "cut_off": (cut_off, "connect"),
    "other_password": (other_password, "auth"),
    "turned_away": (turned_away, "connect"),
}

each_fault = pytest.mark.parametrize(("fault", "reason"), FAULTS.values(), ids=list(FAULTS))


def said(caplog: pytest.LogCaptureFixture) -> list[str]:
    """Return what was logged of servers, in short."""
    messages = [record.getMessage() for record in caplog.records if record.name.startswith("exporter")]
    return [message.split(":")[0] for message in messages]


@pytest.mark.servers
@each_fault
def test_a_fault(site: Site, fault: Fault, reason: str, caplog: pytest.LogCaptureFixture) -> None:
    """It is told within the timeout, by its reason, and once; nothing of it is left behind when it is over."""
    caplog.set_level(logging.INFO, "exporter")
    with on_stage(site) as scene, sampling(scene.server()) as sampler:
        good = sampled(sampler)
        with fault(scene):
            for _ in range(2):
                began = time.monotonic()
                view = failed(sampler)
                assert time.monotonic() - began < 3 * PATIENCE
                assert (view.reason, view.snapshot) == (reason, good)
                assert "\n" not in view.message
            assert view.errors == {**dict.fromkeys(view.errors, 0), reason: 2}
        eventually(lambda: not sessions_of(site, scene.account))
        sampled(sampler)
        assert len(sessions_of(site, scene.account)) == 1
    assert said(caplog) == [f"server orders is down ({reason})", "server orders is up again"]
    assert PASSWORD not in caplog.text


@pytest.mark.servers
@pytest.mark.parametrize("fault", [refused, silent, cut_off])
def test_nobody_else_is_harmed(
    fault: Fault, mariadb_site: Site, postgresql_site: Site, caplog: pytest.LogCaptureFixture
) -> None:
    """While one server fails, the other is sampled on and every page is made; it is back after an interval."""
    caplog.set_level(logging.INFO, "exporter")
    with on_stage(mariadb_site) as scene:
        harmed = scene.server(name="harmed", interval=2.0)
        sidecar = Sidecar(config(None, harmed, postgresql_site.server(name="well", interval=0.2)))

        def shown(state: str) -> bool:
            return f'sqlalchemy_server_up{{server="harmed"}} {state}' in generate_latest(sidecar.registry).decode()

        sidecar.start()
        try:
            eventually(lambda: shown("1.0"))
            with fault(scene):
                eventually(lambda: shown("0.0"))
                before = _sampled_at(sidecar, "well")
                eventually(lambda: _sampled_at(sidecar, "well") > before)
            eventually(lambda: shown("1.0"))
            assert len(sessions_of(mariadb_site, scene.account)) == 1
        finally:
            assert sidecar.stop(within=10.0)
        eventually(lambda: not sessions_of(mariadb_site, scene.account))
        [view] = [view for view in sidecar.overview().servers if view.name == "well"]
    assert set(view.errors.values()) == {0}
    of_harmed = [line for line in said(caplog) if line.startswith("server harmed is")]
    assert [line.partition(" (")[0] for line in of_harmed] == ["server harmed is down", "server harmed is up again"]


def _sampled_at(sidecar: Sidecar, name: str) -> float:
    [at] = [view.sampled_at for view in sidecar.overview().servers if view.name == name]
    return at or 0.0


@pytest.mark.servers
def test_cut_off_once(site: Site) -> None:
    """A kept connection that ends in the middle of an answer is replaced, and the sample is good all the same."""
    with on_stage(site) as scene, sampling(scene.server()) as sampler:
        sampled(sampler)
        scene.proxy.reset()
        sampled(sampler)
        assert set(sampler.view().errors.values()) == {0}
        assert scene.proxy.accepted == 2


@pytest.mark.servers
def test_reasons_that_take_turns(site: Site, caplog: pytest.LogCaptureFixture) -> None:
    """A server that is refused and silent by turns is said once to be each."""
    with on_stage(site) as scene, sampling(scene.server()) as sampler:
        for fault in (refused, silent, refused, silent):
            with fault(scene):
                failed(sampler)
    assert said(caplog) == ["server orders is down (connect)", "server orders is down (timeout)"]


@pytest.mark.servers
def test_flapping(site: Site, caplog: pytest.LogCaptureFixture) -> None:
    """A server that comes and goes is said to do so, and no more until it is steady."""
    caplog.set_level(logging.INFO, "exporter.sampler")
    with on_stage(site) as scene, sampling(scene.server()) as sampler:
        for _ in range(5):
            with refused(scene):
                failed(sampler)
            sampled(sampler)
        for _ in range(9):
            sampled(sampler)
    words = "flaps; no more is said until 10 samples in a row are good (connect)"
    assert said(caplog) == [
        "server orders is down (connect)",
        "server orders is up again",
        f"server orders {words}",
        "server orders is up again",
    ]


@pytest.mark.servers
def test_no_privilege(site: Site, caplog: pytest.LogCaptureFixture) -> None:
    """An account that may not look at others is told once what to grant, and then sees everything."""
    account = site.new_account()
    with site.pool(site.new_account(), 2), sampling(site.server(account)) as sampler:
        for _ in range(2):
            sampler.sample()
        assert (sampler.view().hidden or 0) >= 2
        advice = [line for line in caplog.messages if "GRANT" in line]
        assert len(advice) == 1
        grant = advice[0].partition("GRANT ")[2].partition(";")[0]
        site.run(f"GRANT {grant}".replace("%", "%%" if site.dialect == "mysql" else "%"))
        sampled(sampler)
        assert not sampler.view().hidden
