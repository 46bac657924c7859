"""The configuration under fire: whatever lies in the file gives a Config or a ConfigError, and nothing else."""

from __future__ import annotations

import contextlib
from pathlib import Path

import yaml
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from config_files import PLANTED, faults, write
from exporter.config import Config, ConfigError, load

TEXTS = st.sampled_from(
    (
        *("web", "servers", "url", "password", "interval", "timeout", "pools", "listen", "config_file", "[key]"),
        *("tls", "ca", "cert", "key", "verify", "full", "none", "config.yaml", ".", "/dev/zero"),
        *("15s", "0s", "1h", "mysql://u@h", "postgresql://u:p@h:x/", "127.0.0.1:1", "", " ", "~", "yes", "0x1F", "{0}"),
    )
) | st.text(max_size=8)
TREES = st.recursive(
    TEXTS | st.none() | st.integers() | st.floats() | st.booleans() | st.dates(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=4),
    max_leaves=12,
)
SNIPPETS = st.lists(
    st.sampled_from(
        (
            *(
                "servers:",
                "\n  ",
                "\n",
                "orders:",
                "url: ",
                "!env ",
                "!file ",
                "!!binary ",
                "!<x> ",
                "&x ",
                "*x",
                "<<: ",
            ),
            *(
                "[",
                "]",
                "{",
                "}",
                "? ",
                ": ",
                "- ",
                "|",
                ">",
                "'",
                '"',
                "%YAML 1.1",
                "---",
                "...",
                "\\x",
                "#",
                "@",
                "\t",
            ),
        )
    )
    | st.text(max_size=3),
    max_size=20,
).map("".join)


def load_anything(folder: Path, content: bytes) -> None:
    with contextlib.suppress(ConfigError):
        assert isinstance(load(write(folder, content)), Config)


FUZZ = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)


@FUZZ
@given(content=st.binary(max_size=200))
def test_any_bytes(tmp_path: Path, content: bytes) -> None:
    """Whatever lies in the file gives a Config or a ConfigError, and nothing else."""
    load_anything(tmp_path, content)


@FUZZ
@given(text=SNIPPETS)
@example("&x [*x]")
@example("&x {? *x : *x}")
@example('"\\U00110000"')
@example("- " * 3000)
@example("{a: " * 3000)
def test_any_text(tmp_path: Path, text: str) -> None:
    """Whatever text is put together from pieces of YAML gives a Config or a ConfigError, and nothing else."""
    load_anything(tmp_path, text.encode("utf-8", "surrogatepass"))


@FUZZ
@given(tree=TREES)
def test_any_tree(tmp_path: Path, tree: object) -> None:
    """Whatever well-formed YAML says gives a Config or a ConfigError, and nothing else."""
    load_anything(tmp_path, yaml.safe_dump(tree, allow_unicode=True).encode("utf-8", "surrogatepass"))


@FUZZ
@given(server=st.dictionaries(TEXTS, TREES, max_size=5), place=st.sampled_from(["password", "url"]))
def test_faults_never_repeat_a_password(tmp_path: Path, server: dict[str, object], place: str) -> None:
    """However wrong the rest is, a password that was written out is not repeated by the fault that refuses it."""
    server[place] = PLANTED if place == "password" else f"mysql://u:{PLANTED}@h"
    text = yaml.safe_dump({"servers": {"orders": server}}, allow_unicode=True)
    found = faults(tmp_path, text.encode("utf-8", "surrogatepass"))
    assert found
    assert PLANTED not in "\n".join(found)
