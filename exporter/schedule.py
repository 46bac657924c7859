"""The clock: APScheduler, and nothing else."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from datetime import datetime, timezone

from apscheduler.executors.pool import ThreadPoolExecutor
from apscheduler.schedulers.background import BackgroundScheduler

from exporter.sampler import Sampler


class Schedule:
    """Lets every sampler sample at its own interval, each in a thread of its own: none waits for another's server."""

    def __init__(self, samplers: Sequence[Sampler]) -> None:
        # A line per run at INFO, and one per run that is late at WARNING: the samplers say what is worth saying.
        logging.getLogger("apscheduler").setLevel(logging.ERROR)
        self._scheduler = BackgroundScheduler(
            executors={"default": ThreadPoolExecutor(max(1, len(samplers)))},
            job_defaults={"max_instances": 1, "coalesce": True, "misfire_grace_time": None},
            timezone=timezone.utc,
        )
        for sampler in samplers:
            self._scheduler.add_job(
                sampler.sample, "interval", seconds=sampler.server.interval, next_run_time=datetime.now(timezone.utc)
            )

    def start(self) -> None:
        """Begin, with a first sample of every server at once."""
        self._scheduler.start()

    def stop(self) -> None:
        """End, when the samples that are under way are done; their own timeouts bound the wait."""
        if self._scheduler.running:
            self._scheduler.shutdown(wait=True)
