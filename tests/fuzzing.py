"""The fuzzer behind scripts/fuzz: lets atheris choose the bytes that hypothesis makes its examples of."""

from __future__ import annotations

import logging
import os
import sys
import tempfile
import time
import warnings
from collections import Counter
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["exporter"]):
    from properties import PROPERTIES

SECONDS = 300
SEEDS = 70


def main() -> None:
    """Run one property for so many seconds, and print how many inputs that were."""
    if len(sys.argv) < 2 or sys.argv[1] not in PROPERTIES:
        print(f"usage: scripts/fuzz NAME [SECONDS]; the names are {', '.join(PROPERTIES)}")  # noqa: T201
        sys.exit(2)
    name, seconds = sys.argv[1], sys.argv[2] if len(sys.argv) > 2 else SECONDS
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)  # what is rejected is said, a thousand times over
    check, held, said = PROPERTIES[name].hypothesis.fuzz_one_input, Counter[bool](), [time.monotonic()]

    def once(data: bytes) -> None:
        # None where the bytes did not suffice for an example. libFuzzer ends the process without a last word of ours.
        held[check(data) is not None] += 1
        if time.monotonic() - said[0] > 5:
            said[0] = time.monotonic()
            print(f"{name}: {held[True]} examples held, of {held.total()} inputs", file=sys.stderr)  # noqa: T201

    with tempfile.TemporaryDirectory(prefix="pool-exporter-corpus-") as corpus:
        # From a single byte, as it begins by itself, nothing can be drawn.
        for number in range(SEEDS):
            (Path(corpus) / str(number)).write_bytes(os.urandom(2 ** (6 + number % 7)))
        options = [
            f"-max_total_time={seconds}",
            "-max_len=8192",
            "-len_control=0",
            "-timeout=60",
            "-print_final_stats=1",
            f"-artifact_prefix={corpus}/",
        ]
        atheris.Setup([sys.argv[0], *options, corpus], once)
        atheris.Fuzz()


main()
