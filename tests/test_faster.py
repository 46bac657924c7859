"""The rules made faster: every duration is divided, and nothing else changes."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from faster import faster, seconds

PROMETHEUS = Path(__file__).parents[1] / "prometheus"
DURATION = re.compile(r"\b\d+(?:ms|[smhd])\b")


def _fast(expression: str) -> str:
    rules = faster({"groups": [{"name": "some", "rules": [{"record": "some", "expr": expression}]}]}, 30)
    return str(rules["groups"][0]["rules"][0]["expr"])


@pytest.mark.parametrize(
    ("slow", "fast"),
    [
        ("rate(some_total[5m])", "rate(some_total[10000ms])"),
        ("max_over_time((a - b)[10m:30s])", "max_over_time((a - b)[20000ms:1000ms])"),
        ("increase(some_total[1h] offset 10m)", "increase(some_total[120000ms] offset 20000ms)"),
        ("some_longest_seconds > 600", "some_longest_seconds > 20"),
        ('some_longest_seconds{user="5m"} >= 15', 'some_longest_seconds{user="5m"} >= 0.5'),
        ("some_connections / some_max >= 0.9", "some_connections / some_max >= 0.9"),
        ("some_timeouts > 30", "some_timeouts > 30"),
        ("some:rate5m > 1", "some:rate5m > 1"),
    ],
)
def test_durations_are_divided(slow: str, fast: str) -> None:
    """Ranges, steps, offsets and ages are; shares, counts and names are not."""
    assert _fast(slow) == fast


@pytest.mark.parametrize("name", ["alerts.yaml", "recording.yaml"])
def test_the_shipped_rules_keep_all_but_their_durations(name: str) -> None:
    """Names, labels, words and the rest of each expression are those that we ship."""
    shipped = yaml.safe_load((PROMETHEUS / name).read_text(encoding="utf-8"))
    before, after = (_rules(each) for each in (shipped, faster(shipped, 30)))
    for slow, fast in zip(before, after, strict=True):
        for key in ("for", "keep_firing_for"):
            assert (key in slow) == (key in fast)
            assert key not in slow or seconds(fast.pop(key)) == seconds(slow.pop(key)) / 30
        assert _shape(fast.pop("expr")) == _shape(slow.pop("expr"))
        assert fast == slow


def _rules(file: dict[str, Any]) -> list[dict[str, Any]]:
    return [dict(rule) for group in file["groups"] for rule in group["rules"]]


def _shape(expression: str) -> str:
    """Return an expression with every duration, and every age, replaced by a sign."""
    return re.sub(r"(_seconds\s*>\s*)\d+", r"\1?", DURATION.sub("?", expression))
