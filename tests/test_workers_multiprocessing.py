"""Children of a process, however it makes them: each counts what it does, and says so before it ends."""

from __future__ import annotations

import json
import subprocess

import pytest

from waiting import eventually
from workers import Shop

pytestmark = [pytest.mark.servers, pytest.mark.parametrize("site", ["postgresql_site"], indirect=True)]

WAYS = """
import concurrent.futures, multiprocessing, sys, warnings
from shop import engine, use

def work(times):
    for _ in range(times):
        use()

if __name__ == "__main__":
    context = multiprocessing.get_context(sys.argv[1])
    use()  # before there are children
    engine.dispose()
    child = context.Process(target=work, args=(3,))
    child.start()
    child.join()
    with concurrent.futures.ProcessPoolExecutor(2, mp_context=context) as executor:
        list(executor.map(work, [1] * 10))
    with context.Pool(2, maxtasksperchild=2) as pool:
        pool.map(work, [1] * 10, chunksize=1)
        pool.close()
        pool.join()
    print("done", flush=True)
    sys.stdin.read()
"""


@pytest.mark.parametrize("way", ["fork", "spawn", "forkserver"])
def test_every_way_to_make_a_child(shop: Shop, way: str) -> None:
    """Process, ProcessPoolExecutor and Pool: they leave by os._exit(), and their last word is on the page."""
    shop.write("ways.py", WAYS)
    with shop.running("ways", way, end=hang_up) as program:
        assert program.stdout is not None
        assert program.stdout.readline() == "done\n", shop.log()
        assert shop.hits() == 24
        shop.wait_until_all_counted()
        eventually(lambda: shop.processes() == 1)
    eventually(shop.nothing_is_left_open)
    assert shop.counted() == 24
    assert shop.log() == ""


MIDST = """
import atexit, os, sys

# After all else, the exporter's last word too. Python 3.10 would let go of the connection as it takes itself apart, and
# SQLAlchemy would roll back, on the parent's socket, what the parent is about to commit; with or without the exporter.
parent = os.getpid()
atexit.register(lambda: os.getpid() == parent or os._exit(0))

from shop import HIT, engine, use

connection = engine.connect()
connection.execute(HIT)
child = os.fork()
if child == 0:
    engine.dispose(close=False)
    use(); use()
    print("child", flush=True)
    sys.stdin.readline()
    sys.exit()
print("parent", flush=True)
os.waitpid(child, 0)
connection.commit()
print("ended", flush=True)
sys.stdin.readline()
"""


def hang_up(program: subprocess.Popen[str]) -> None:
    assert program.stdin is not None
    program.stdin.close()


def test_a_fork_in_the_midst_of_a_checkout(shop: Shop) -> None:
    """The child counts from zero, and the connection that is out stays the parent's, once."""
    shop.write("midst.py", MIDST)
    with shop.running("midst", end=hang_up) as program:
        assert program.stdin is not None
        assert program.stdout is not None
        assert {program.stdout.readline(), program.stdout.readline()} == {"child\n", "parent\n"}, shop.log()
        eventually(lambda: shop.processes() == 2 and shop.page.connections() == (1, 1))
        # What was written in the midst of the child's first use may have its connection, and not yet its checkouts.
        eventually(lambda: shop.counted() == 3)
        program.stdin.write("\n")
        program.stdin.flush()
        assert program.stdout.readline() == "ended\n", shop.log()
        eventually(lambda: shop.processes() == 1 and shop.page.connections() == (0, 1))
        assert shop.counted() == 3
    shop.wait_until_all_counted()
    eventually(shop.nothing_is_left_open)


RESTLESS = """
import time
from shop import use

with open("times", "a", buffering=1) as times:
    while True:
        use()
        times.write(f"{time.time()}\\n")
"""


def test_killed_in_the_midst_of_work(shop: Shop) -> None:
    """Of one killed with -9 at any moment, what it last published counts, to the unit: nothing older is missing."""
    shop.write("restless.py", RESTLESS)
    (shop.folder / "times").touch()
    with shop.running("restless", end=subprocess.Popen.kill):
        eventually(lambda: shop.counted() > 100)
    (letter,) = [json.loads(path.read_text()) for path in shop.box.glob("[0-9]*.json")]
    eventually(lambda: not shop.processes())
    done_by_then = sum(float(line) <= letter["taken"] for line in (shop.folder / "times").read_text().split())
    (pool,) = letter["pools"]
    assert shop.counted() == pool["checkouts"]
    # Taken and not yet given back, or given back and not yet noted, as it was killed or looked at.
    assert done_by_then <= shop.counted() <= shop.hits() + 1
