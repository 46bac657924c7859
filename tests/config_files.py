"""Configurations for tests: written into a folder, and the faults found in them."""

from __future__ import annotations

from pathlib import Path

import pytest

from exporter.config import ConfigError, load

PLANTED = "Tr0ub4dor"
"""A password that must never be seen again."""

SERVER = "servers:\n  orders:\n    url: mysql+pymysql://probe@db/\n    "
"""The beginning of a good configuration; what follows stands on line 4, column 5, under servers.orders."""


def write(folder: Path, text: str | bytes) -> Path:
    """Write a configuration and return its path."""
    path = folder / "config.yaml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def faults(folder: Path, text: str | bytes) -> list[str]:
    """Return the faults that a configuration is refused for, each as it is printed."""
    with pytest.raises(ConfigError) as caught:
        load(write(folder, text))
    assert str(caught.value).splitlines() == [str(fault) for fault in caught.value.faults]
    return [str(fault) for fault in caught.value.faults]


def odd_option(dialect: str) -> str:
    """Return an option for a URL's query that the driver takes and the server does not."""
    return "options=-cno_such_option=1" if dialect.startswith("postgresql") else "init_command=NONSENSE"
