"""The reader of a web configuration's YAML: sections, keys and values as Go reads them, and every fault's place."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Collection, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

from exporter import tls
from exporter.web_tls import NOT_HERE
from exporter.yaml_nodes import Document, Fault, Keys, Place, Refused, Tagged, dotted

T = TypeVar("T")

NO_BLANK = "unknown key with a colon in it; write a blank after the colon"
"""What to say of a key that is not repeated: whatever follows its colon may be a secret."""

_EMPTY = object()
_TRUE = frozenset({"true", "True", "TRUE", "yes", "Yes", "YES", "on", "On", "ON"})


class WebFileError(ValueError):
    """A web configuration that cannot be used, with everything that is wrong with it in the order of the file."""

    def __init__(self, faults: Iterable[Fault]) -> None:
        self.faults = tuple(sorted(faults, key=lambda fault: (fault.line, fault.column, fault.path)))
        super().__init__("\n".join(f"{fault.file}:{fault}" for fault in self.faults))


class Reader:
    """Holds a document, gathers what is wrong with it, and remembers which files it leads to."""

    def __init__(self, document: Document, path: Path) -> None:
        self.document = document
        self.path = path
        self.faults = list(document.faults)
        self.files: list[Path] = []

    def root(self, known: Collection[str]) -> Section:
        """Return the whole document, with these keys at the top."""
        section = Section(self, self.document.value, ())
        section.known(known)
        return section

    def fault(self, keys: Keys, message: str, *, of_key: bool = False) -> None:
        """Note what is wrong with a key or its value."""
        self.faults.append(self.at(keys, message, of_key=of_key))

    def at(self, keys: Keys, message: str = "", *, of_key: bool = False) -> Fault:
        """Make the fault of a place; what is missing is said of the key above it."""
        place = self.document.keys.get(keys) if of_key else self.document.values.get(keys)
        for end in range(len(keys) - 1, 0, -1):
            place = place or self.document.keys.get(keys[:end])
        place = place or Place()
        return Fault(place.line, dotted(keys), message, place.column)

    def done(self) -> None:
        """Raise WebFileError when anything was wrong."""
        if self.faults:
            raise WebFileError(
                Fault(each.line, each.path, each.message, each.column, str(self.path)) for each in self.faults
            )


class Section:
    """A mapping, of which keys that are empty count as if they were not there."""

    def __init__(self, reader: Reader, value: Any, keys: Keys) -> None:
        self._reader = reader
        self._keys = keys
        self._value: dict[str, Any] = value if isinstance(value, dict) else {}
        if not (value is None or value is Refused.REFUSED or isinstance(value, dict)):
            reader.fault(keys, f"must be a mapping of keys, not {_kind(value)}")

    def names(self) -> tuple[str, ...]:
        """Return the keys that are there, in the order of the file."""
        return tuple(self._value)

    def has(self, name: str) -> bool:
        """Tell whether a key has a value."""
        return self._value.get(name) not in (None, "")

    def known(self, names: Collection[str]) -> None:
        """Note every key that is none of these."""
        for name in self._value.keys() - set(names):
            if ":" in name:
                self.fault_untold(name, NO_BLANK)
                continue
            near = difflib.get_close_matches(name, names, n=1)
            hint = f"did you mean {near[0]}?" if near else f"known here are {', '.join(names)}"
            self.fault(name, f"unknown key; {hint}", of_key=True)

    def fault(self, name: str, message: str, *, of_key: bool = False) -> None:
        """Note what is wrong with a key or its value."""
        self._reader.fault((*self._keys, name), message, of_key=of_key)

    def fault_untold(self, name: str, message: str) -> None:
        """Note what is wrong with a key that is not repeated, for there may be a secret in it."""
        found = self._reader.at((*self._keys, name), message, of_key=True)
        self._reader.faults.append(replace(found, path=dotted(self._keys)))

    def section(self, name: str) -> Section:
        """Return the mapping under a key; an empty one where there is none."""
        return Section(self._reader, self._value.get(name), (*self._keys, name))

    def read(self, name: str, reader: Callable[[str], T], default: T, *, empty: bool = False) -> T:
        """Read a text; with ``empty`` no text is a text, too."""
        value = self._value.get(name)
        if value is None and empty and name in self._value:
            value = ""
        return default if value is None else self._read((*self._keys, name), value, reader, default)

    def texts(self, name: str, reader: Callable[[str], T]) -> tuple[T, ...] | None:
        """Read a list of texts; None where there is none."""
        value, keys = self._value.get(name), (*self._keys, name)
        if value is None or value is Refused.REFUSED:
            return None
        if not isinstance(value, list):
            self.fault(name, f"must be a list such as [a, b], not {_kind(value)}")
            return None
        found = [
            self._read((*keys, at), _EMPTY if each is None else each, reader, None) for at, each in enumerate(value)
        ]
        return tuple(each for each in found if each is not None)

    def switch(self, name: str, *, default: bool) -> bool:
        """Read true or false, which must not stand in quotes."""

        def read(text: str) -> bool:
            if self._reader.document.plain.get((*self._keys, name)) != "bool":
                raise ValueError("must be true or false, without quotes")
            return text in _TRUE

        return self.read(name, read, default)

    def pem(self, inline: str, file: str) -> bytes:
        """Return what a file holds, else what is written out; nothing where there is neither."""
        written = self.read(inline, str.encode, b"")
        return self.read(file, self._content, b"") if self.has(file) else written

    def _content(self, name: str) -> bytes:
        path = self._reader.path.parent.absolute() / name
        self._reader.files.append(path)
        tls.check_file(path)
        return path.read_bytes()

    def _read(self, keys: Keys, value: Any, reader: Callable[[str], T], default: T) -> T:
        if isinstance(value, str):
            try:
                return reader(value)
            except ValueError as error:
                self._reader.fault(keys, str(error))
        elif value is _EMPTY:
            self._reader.fault(keys, f"an empty entry is {NOT_HERE}; remove it")
        elif isinstance(value, Tagged):
            self._reader.fault(keys, f"a tag (!...) is {NOT_HERE}; write the text itself")
        elif value is not Refused.REFUSED:
            self._reader.fault(keys, f"must be one text, not {_kind(value)}")
        return default


def _kind(value: object) -> str:
    return "a mapping" if isinstance(value, dict) else "a list" if isinstance(value, list) else "a text"
