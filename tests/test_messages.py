"""Every message that a user can meet: the input that causes it stands beside it, and it says what to do."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from causes import stage
from exporter.contained import start_from_zero
from messages import CATALOGUE, GOOD_NEWS, UNSAID
from templates import Template, templates

ALL = sorted(
    {_key: each for each in templates() if (_key := re.sub(r"\x00|%(?:\.\d+)?[sdrgf]", "{}", each.text))}.items()
)
CURE = re.compile(
    r"; |, (remove|for|not|is|hence|write)|\bmust\b|\bneeds?\b|\bgive\b|\bhas 1 to\b|at least|\ba (list|mapping) |\{\}$"
    r"|known here|known are|--[a-z-]+ (NAME|FILE)|choose|\bis the sidecar|install|has a module of its own"
    r"|put .* aside|set aside"
)
"""A demand, a bound, or a place for another's words that are in the catalogue themselves."""

SENTENCES = {key: template for key, template in ALL if key not in UNSAID}


def test_every_sentence_of_the_code_is_in_the_catalogue() -> None:
    """A new message without the input that causes it is missed here."""
    assert [str(template) for key, template in SENTENCES.items() if key not in CATALOGUE] == []


def test_what_is_said_no_more_leaves_the_catalogue() -> None:
    """A sentence that the code has lost or changed is found here by its old words."""
    assert sorted((CATALOGUE.keys() | UNSAID | GOOD_NEWS) - dict(ALL).keys()) == []


@pytest.mark.parametrize(("key", "template"), SENTENCES.items(), ids=SENTENCES)
def test_the_input_beside_a_message_causes_it(key: str, template: Template, tmp_path: Path) -> None:
    """What the catalogue says of a message is true."""
    start_from_zero()  # an error that another test has caused in the same place is not said again
    with stage(tmp_path) as staged:
        said = CATALOGUE[key](staged)
    assert any(template.pattern.search(each) or _is_quoted(template, each) for each in said), said


@pytest.mark.parametrize("key", sorted(SENTENCES.keys() - GOOD_NEWS))
def test_a_message_says_what_to_do(key: str) -> None:
    """What is bad news names what to write, set, remove or read; what follows a name or another's words is that."""
    assert CURE.search(key), key


def _is_quoted(template: Template, words: str) -> bool:
    """Tell whether words that a test reads are a part of the sentence."""
    return any(
        (part.strip() and part.strip() in words) or words in part for part in re.split(r"\x00|%\S+", template.text)
    )
