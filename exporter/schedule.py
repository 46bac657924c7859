"""The clock: APScheduler, and nothing else."""

from __future__ import annotations

import contextlib
import itertools
import logging
import random
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta, timezone

from apscheduler.executors.pool import ThreadPoolExecutor
from apscheduler.jobstores.base import JobLookupError
from apscheduler.schedulers.background import BackgroundScheduler
from apscheduler.triggers.date import DateTrigger

from exporter.pace import spread, steady
from exporter.sampler import Sampler

_LOOK = 1.0  # seconds between looks at the time of day


@dataclass(frozen=True)
class _Turn:
    """One server's next sample: its beat goes through ``origin``, and it is due after ``wait`` (seconds)."""

    sampler: Sampler
    origin: float
    wait: float = 0.0


class Schedule:
    """Lets every sampler sample at its own pace, each in a thread of its own: none waits for another's server.

    ``chance`` gives numbers in 0 to 1, so that many sidecars do not do the same thing in the same moment.
    """

    def __init__(self, samplers: Sequence[Sampler], *, chance: Callable[[], float] = random.random) -> None:
        # A line per run at INFO, and one per run that is late at WARNING: the samplers say what is worth saying.
        logging.getLogger("apscheduler").setLevel(logging.ERROR)
        self._scheduler = _Scheduler(
            job_defaults={"max_instances": 1, "coalesce": True, "misfire_grace_time": None},
            timezone=timezone.utc,
        )
        self._samplers: Sequence[Sampler] = ()
        self._first = samplers
        self._lanes: dict[Sampler, tuple[str, ThreadPoolExecutor]] = {}
        self._numbers = itertools.count()
        self._chance = chance
        self._ending = threading.Lock()
        self._ended = False

    def start(self) -> None:
        """Begin, with a first sample of every server at once; those that follow are spread over the interval."""
        self.exchange(self._first)
        self._scheduler.start()

    def exchange(self, samplers: Sequence[Sampler]) -> None:
        """Sample these from now on: the new ones at once, those that stay at their beat, and the others never again."""
        now = steady()
        with self._ending:
            if self._ended:
                return
            before, self._samplers = self._samplers, samplers
        for sampler in before:
            if sampler not in samplers:
                self._drop(sampler)
        for number, sampler in enumerate(samplers):
            if sampler not in before:
                # A thread for each server, since a look-up of a name that hangs cannot be ended.
                alias, lane = self._lanes[sampler] = f"sampler {next(self._numbers)}", ThreadPoolExecutor(1)
                self._scheduler.add_executor(lane, alias)
                self._plan(_Turn(sampler, origin=now + spread(number, sampler.server.interval)))

    def stop(self) -> None:
        """End, when the samples that are under way are done; their own timeouts bound the wait."""
        with self._ending:
            self._ended = True
        if self._scheduler.running:
            self._scheduler.shutdown(wait=True)

    def _drop(self, sampler: Sampler) -> None:
        alias, lane = self._lanes.pop(sampler)
        for job in self._scheduler.get_jobs():
            if job.args[0].sampler is sampler:
                with contextlib.suppress(JobLookupError):  # it has just been started
                    job.remove()
        self._scheduler.remove_executor(alias, shutdown=False)
        lane.shutdown(wait=False)  # a sample on a silent server ends when its timeout does

    def _run(self, turn: _Turn) -> None:
        began = steady()
        try:
            turn.sampler.sample()
        finally:
            pace = turn.sampler.pace
            wait = pace.wait(origin=turn.origin, began=began, now=steady(), chance=self._chance())
            self._plan(replace(turn, wait=wait))

    def _plan(self, turn: _Turn) -> None:
        # APScheduler holds its own lock while it waits for the last samples, which would wait for that lock in here.
        with self._ending:
            if not self._ended and turn.sampler in self._samplers:
                due = datetime.now(timezone.utc) + timedelta(seconds=turn.wait)
                self._scheduler.add_job(
                    self._run, DateTrigger(due, timezone.utc), args=(turn,), executor=self._lanes[turn.sampler][0]
                )


class _Scheduler(BackgroundScheduler):  # type: ignore[misc]  # it comes without types
    """A scheduler that goes on when the time of day is set back: it plans by that, but sleeps by a steady clock."""

    def _process_jobs(self) -> float:
        """Run what is due, and return how long to sleep: where APScheduler lets a scheduler see to its own sleep."""
        wait = None
        # When it is stopped just now, it does not find the job again that it has just started.
        with contextlib.suppress(JobLookupError):
            now = datetime.now(timezone.utc)
            for job in self.get_jobs():
                if (job.next_run_time - now).total_seconds() > job.args[0].wait + _LOOK:
                    job.modify(next_run_time=now)  # it was never planned so far ahead
            wait = super()._process_jobs()
        return _LOOK if wait is None else min(wait, _LOOK)
