"""How much of other people's names a page shows: how long the value of a label may be, and how many of a kind."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping

from exporter.readable import printable, readable

LONGEST = 250
"""Characters of a label's value. A host's name has 253 at most, a user's or a database's on any server under 100."""

LONGEST_SENTENCE = 500
"""Characters of what a server, a driver or an error says: it goes into the log and onto the page."""

OTHER = "other"
"""What those are called that are added up."""

SITES = 20
"""How many call sites of a pool are shown one by one."""

_ELLIPSIS = "\u2026"


def short(text: str) -> str:
    """Return a text as a label shows it: with characters that there are, and cut where it is too long."""
    if text.isascii() and len(text) <= LONGEST:
        return text
    text = readable(text)
    return text if len(text) <= LONGEST else text[: LONGEST - 1] + _ELLIPSIS


def sentence(words: str) -> str:
    """Return what others say as one line that a log and a page can take: printable, and cut where it is too long.

    Passwords must have been crossed out of it before: half of one would not be found.
    """
    beginning = words[: 2 * LONGEST_SENTENCE]  # there may be megabytes
    line = printable(" ".join(beginning.split()))
    if len(line) <= LONGEST_SENTENCE and len(beginning) == len(words):
        return line
    return line[: LONGEST_SENTENCE - 1] + _ELLIPSIS


def cut(texts: Iterable[str]) -> int:
    """Count the texts that `short` has cut."""
    return sum(len(text) == LONGEST and text[-1] == _ELLIPSIS for text in set(texts))


def few_sites(sites: Mapping[str, int]) -> dict[str, int]:
    """Return the call sites with the most apart, and the rest summed as ``other``: code invents sites."""
    known = Counter({short(site): count for site, count in sites.items() if site != OTHER})
    shown = dict(known.most_common(SITES))
    rest = sum(sites.values()) - sum(shown.values())
    return {**shown, OTHER: rest} if rest else shown


class Roster:
    """Remembers which names are shown one by one: the first of those that are there, no more than ``most``.

    One that is added up with others stays so until there is room for all: else the sum of the others would fall.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._shown: set[str] = set()
        self._others: set[str] = set()

    def others(self, names: Collection[str]) -> frozenset[str]:
        """Return which of the names that are there now are added up."""
        here = set(names)
        if len(here) <= self._most:
            self._shown, self._others = here, set()
            return frozenset()
        self._shown &= here
        self._others &= here
        waiting = sorted(here - self._shown - self._others)
        room = self._most - len(self._shown)
        self._shown.update(waiting[:room])
        self._others.update(waiting[room:])
        return frozenset(self._others)
