"""Text as a page can show it: one character that is none in UTF-8 would take all of the application's metrics away."""

from __future__ import annotations


def readable(text: str) -> str:
    """Return ``text`` with a question mark for each character that is none, as names of files may have some."""
    return text.encode("utf-8", "replace").decode("utf-8")
