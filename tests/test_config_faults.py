"""The configuration's faults: each kind with its exact sentence and place, and all of them at once."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from config_files import PLANTED, SERVER, faults
from exporter.config import ConfigError, load

URLS = "mysql+pymysql://USER@HOST:PORT/ or postgresql+psycopg://USER@HOST:PORT/DATABASE"
DURATION = "a duration such as 500ms, 15s, 5m or 1h"
NO_DURATION = "is no duration; write a number and its unit: 500ms, 15s, 5m or 1h"
RANGE = "is out of range; a duration is at least 1ms and at most 8760h, a year"
SEE = "see config.example.yaml for those that there are"
NO_BLANK = "unknown key with a colon in it; write a blank after the colon"
ALIAS = "aliases are not read here; a text that begins with * needs quotes"
NO_FILE = "is no file"
READABLE = "write a directory that this process may read"
NO_DIRECTORY = "is not a directory; write the POOL_EXPORTER_DIR of the instrumented processes"


FILE_FAULTS = {
    "empty": ("", "1:1: the file is empty; see config.example.yaml for what belongs there"),
    "only comments": ("# nothing\n", "1:1: the file is empty; see config.example.yaml for what belongs there"),
    "a list": ("- a\n", "1:1: must be a mapping of keys, not a list"),
    "a text": ("hello\n", "1:1: must be a mapping of keys, not a text"),
    "nothing to watch": (
        "leak_after: 1m\n", "1:1: servers: is missing; name at least one server, or a processes.directory"),
    "nothing under servers": (
        "leak_after: 1m\nservers:\n",
        "2:9: servers: is missing; name at least one server, or a processes.directory"),
    "not UTF-8": (
        b"# caf\xc3\xa9\nweb: caf\xe9\n", "2:9: the byte 0xe9 is not UTF-8; save the file as UTF-8"),
    "a control character": (
        "web:\n  listen: \x07\n", "2:11: the character U+0007 may not stand in YAML; remove it"),
    "no YAML": ("web: listen: x\n", "1:12: is no YAML: mapping values are not allowed here"),
    "a tabulator": (
        "web:\n\tlisten: x\n",
        "2:1: is no YAML: while scanning for the next token, found character '\\t' that cannot start any token"),
    "an escape beyond Unicode": (
        'leak_after: "\\U7fffffff"\n', "1:16: is no YAML: a number or an escape is out of range; write another"),
    "a directive beyond all numbers": (
        f"%YAML {'9' * 5000}.1\n---\n", "1:7: is no YAML: a number or an escape is out of range; write another"),
    "two documents": (
        "web:\n---\nweb:\n",
        "2:1: is no YAML: expected a single document in the stream, but found another document"),
    "nested without end": ("[" * 1000, "1:21: is nested more than 20 deep; no key of ours is, see config.example.yaml"),
    "an unknown tag handle": (
        f"leak_after: !{PLANTED}!x 5\n", "1:13: is no YAML: while parsing a node, found undefined tag handle"),
}  # fmt: skip


KEY_FAULTS = {
    "unknown, near a known one": (
        SERVER + "intervall: 15s", "4:5: servers.orders.intervall: unknown key; did you mean interval?"),
    "unknown, known elsewhere": (
        "interval: 15s\n" + SERVER, "1:1: interval: unknown key; interval belongs under servers.NAME"),
    "unknown, known at the top": (
        SERVER + "leak_after: 15s",
        "4:5: servers.orders.leak_after: unknown key; leak_after belongs at the top of the file"),
    "unknown altogether": (
        "web: {colour: red}\n" + SERVER, "1:7: web.colour: unknown key; known here are listen, config_file, reload"),
    "duplicate": (
        SERVER + "interval: 15s\n    interval: 30s",
        "5:5: servers.orders.interval: duplicate key; it stands on line 4 already, remove one of the two"),
    "duplicate server": (
        SERVER + "\n  orders: {}",
        "5:3: servers.orders: duplicate key; it stands on line 2 already, remove one of the two"),
    "not a text": ("? [a]\n: b\n" + SERVER, f"1:3: a key must be a plain text; {SEE}"),
    "nothing": ("~: b\n" + SERVER, f"1:1: a key must be a plain text; {SEE}"),
    "tagged": ("!env a: b\n" + SERVER, f"1:1: a key must be a plain text; {SEE}"),
    "an alias": ("*a : b\n" + SERVER, f"1:1: a key must be a plain text; {SEE}"),
    "unprintable": (
        '"a\\0b": c\n' + SERVER, "1:1: a key holds the unprintable character U+0000; remove it"),
    "a merge key": (
        SERVER + "<<: {interval: 15s}",
        "4:5: servers.orders: merge keys (<<) are not read here; write the keys out"),
    "a server's name with a space": (
        'servers: {" a": {url: mysql://a@b}}',
        '1:11: servers." a": a server\'s name has 1 to 100 characters and no space at either end'),
    "an empty server's name": (
        'servers: {"": {url: mysql://a@b}}',
        '1:11: servers."": a server\'s name has 1 to 100 characters and no space at either end'),
    "a long server's name": (
        f"servers: {{{'a' * 101}: {{url: mysql://a@b}}}}",
        f"1:11: servers.{'a' * 101}: a server's name has 1 to 100 characters and no space at either end"),
}  # fmt: skip


VALUE_FAULTS = {
    "duration without unit": (SERVER + "interval: 15", f"4:15: servers.orders.interval: '15' {NO_DURATION}"),
    "duration with another unit": (
        SERVER + "stale_after: 1d", f"4:18: servers.orders.stale_after: '1d' {NO_DURATION}"),
    "duration below zero": ("leak_after: -5s\n" + SERVER, f"1:13: leak_after: '-5s' {NO_DURATION}"),
    "duration of zero": ("leak_after: 0s\n" + SERVER, f"1:13: leak_after: '0s' {RANGE}"),
    "stale_after of zero": (SERVER + "stale_after: 0m", f"4:18: servers.orders.stale_after: '0m' {RANGE}"),
    "duration beyond a year": (SERVER + "timeout: 8761h", f"4:14: servers.orders.timeout: '8761h' {RANGE}"),
    "duration beyond all numbers": (
        f"leak_after: {'9' * 400}h\n" + SERVER, f"1:13: leak_after: this text of 401 characters {RANGE}"),
    "duration that is a list": (
        SERVER + "interval: [15s]", f"4:15: servers.orders.interval: must be {DURATION}, not a list"),
    "duration that is a mapping": (
        SERVER + "interval: {a: b}", f"4:15: servers.orders.interval: must be {DURATION}, not a mapping"),
    "duration that is empty": (
        SERVER + "interval:", f"4:14: servers.orders.interval: is empty; write {DURATION}, or remove the key"),
    "timeout that is empty": (
        SERVER + "timeout:", f"4:13: servers.orders.timeout: is empty; write {DURATION}, or remove the key"),
    "duration with a secret's tag": (
        SERVER + "interval: !env INTERVAL",
        f"4:15: servers.orders.interval: !env is read under password only; write {DURATION}"),
    "duration with an unknown tag": (
        SERVER + "interval: !seconds 15",
        f"4:15: servers.orders.interval: the tag '!seconds' is not known here; write {DURATION}"),
    "short interval": (
        SERVER + "interval: 15ms",
        "4:15: servers.orders.interval: 0.015 seconds burden the server; an interval is at least 100ms"),
    "timeout as long as the interval": (
        SERVER + "timeout: 15s", "4:14: servers.orders.timeout: must be less than the interval of 15s, not 15s"),
    "timeout longer than the interval": (
        SERVER + "timeout: 1m\n    interval: 30s",
        "4:14: servers.orders.timeout: must be less than the interval of 30s, not 60s"),
    "unprintable": (
        SERVER + 'interval: "1\\ud800s"',
        "4:15: servers.orders.interval: holds the unprintable character U+D800; remove it"),
    "an alias": (
        SERVER + "interval: &i 15s\n    stale_after: *i",
        "5:18: servers.orders.stale_after: aliases are not read here; a text that begins with * needs quotes"),
    "an alias of its own": (
        SERVER + "pools: &x [*x]",
        "4:16: servers.orders.pools[0]: aliases are not read here; a text that begins with * needs quotes"),
    "a tagged list": (
        SERVER + "pools: !set [a]",
        "4:12: servers.orders.pools: a tag (!...) may stand only before a text; remove it"),
    "pools that are a text": (
        SERVER + "pools: orders*",
        "4:12: servers.orders.pools: must be a list such as [orders*, billing], not a text"),
    "pools that are empty": (
        SERVER + "pools:", "4:11: servers.orders.pools: must be a list such as [orders*, billing], not a text"),
    "pools with an empty one": (
        SERVER + "pools: [a, '']",
        "4:16: servers.orders.pools[1]: is empty; write the name of a pool, or remove the key"),
    "server that is a text": ("servers: {orders: x}", "1:19: servers.orders: must be a mapping of keys, not a text"),
    "section that is a list": (
        "web: []\n" + SERVER, "1:6: web: must be a mapping of keys, not a list"),
    "servers that are a list": ("servers: [a]", "1:10: servers: must be a mapping of keys, not a list"),
    "section with a tag": ("web: !env X\n" + SERVER,
        "1:6: web: !env is read under password only; write a mapping of keys"),
    "no web configuration": (
        "web: {config_file: }\n" + SERVER,
        "1:19: web.config_file: is empty; write the path of a web configuration such as web.yml, or remove the key"),
    "empty directory": (
        "processes: {directory: ''}",
        "1:24: processes.directory: is empty; write a directory such as /run/pool-exporter, or remove the key"),
    "directory that is a file": (
        "processes: {directory: /dev/null}",
        f"1:24: processes.directory: /dev/null {NO_DIRECTORY}"),
}  # fmt: skip


@pytest.mark.parametrize(("text", "expected"), FILE_FAULTS.values(), ids=FILE_FAULTS)
def test_fault_of_the_file(tmp_path: Path, text: str | bytes, expected: str) -> None:
    """Whatever keeps the file from being read at all is one fault, with its place."""
    assert faults(tmp_path, text) == [expected]


@pytest.mark.parametrize(("text", "expected"), KEY_FAULTS.values(), ids=KEY_FAULTS)
def test_fault_of_a_key(tmp_path: Path, text: str, expected: str) -> None:
    """A key that does not belong where it stands is named, and the right one is suggested."""
    assert faults(tmp_path, text) == [expected]


@pytest.mark.parametrize(("text", "expected"), VALUE_FAULTS.values(), ids=VALUE_FAULTS)
def test_fault_of_a_value(tmp_path: Path, text: str, expected: str) -> None:
    """A value that does not fit its key is shown, and what to write is said."""
    assert faults(tmp_path, text) == [expected]


def test_every_fault_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One run lists all faults, of every kind, in the order of the file."""
    monkeypatch.delenv("ABSENT", raising=False)
    text = f"""\
processes: {{directory: 5, dir: x}}
web:
  listen: 10306
  tls: yes
leak_after: 60
servers:
  orders:
    password: !env ABSENT
    interval: soon
    timeout: 20s
    interval: 10s
  billing:
    url: sqlite://
    password: {PLANTED}
    timeout: 15s
    pools: [a, {{}}]
    <<: *defaults
"""
    assert [fault.partition(":")[0] + fault.split(":")[2] for fault in faults(tmp_path, text)] == [
        "1 processes.dir",
        "3 web.listen",
        "4 web.tls",
        "5 leak_after",
        "7 servers.orders.url",
        "8 servers.orders.password",
        "9 servers.orders.interval",
        "11 servers.orders.interval",
        "13 servers.billing.url",
        "14 servers.billing.password",
        "15 servers.billing.timeout",
        "16 servers.billing.pools[1]",
        "17 servers.billing",
    ]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (f"servers: {{orders: {{url: 'mysql://a@b/', password:{PLANTED}}}}}", ["1:41: servers.orders: " + NO_BLANK]),
        (
            f"servers: {{orders: {{url: 'mysql://a@b/', 'password:{PLANTED}': *x}}}}",
            [
                "1:41: servers.orders: " + NO_BLANK,
                f'1:{54 + len(PLANTED)}: servers.orders."password:...": {ALIAS}',
            ],
        ),
        (
            SERVER + f"password:{PLANTED}: 1\n    password:{PLANTED}: 2",
            [
                "4:5: servers.orders: " + NO_BLANK,
                '5:5: servers.orders."password:...": duplicate key; it stands on line 4 already, remove one of the two',
            ],
        ),
    ],
)
def test_what_stands_behind_a_colon_is_not_repeated(tmp_path: Path, text: str, said: list[str]) -> None:
    """Without a blank after its colon, a password becomes a part of a key, which then is in no message."""
    assert faults(tmp_path, text) == said


@pytest.mark.parametrize(("name", "why"), [("x" * 300, "File name too long"), ("pipe/box", "Not a directory")])
def test_a_directory_that_cannot_be_looked_at(tmp_path: Path, name: str, why: str) -> None:
    """It is a fault of its key, beside all other faults."""
    os.mkfifo(tmp_path / "pipe")
    assert faults(tmp_path, f"processes: {{directory: {name}}}\nleak_after: 60") == [
        f"1:24: processes.directory: cannot look at {tmp_path}/{name}: {why}; {READABLE}",
        "2:13: leak_after: '60' is no duration; write a number and its unit: 500ms, 15s, 5m or 1h",
    ]


def test_what_is_no_file(tmp_path: Path) -> None:
    """A pipe that nobody writes into, a device and a huge file are one fault, at once; a pipe of the shell is read."""
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "huge").write_bytes(b"#" * 1_100_000)
    cases = {
        "/dev/zero": NO_FILE,
        str(tmp_path / "pipe"): NO_FILE,
        str(tmp_path / "huge"): "has more than 1048576 bytes",
    }
    for path, said in cases.items():
        with pytest.raises(ConfigError, match=f"^1:1: {said}; write "):
            load(Path(path))
    reader, writer = os.pipe()
    try:
        os.write(writer, SERVER.encode())
        os.close(writer)
        assert [each.name for each in load(Path(f"/dev/fd/{reader}")).servers] == ["orders"]
    finally:
        os.close(reader)
