"""The shipped alert rules with all their durations divided, so that a test sees in seconds what takes minutes."""

from __future__ import annotations

import re
from typing import Any

PATIENCE = ("for", "keep_firing_for")
UNITS = {"ms": 1, "s": 1000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}
"""The units of a duration that the rules use, in milliseconds."""

_DURATION = r"\d+(?:ms|[smhd])"
# What stands in brackets, after `offset`, and the number that an age in seconds is compared with.
_IN_AN_EXPRESSION = re.compile(
    rf"(?P<head>\[)(?P<window>{_DURATION})(?::(?P<step>{_DURATION}))?\]"
    rf"|(?P<offset>\boffset\s+)(?P<back>{_DURATION})\b"
    r"|(?P<age>\b\w+_seconds(?:\{[^}]*\})?\s*[<>]=?\s*)(?P<seconds>\d+(?:\.\d+)?)"
)


def faster(rules: dict[str, Any], times: int) -> dict[str, Any]:
    """Return a rule file whose every duration is divided: `for`, `keep_firing_for`, ranges, steps, offsets and ages.

    An age is a number that a metric named `_seconds` is compared with. Nothing else changes.
    """
    return {
        "groups": [{**group, "rules": [_rule(rule, times) for rule in group["rules"]]} for group in rules["groups"]]
    }


def seconds(duration: str) -> float:
    """Read a duration of one unit, as the rules have them."""
    number, unit = re.fullmatch(r"(\d+)(ms|[smhd])", duration, re.ASCII).groups()  # type: ignore[union-attr]
    return int(number) * UNITS[unit] / 1000


def _rule(rule: dict[str, Any], times: int) -> dict[str, Any]:
    patience = {key: _divided(rule[key], times) for key in PATIENCE if key in rule}
    expression = _IN_AN_EXPRESSION.sub(lambda found: _piece(found, times), str(rule["expr"]))
    return {**rule, **patience, "expr": expression}


def _piece(found: re.Match[str], times: int) -> str:
    if found["window"]:
        step = f":{_divided(found['step'], times)}" if found["step"] else ""
        return f"[{_divided(found['window'], times)}{step}]"
    if found["offset"]:
        return found["offset"] + _divided(found["back"], times)
    return f"{found['age']}{float(found['seconds']) / times:g}"


def _divided(duration: str, times: int) -> str:
    return f"{round(seconds(duration) * 1000 / times)}ms"
