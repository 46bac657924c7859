"""Who answers in a server's place and means harm takes neither memory nor log, and gets no file."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator

import pytest

import impostors
from exporter.folding import LONGEST_SENTENCE
from exporter.servers import sense, wire
from exporter.servers.family import SampleError
from exporter.servers.instances import born
from exporter.servers.mysql_driver import Bounded
from impostors import OK, Answers, at, message, postgresql, rows
from samplers import failed, sampling

SENSELESS = "the server's answer makes no sense"
HARM = b"\x1b]0;PWNED\x07\x1b[31m \xe2\x80\xae" + b"A" * 20_000
TOO_MUCH = f"{SENSELESS}: it has more than "
NO_FILE = "asks for a file of this machine (LOAD DATA LOCAL), which it does not get"


def once_in(answer: Callable[[], Iterator[bytes]]) -> Answers:
    """Answer so once a MySQL has let the sampler in, and say yes until then."""

    def answers(statement: bytes) -> Iterator[bytes]:
        if statement.startswith(b"SET"):
            return iter([OK])
        return rows(b"1") if b"LOCK" in statement else answer()

    return answers


def mysql_says(words: bytes) -> Iterator[bytes]:
    yield from impostors.refusal(words)


def test_what_a_mysql_says(caplog: pytest.LogCaptureFixture) -> None:
    """Its error is cut, and nothing of it acts on a terminal or turns a page around."""
    with impostors.mysql(once_in(rows), greeting=lambda: mysql_says(HARM)) as port, sampling(at(port)) as sampler:
        _is_harmless(failed(sampler).message, caplog)


def test_what_a_postgresql_says(caplog: pytest.LogCaptureFixture) -> None:
    """The same goes for libpq, which passes on whatever it has heard."""
    fatal = message(b"E", b"SFATAL\x00VFATAL\x00C53300\x00M" + HARM + b"\x00\x00")
    with (
        postgresql(lambda _: iter(()), greeting=fatal) as port,
        sampling(at(port, "postgresql", query="sslmode=disable")) as sampler,
    ):
        _is_harmless(failed(sampler).message, caplog)


def _is_harmless(said: str, caplog: pytest.LogCaptureFixture) -> None:
    assert "PWNED" in said
    assert said.isprintable()
    assert len(said) == LONGEST_SENTENCE
    assert said.endswith("\u2026")
    [line] = caplog.messages
    assert line.isprintable()
    assert len(line) < LONGEST_SENTENCE + 100


@pytest.mark.parametrize(
    "answer",
    [
        lambda: impostors.endless(b""),
        lambda: impostors.endless(b"x" * 10_000),
        lambda: rows(b"x" * 20_000_000),
        impostors.wide,
    ],
    ids=["rows", "bytes", "one", "columns"],
)
def test_a_mysql_without_end(answer: Callable[[], Iterator[bytes]], monkeypatch: pytest.MonkeyPatch) -> None:
    """It is given up as soon as it has sent too much, and the next sample is told the same."""
    monkeypatch.setattr(Bounded, "most", 2**20)
    with impostors.mysql(once_in(answer)) as port, sampling(at(port, timeout=60.0)) as sampler:
        for _ in range(2):
            view = failed(sampler)
            assert view.reason == "query"
            assert view.message.startswith(TOO_MUCH)


def test_a_postgresql_without_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """What libpq would keep is counted on the wire."""
    monkeypatch.setattr(wire, "MOST_BYTES", 2**20)
    with postgresql(_endless) as port, sampling(at(port, "postgresql", timeout=60.0)) as sampler:
        for _ in range(2):
            view = failed(sampler)
            assert view.reason == "query"
            assert view.message.startswith(TOO_MUCH)


def _endless(_statement: bytes) -> Iterator[bytes]:
    yield message(b"T", b"\x00\x01a\x00" + bytes(6) + b"\x00\x00\x00\x19\xff\xff\xff\xff\xff\xff" + bytes(2))
    yield from itertools.repeat(message(b"D", b"\x00\x01\x00\x00\x03\xe8" + b"x" * 1000) * 60)


def test_rows_without_end() -> None:
    """Rows that take little on the wire and much here are counted too."""
    few = sense.few(itertools.count())
    assert next(few) == 0
    with pytest.raises(SampleError, match=f"more than {sense.MOST_ROWS} rows"):
        list(few)


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (rows, f"{SENSELESS} ("),
        (lambda: rows(b"1"), f"{SENSELESS} ("),
        (lambda: rows(b"5.7.1"), f"{SENSELESS} ("),
        (lambda: iter([OK]), f"{SENSELESS} ("),
        (lambda: iter([b"\xfb/etc/passwd"]), NO_FILE),
    ],
    ids=["nothing", "one", "version", "ok", "file"],
)
@pytest.mark.parametrize("allowed", ["0", "1"])
def test_a_senseless_login(
    answer: Callable[[], Iterator[bytes]], said: str, allowed: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Who knows the beginning only is a failed sample, in one sentence, and gets no file, whatever the URL allows."""
    with impostors.mysql(once_in(answer)) as port, sampling(at(port, query=f"local_infile={allowed}")) as sampler:
        for _ in range(2):
            view = failed(sampler)
            assert view.reason == "query"
            assert said in view.message
    assert len(caplog.messages) == 1
    assert "\n" not in caplog.messages[0]


def test_no_answer_to_an_announcement(caplog: pytest.LogCaptureFixture) -> None:
    """A lock that is neither had nor refused is no fault of ours, and the sentence says where it was met."""

    def answers(statement: bytes) -> Iterator[bytes]:
        return iter([OK]) if statement.startswith(b"SET") else rows()

    with impostors.mysql(answers) as port, sampling(at(port)) as sampler:
        assert "in mysql_sisters.py:" in failed(sampler).message
    assert "Traceback" not in caplog.text


@pytest.mark.parametrize(
    ("option", "said"),
    [
        ("bogus", "PyMySQL does not take the options of the url (TypeError: Connection.__init__() got an unexpected"),
        ("charset", "PyMySQL does not take the options of the url (AttributeError: "),
        ("ssl_ca", "PyMySQL does not take the options of the url (FileNotFoundError: "),
        ("read_timeout", "the url makes no engine (invalid literal for int() with base 10: '/no'); mend its options"),
    ],
)
def test_an_option_that_the_driver_refuses(option: str, said: str, caplog: pytest.LogCaptureFixture) -> None:
    """The driver's own words say which, without a traceback."""
    with sampling(at(1, query=f"{option}=/no")) as sampler:
        view = failed(sampler)
    assert view.reason == "other"
    assert view.message.startswith(said)
    assert "Traceback" not in caplog.text


@pytest.mark.parametrize("uptime", [float("nan"), 10**400, None])
def test_a_birth_that_cannot_be(uptime: float) -> None:
    """What a server says of itself is checked before it is kept, and cut."""
    with pytest.raises(SampleError, match="the time since its start"):
        born("one", uptime)
    with pytest.raises(SampleError, match="its port"):
        born("one", 1.0, port="3306")  # type: ignore[arg-type]
    kept = born("x" * 10_000, 1.0, socket="/" * 10_000)
    assert len(kept.identity) + len(kept.socket) < 2000
