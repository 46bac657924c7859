"""What stands around every demonstration: a folder of its own, signals remembered, and an exit code."""

from __future__ import annotations

import contextlib
import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from exporter.demo.display import Display
from exporter.demo.interruption import CutShortError, Interruption, remembering
from exporter.demo.processes import PartError
from exporter.demo.programs import LaunchError

Play = Callable[[Path, Display, Interruption], None]


def framed(play: Play, *, ends_by_itself: bool) -> int:
    """Run ``play`` to its end, or to a signal; return the exit code when all that was started is gone."""
    _forget_libpq()
    display = Display()
    with remembering() as interruption:
        try:
            with _folder() as folder:
                play(folder, display, interruption)
        except CutShortError:
            display.say("interrupted while setting up")
            return 128 + (interruption.signal or 0)
        except (PartError, LaunchError) as error:
            print(f"error: {error}", file=sys.stderr)
            return 1 if isinstance(error, PartError) else 2
    # One that has no end of its own is meant to be ended by a signal.
    cut_short = ends_by_itself and interruption.signal
    return 128 + cut_short if cut_short else 0


def _forget_libpq() -> None:
    """Take away what the user's shell tells libpq, such as PGSSLMODE: it is meant for other servers than these."""
    for name in [name for name in os.environ if name.startswith("PG")]:
        del os.environ[name]


@contextlib.contextmanager
def _folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="pool-exporter-demo-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        # As root, PostgreSQL runs as another user, who has to get through to a folder of its own in here.
        folder.chmod(0o711)
        yield folder
