"""The conclusion: what is wrong and what to do, on top of the page and in its title."""

from __future__ import annotations

from collections.abc import Sequence

from exporter.conclusions import Verdict
from exporter.page.cells import identifier, text
from exporter.verdicts import NAMES

_SHOWN = 5
"""Further verdicts that are shown at once; the rest unfolds."""


def headline(found: Sequence[Verdict]) -> str:
    """Return the worst in a few words."""
    worst = found[0]
    where = worst.pool or worst.server
    return f"{NAMES[worst.verdict]}: {where}" if where else NAMES[worst.verdict]


def conclusion(found: Sequence[Verdict]) -> str:
    """Return the worst verdict large, and the others below it."""
    worst, *others = found
    shown, rest = others[:_SHOWN], others[_SHOWN:]
    return (
        f'<section id="verdict" class="verdict {worst.level}" aria-labelledby="verdict-title">\n'
        f'<h2 id="verdict-title">{NAMES[worst.verdict]} {_where(worst)}</h2>\n'
        f"<p>{_sentence(worst.what)}</p>\n{_do(worst)}</section>\n" + _also(shown, rest)
    )


def _also(shown: Sequence[Verdict], rest: Sequence[Verdict]) -> str:
    if not shown:
        return ""
    more = ""
    if rest:
        more = f'<details id="more-verdicts"><summary>{len(rest)} more</summary>{_list(rest)}</details>\n'
    return (
        '<section id="also" aria-labelledby="also-title">\n'
        f'<h2 id="also-title">Besides</h2>\n{_list(shown)}{more}</section>\n'
    )


def _list(found: Sequence[Verdict]) -> str:
    return f'<ul class="also">\n{"".join(map(_item, found))}</ul>\n'


def _item(verdict: Verdict) -> str:
    key = identifier("also", verdict.verdict, verdict.pool, verdict.server, verdict.do if verdict.pool else "")
    words = f"<b>{NAMES[verdict.verdict]}</b> {_where(verdict)} <p>{_sentence(verdict.what)}</p>{_do(verdict)}"
    return f'<li id="{key}" class="{verdict.level}">{words}</li>\n'


def _where(verdict: Verdict) -> str:
    named = (("pool", verdict.pool), ("server", verdict.server))
    return " ".join(f'<span class="where">{kind} {text(name)}</span>' for kind, name in named if name)


def _do(verdict: Verdict) -> str:
    if verdict.do.startswith("create_engine("):
        return f'<p class="do"><b>Change:</b> <code>{text(verdict.do)}</code></p>\n'
    return f'<p class="do"><b>Do:</b> {_sentence(verdict.do)}</p>\n' if verdict.do else ""


def _sentence(words: str) -> str:
    begun = words[:1].upper() + words[1:] if words[:2].islower() and "_" not in words.partition(" ")[0] else words
    return text(begun if begun.endswith((".", ")")) else f"{begun}.")
