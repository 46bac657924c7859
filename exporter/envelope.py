"""The envelope: what a process publishes, as text that any sidecar takes, and whether a sidecar has given it up."""

from __future__ import annotations

import json
import os
import re
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from exporter.readable import readable

_LONGEST_TEXT = 1000
_MOST_BYTES = 8 * 1024 * 1024
_SUSPICIOUS = re.compile(rf'\\ud|"[^"]{{{_LONGEST_TEXT + 1}}}')
"""What half a character and a text that is too long look like; other things may, and lose nothing."""


def sealed(content: Mapping[str, Any]) -> bytes:
    """Return the file's content. Names of threads and of call sites may be anything; they are cut and made readable."""
    text = json.dumps(content, default=vars, separators=(",", ":"))
    if _SUSPICIOUS.search(text):
        text = json.dumps(_clean(json.loads(text)), separators=(",", ":"))
    return text.encode()


def is_given_up(directory: Path, name: str) -> bool:
    """Tell whether a sidecar has taken this process for dead, and what it had published for its last word."""
    try:
        handle = os.open(directory / ".ended.json", os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        with open(handle, "rb") as file:  # noqa: PTH123  a handle
            content = file.read(_MOST_BYTES) if stat.S_ISREG(os.fstat(handle).st_mode) else b""
        ended = json.loads(content)
        return any(name in ended.get(names, ()) for names in ("ids", "doubtful"))
    except FileNotFoundError:
        return False
    except (OSError, ValueError, AttributeError, TypeError, RecursionError):
        return False  # of another version, or damaged: nobody counts it


def _clean(value: Any) -> Any:
    if isinstance(value, str):
        return readable(value)[:_LONGEST_TEXT]
    if isinstance(value, list):
        return [_clean(each) for each in value]
    if not isinstance(value, dict):
        return value
    cleaned: dict[str, Any] = {}
    for key, each in value.items():
        short = _clean(key)
        # Two that begin alike are one now, and so are their counts.
        cleaned[short] = cleaned[short] + each if short in cleaned else _clean(each)
    return cleaned
