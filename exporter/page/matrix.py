"""The match as a matrix for each pool and server: what the pool says by what the server says, and what that means."""

from __future__ import annotations

from collections.abc import Sequence

from exporter.conclusions import Match, Overview, Verdict
from exporter.labels import Level, UseState
from exporter.meanings import ROWS, Meaning, meaning
from exporter.page.cells import identifier, nothing, section, text
from exporter.ranking import order_matches

_USE: tuple[tuple[UseState, str], ...] = (("idle", "idle in the pool"), ("used", "in use"))
_LEGEND = (
    '<details id="legend"><summary>How to read this</summary><p>Each open connection stands in one cell: what its pool '
    "says of it, and what its server said of the session when it was last asked. Idle and sleeping is health, in use "
    "and active is work. In use and sleeping is code that thinks, or has forgotten to give it back. Gone: the server "
    "has ended the session, and the pool does not know.</p></details>\n"
)
_STRANGE = "The ids do not meet, as behind a proxy that pools by itself: they cannot be matched."


def matrices(seen: Overview, found: Sequence[Verdict]) -> str:
    """Return a matrix for each pool and server, the worst first."""
    drawn = "".join(_matrix(match, seen) for match in order_matches(seen.matches, found))
    body = f'<div class="matrices">\n{drawn}</div>\n{_LEGEND}' if drawn else nothing("No pool meets a sampled server.")
    return section("match", "The match: what the pool says, and what the server says", body)


def _matrix(match: Match, seen: Overview) -> str:
    key = identifier("match", match.pool, match.server)
    caption = f"{text(match.pool)} on {text(match.server)}"
    if not match.possible:
        return f'<div id="{key}" class="pair"><h3>{caption}</h3><p class="nothing">{_STRANGE}</p></div>\n'
    head = "".join(f'<th scope="col">{words}</th>' for _, words in _USE)
    lines = "".join(_line(words, [meaning(match, (use, session), seen) for use, _ in _USE]) for session, words in ROWS)
    return (
        f'<div id="{key}" class="pair"><table class="matrix"><caption>{caption}</caption>\n'
        f'<thead><tr><th scope="col">the server says</th>{head}</tr></thead>\n<tbody>\n{lines}</tbody></table></div>\n'
    )


def _line(words: str, said: Sequence[Meaning]) -> str:
    return f'<tr><th scope="row">{words}</th>{"".join(map(_cell, said))}</tr>\n'


def _cell(said: Meaning) -> str:
    level: Level | str = said.level or ("some" if said.count else "none")
    return f'<td class="cell {level}"><b>{said.count}</b><span>{text(said.words)}</span></td>'
