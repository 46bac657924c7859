"""The door of the command: `pool-exporter` and `python -m exporter` begin here."""

from __future__ import annotations

import sys

from exporter import runner
from exporter.extras import missing_library


def main() -> None:
    """Run the command line; without the extra `sidecar`, say how to install it and exit with 2."""
    # An application does not have that extra, and is to be started all the same.
    command = runner.asked(sys.argv[1:])
    if command is not None:
        sys.exit(runner.run(command))
    try:
        from exporter.cli import cli  # noqa: PLC0415  its libraries are an extra, which an application does without
    except ModuleNotFoundError as error:
        print(missing_library(error, "sidecar"), file=sys.stderr)  # noqa: T201  click may be what is missing
        sys.exit(2)
    except KeyboardInterrupt:
        sys.exit(130)  # as a shell says it; the libraries take a moment to load
    cli(prog_name="pool-exporter")


if __name__ == "__main__":
    main()
