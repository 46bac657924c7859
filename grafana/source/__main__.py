"""Writes the dashboards and their page anew; with --check it fails when they are not what it would write."""

from __future__ import annotations

import sys
from pathlib import Path

import overview
import pools
import servers
from frame import OVERVIEW, POOLS, SERVERS
from page import page

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "grafana" / "dashboards"
PAGE = ROOT / "docs" / "panels.md"


def main() -> int:
    """Write or check the files; return the exit code."""
    if sys.argv[1:] not in ([], ["--check"]):
        print("usage: scripts/dashboards [--check]", file=sys.stderr)
        return 2
    return _check(_files()) if "--check" in sys.argv else _write(_files())


def _files() -> dict[Path, str]:
    texts = {OVERVIEW: overview.text(), POOLS: pools.text(), SERVERS: servers.text()}
    return {**{FOLDER / f"{uid}.json": text for uid, text in texts.items()}, PAGE: page(texts.values())}


def _write(files: dict[Path, str]) -> int:
    for path, text in files.items():
        path.write_text(text, encoding="utf-8")
    return 0


def _check(files: dict[Path, str]) -> int:
    changed = [path for path, text in files.items() if not path.exists() or path.read_text("utf-8") != text]
    extra = set(FOLDER.glob("*.json")) - files.keys()
    for path in changed:
        print(f"{path.name} is not what grafana/source makes; run scripts/dashboards", file=sys.stderr)
    for path in extra:
        print(f"{path.name} is made by nothing in grafana/source; remove it", file=sys.stderr)
    return 1 if changed or extra else 0


if __name__ == "__main__":
    sys.exit(main())
