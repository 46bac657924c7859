"""Text as people and pages can take it: one character that is none in UTF-8 would take all metrics away."""

from __future__ import annotations


def readable(text: str) -> str:
    """Return ``text`` with a question mark for each character that is none, as names of files may have some."""
    return text.encode("utf-8", "replace").decode("utf-8")


def printable(text: str) -> str:
    """Return ``text`` without what would act on a terminal: names come from files that others write."""
    return "".join(letter if letter.isprintable() else "?" for letter in text)


def span(seconds: float) -> str:
    """Write a duration as people say it: its two largest units."""
    if seconds < 60:
        return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"
    minutes, rest = divmod(int(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min"


def brief(seconds: float) -> str:
    """Write a duration in few letters, for a narrow column."""
    if seconds < 60:
        return f"{seconds:.1f}s" if seconds < 10 else f"{seconds:.0f}s"
    minutes, rest = divmod(int(seconds), 60)
    if minutes < 60:
        return f"{minutes}m{rest:02d}s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours}h{minutes:02d}m"


def many(count: int, thing: str) -> str:
    """Return a count with its thing, in the plural where it is not one."""
    return f"1 {thing}" if count == 1 else f"{count} {thing}s"
