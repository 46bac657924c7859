"""The real celery with prefork workers, its broker a folder: recycled, killed and ended warmly."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest

from waiting import eventually
from workers import Shop

pytestmark = [pytest.mark.servers, pytest.mark.parametrize("site", ["mariadb_site"], indirect=True)]

TASKS = """
import os
import signal
from celery import Celery
from shop import use

app = Celery("tasks", broker="filesystem://")
folder = os.environ["BROKER"]
app.conf.update(
    broker_transport_options={
        "data_folder_in": folder, "data_folder_out": os.environ["OUTGOING"], "control_folder": folder,
        "polling_interval": 0.05,
    },
    task_acks_late=False, worker_prefetch_multiplier=1, broker_connection_retry_on_startup=False,
)

@app.task(ignore_result=True)
def order():
    pid = use()
    with open(os.environ["ANSWERS"], "a") as answers:
        answers.write(f"{pid}\\n")

@app.task(ignore_result=True)
def stay():
    order()
    signal.pause()

def send(times, task="order"):
    for _ in range(times):
        globals()[task].delay()
"""


class Celery:
    """A worker's tasks, and who did them."""

    def __init__(self, shop: Shop) -> None:
        self.shop = shop
        self.broker, self.outgoing, self.answers = (shop.folder / name for name in ("broker", "outgoing", "answers"))
        self.broker.mkdir()
        self.outgoing.mkdir()
        self.answers.touch()
        self.environment = {
            "BROKER": str(self.broker),
            "OUTGOING": str(self.outgoing),
            "ANSWERS": str(self.answers),
        }
        shop.write("tasks.py", TASKS)

    def send(self, times: int, task: str = "order") -> list[int]:
        """Send tasks from another process, wait until they are done, and return who did them."""
        before = len(self.done())
        sender = {**self.shop.environment(**self.environment)}
        del sender["POOL_EXPORTER_DIR"]  # it only sends, and would be one more process of the pool
        command = [sys.executable, "-c", f"import tasks; tasks.send({times}, {task!r})"]
        subprocess.run(command, cwd=self.shop.folder, env=sender, check=True)
        # Written elsewhere first: a worker takes a message as soon as there is a file, and loses one not yet written.
        for message in self.outgoing.glob("*.msg"):
            message.rename(self.broker / message.name)
        eventually(lambda: len(self.done()) >= before + times, within=60)
        return self.done()[before:]

    def done(self) -> list[int]:
        return [int(line) for line in self.answers.read_text().splitlines()]


@pytest.mark.timeout(300)
def test_prefork(shop: Shop) -> None:
    """Every task is counted: children recycled after five, one killed with -9 after it published, a warm shutdown.

    Shown are the two children and the process that they were forked from, whose pool is never used.
    """
    celery = Celery(shop)
    command = ("celery", "--app=tasks", "worker", "--concurrency=2", "--max-tasks-per-child=5", "--without-gossip")
    with shop.running(*command, "--without-mingle", "--loglevel=WARNING", environment=celery.environment):
        answered = celery.send(16)
        assert len(set(answered)) > 2
        shop.wait_until_all_counted()
        eventually(lambda: shop.processes() == 3)
        # In the midst of a task: one that waits for the next may hold the lock that all children take tasks under.
        (victim,) = celery.send(1, "stay")
        shop.wait_until_all_counted()
        os.kill(victim, signal.SIGKILL)
        celery.send(12)
        eventually(lambda: shop.processes() == 3)
    shop.wait_until_all_counted()
    eventually(shop.nothing_is_left_open)
    assert shop.counted() == shop.hits() == 29
