"""The reader of YAML: bytes to plain values, each with its place in the file, and every fault of form on the way.

Only what a configuration needs is read: mappings, lists and texts. Numbers and booleans stay the text that stands in
the file, so that `15` is never mistaken for a duration and a server may be called `no`. Aliases and merge keys are
refused: they would make one text count in many places, and without them no short file can grow into a huge one.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

import yaml

Keys = tuple[str | int, ...]

_DEEPEST = 20
_CORE = "tag:yaml.org,2002:"
_TEXTS = frozenset(f"{_CORE}{kind}" for kind in ("str", "int", "float", "bool", "timestamp", "value"))
_ALIAS = "*"


class Refused(Enum):
    """Stands in the tree where a fault was found, so that nobody complains of the same place twice."""

    REFUSED = "refused"


@dataclass(frozen=True)
class Tagged:
    """A text with a tag of its own, such as ``!env NAME``."""

    tag: str
    text: str = field(repr=False)


@dataclass(frozen=True)
class Place:
    """A spot in the file; both numbers count from 1."""

    line: int = 1
    column: int = 1


@dataclass(frozen=True)
class Fault:
    """One thing that is wrong with a file: where, under which key, and what to do.

    ``file`` is empty for the configuration itself, and else names a file that it leads to.
    """

    line: int
    path: str
    message: str
    column: int = 1
    file: str = ""

    def __str__(self) -> str:
        return ": ".join(part for part in (f"{self.line}:{self.column}", self.path, self.message) if part)


@dataclass(frozen=True)
class Document:
    """What a file holds: dict, list, str, None, Tagged and Refused; the places of its keys and values; its faults.

    ``plain`` are the places of texts that YAML itself takes for something else, each with what: int, bool and so on.
    """

    value: Any
    keys: Mapping[Keys, Place]
    values: Mapping[Keys, Place]
    faults: tuple[Fault, ...]
    plain: Mapping[Keys, str] = field(default_factory=dict)


def parse(content: bytes, *, lines: bool = False) -> Document:
    """Read one YAML document. Never raises: whatever is wrong stands in ``faults``.

    Only with ``lines`` may a text have several, as a certificate has that is written out.
    """
    walk = _Walk(lines=lines)
    try:
        node = _compose(content.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        place = _place_in(content[: error.start].decode("utf-8-sig", "replace"))
        walk.fault(place, (), f"the byte 0x{content[error.start]:02x} is not UTF-8; save the file as UTF-8")
    except _SyntaxError as error:
        walk.fault(error.place, (), error.message)
    else:
        value = None if node is None else walk.value(node, ())
        return Document(value, walk.keys, walk.values, tuple(walk.faults), walk.plain)
    return Document(Refused.REFUSED, {}, {}, tuple(walk.faults))


def dotted(keys: Keys) -> str:
    """Write a key path: ``servers.orders.pools[1]``. A key with other characters than a name's is quoted.

    Of one with a colon, what follows is left out: where a blank is missing after the colon, it may be a secret.
    """
    text = ""
    for key in keys:
        if isinstance(key, int):
            text += f"[{key}]"
        else:
            text += "." if text else ""
            told = re.sub(":.*", ":...", key)
            text += told if re.fullmatch(r"[\w-]+", told) else json.dumps(told, ensure_ascii=False)
    return text


class _SyntaxError(Exception):
    def __init__(self, place: Place, message: str) -> None:
        super().__init__(message)
        self.place = place
        self.message = message


class _Composer(yaml.SafeLoader):
    """Makes nodes and goes no further: no value is ever constructed."""

    depth = 0

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        event: Any = self.peek_event()  # type: ignore[no-untyped-call]
        start: yaml.Mark = event.start_mark
        if isinstance(event, yaml.AliasEvent):
            self.get_event()  # type: ignore[no-untyped-call]
            return yaml.ScalarNode(_ALIAS, "", start, start)
        # Nothing refers to an anchor here; without its name PyYAML cannot find it used twice either.
        event.anchor = None
        if self.depth == _DEEPEST:
            raise _SyntaxError(
                _spot(start), f"is nested more than {_DEEPEST} deep; no key of ours is, see config.example.yaml"
            )
        self.depth += 1
        node = super().compose_node(parent, index)
        self.depth -= 1
        return node


def _compose(text: str) -> yaml.Node | None:
    try:
        loader = _Composer(text)
    except yaml.reader.ReaderError as error:
        message = f"the character U+{ord(text[error.position]):04X} may not stand in YAML; remove it"
        raise _SyntaxError(_place_in(text[: error.position]), message) from None
    try:
        return loader.get_single_node()
    except yaml.MarkedYAMLError as error:
        raise _SyntaxError(_spot(error.problem_mark or loader.get_mark()), _words(error)) from None
    except (ValueError, OverflowError):
        # PyYAML turns "\U7fffffff" into a character, and %YAML 99... into a number, without a look at what comes out.
        raise _SyntaxError(
            _spot(loader.get_mark()), "is no YAML: a number or an escape is out of range; write another"
        ) from None
    finally:
        loader.dispose()


def _words(error: yaml.MarkedYAMLError) -> str:
    # PyYAML quotes the handle of a tag, which may be the beginning of a password that somebody wrote without quotes.
    problem = re.sub(r"^(found undefined tag handle) .*", r"\1", error.problem or "")
    return f"is no YAML: {', '.join(part for part in (error.context, problem) if part)}"


def _place_in(before: str) -> Place:
    return Place(before.count("\n") + 1, len(before) - before.rfind("\n"))


def _spot(mark: yaml.Mark) -> Place:
    return Place(mark.line + 1, mark.column + 1)


def _start(node: yaml.Node) -> Place:
    return _spot(node.start_mark)


class _Walk:
    """Goes once through the nodes, and gathers values, places and faults."""

    def __init__(self, *, lines: bool = False) -> None:
        self._lines = lines
        self.keys: dict[Keys, Place] = {}
        self.values: dict[Keys, Place] = {}
        self.plain: dict[Keys, str] = {}
        self.faults: list[Fault] = []

    def fault(self, place: Place, keys: Keys, message: str) -> Refused:
        self.faults.append(Fault(place.line, dotted(keys), message, place.column))
        return Refused.REFUSED

    def value(self, node: yaml.Node, keys: Keys) -> Any:
        self.values[keys] = _start(node)
        if isinstance(node, yaml.ScalarNode):
            return self._scalar(node, keys)
        if node.tag not in (f"{_CORE}map", f"{_CORE}seq"):
            return self.fault(_start(node), keys, "a tag (!...) may stand only before a text; remove it")
        if isinstance(node, yaml.MappingNode):
            return self._mapping(node, keys)
        return [self.value(item, (*keys, index)) for index, item in enumerate(node.value)]

    def _scalar(self, node: yaml.ScalarNode, keys: Keys) -> str | Tagged | Refused | None:
        if node.tag == _ALIAS:
            return self.fault(_start(node), keys, "aliases are not read here; a text that begins with * needs quotes")
        unprintable = _unprintable(node.value.replace("\n", "") if self._lines else node.value)
        if unprintable:
            return self.fault(_start(node), keys, f"holds the unprintable character {unprintable}; remove it")
        if node.tag == f"{_CORE}null":
            return None
        if node.tag in _TEXTS and node.tag != f"{_CORE}str":
            self.plain[keys] = node.tag.removeprefix(_CORE)
        return node.value if node.tag in _TEXTS else Tagged(node.tag, node.value)

    def _mapping(self, node: yaml.MappingNode, keys: Keys) -> dict[str, Any]:
        tree: dict[str, Any] = {}
        for key_node, value_node in node.value:
            key = self._key(key_node, keys)
            if key is None:
                continue
            path = (*keys, key)
            if key in tree:
                message = f"duplicate key; it stands on line {self.keys[path].line} already, remove one of the two"
                self.fault(_start(key_node), path, message)
                continue
            self.keys[path] = _start(key_node)
            tree[key] = self.value(value_node, path)
        return tree

    def _key(self, node: yaml.Node, keys: Keys) -> str | None:
        if node.tag == f"{_CORE}merge":
            self.fault(_start(node), keys, "merge keys (<<) are not read here; write the keys out")
        elif node.tag not in _TEXTS or not isinstance(node, yaml.ScalarNode):
            self.fault(
                _start(node), keys, "a key must be a plain text; see config.example.yaml for those that there are"
            )
        elif _unprintable(node.value):
            message = f"a key holds the unprintable character {_unprintable(node.value)}; remove it"
            self.fault(_start(node), keys, message)
        else:
            return str(node.value)
        return None


def _unprintable(text: str) -> str:
    return next((f"U+{ord(character):04X}" for character in text if not character.isprintable()), "")
