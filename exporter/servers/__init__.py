"""The questions to the servers: one module per family, listed here."""

from __future__ import annotations

from collections.abc import Mapping

from exporter.servers import mysql, postgresql
from exporter.servers.family import PROGRAM_NAME, Family, SampleError
from exporter.servers.line import Line

__all__ = ["FAMILIES", "PROGRAM_NAME", "Family", "Line", "SampleError"]

FAMILIES: Mapping[str, Family] = {"mysql": mysql, "mariadb": mysql, "postgresql": postgresql}
"""Who asks a server, by the dialect of its URL."""
