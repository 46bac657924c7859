"""Tables: label values that are known are always there, and those that are not do not grow the page."""

from __future__ import annotations

from exporter.metrics.table import by_label


def test_known_labels_are_there_from_the_start() -> None:
    """Nothing has happened yet: 0, and not absent."""
    assert dict(by_label(lambda _subject: {}, ("recycle", "other"))({})) == {("recycle",): 0, ("other",): 0}


def test_unknown_labels_are_summed_as_other() -> None:
    """A reason that this version does not know is counted, under no name of its own."""
    read = by_label(lambda _subject: {"recycle": 1, "forged\n": 2, "newer": 3, "other": 4}, ("recycle", "other"))
    assert dict(read({})) == {("recycle",): 1, ("other",): 9}


def test_unknown_labels_without_other_are_left_out() -> None:
    """Where nothing can be other, the page says nothing that it does not mean."""
    assert dict(by_label(lambda _subject: {"idle": 1, "forged": 2}, ("idle",))({})) == {("idle",): 1}


def test_free_labels_are_shown_as_they_are() -> None:
    """Without a list of known values each is shown."""
    assert dict(by_label(lambda _subject: {"anything": 1})({})) == {("anything",): 1}
