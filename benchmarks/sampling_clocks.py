"""What processes have used: their CPU clocks, to the nanosecond, and their memory."""

from __future__ import annotations

import contextlib
import os
import re
import time
from collections.abc import Set as AbstractSet
from pathlib import Path

_TICKS = os.sysconf("SC_CLK_TCK")


def cpu_milliseconds(pid: int) -> float:
    """Return the CPU time of a process with all its threads, ended ones too; raise OSError when it is gone."""
    # Linux builds the id of another process's clock like this (clock_getcpuclockid(3)). /proc tells the same in steps
    # of 10 ms, and a sample takes less than one.
    return time.clock_gettime_ns((~pid << 3) | 2) / 1e6


def resident_megabytes(pid: int) -> float:
    """Return how much memory a process holds."""
    found = re.search(r"^VmRSS:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text(), re.MULTILINE)
    return int(found[1]) / 1024 if found else 0.0


class ServerClock:
    """Reads the CPU time of a server: of its process, and where its sessions are processes, of those not ``asleep``."""

    def __init__(self, pid: int, *, has_children: bool, asleep: AbstractSet[int]) -> None:
        self._pid = pid
        self._has_children = has_children
        self._asleep = asleep

    def read(self) -> float:
        """Return the milliseconds so far."""
        own = cpu_milliseconds(self._pid)
        return own + self._of_children() if self._has_children else own

    def _of_children(self) -> float:
        # What those have used that have ended, the kernel adds to the parent's account, in ticks.
        fields = Path(f"/proc/{self._pid}/stat").read_text().rpartition(")")[2].split()
        used = (int(fields[13]) + int(fields[14])) * 1000 / _TICKS
        children = Path(f"/proc/{self._pid}/task/{self._pid}/children").read_text().split()
        for child in map(int, children):
            # Thousands that sleep would take longer to read than the sample takes.
            if child not in self._asleep:
                with contextlib.suppress(OSError):
                    used += cpu_milliseconds(child)
        return used
