"""The questions to the servers: one module per family, listed here; other distributions may bring more along."""

from __future__ import annotations

import importlib
import logging
from collections.abc import Callable, Mapping
from typing import cast

from exporter.servers import entry_points
from exporter.servers.entry_points import FamilyError
from exporter.servers.family import PROGRAM_NAME, Family, SampleError
from exporter.servers.line import Line

__all__ = ["FAMILIES", "PROGRAM_NAME", "Family", "FamilyError", "Line", "SampleError", "family", "offers"]

FAMILIES: Mapping[str, str] = {
    "mysql": "exporter.servers.mysql",
    "mariadb": "exporter.servers.mysql",
    "postgresql": "exporter.servers.postgresql",
}
"""The module that asks a server, by the dialect of its URL. Loaded when asked for: a driver takes 10 MB of memory."""

_log = logging.getLogger(__name__)


def offers() -> Mapping[str, Callable[[], Family]]:
    """Return what loads each family that others bring along, by dialect, and log which of them are not used.

    Nothing is loaded yet. What is returned raises FamilyError when that fails.
    """
    for words in entry_points.overruled(FAMILIES):
        _log.warning("%s", words)
    return entry_points.offers(FAMILIES)


def family(dialect: str) -> Family:
    """Return who asks the servers of a dialect: one of ours, or one that others bring along; raise FamilyError."""
    if dialect in FAMILIES:
        return cast("Family", importlib.import_module(FAMILIES[dialect]))
    found = entry_points.offers(FAMILIES).get(dialect)
    if found is None:
        raise FamilyError(f"nobody brings the family of servers '{dialect}' along; install the package that does")
    return found()
