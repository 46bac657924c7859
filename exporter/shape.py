"""The shape of a configuration: which keys there are, what each holds, and what to say of all that does not fit."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import replace
from typing import Annotated, Any

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)

from exporter import fields, values
from exporter.fields import PlacedError, RefusedError, Surroundings
from exporter.tls import Tls, authorities, check_key, holds_key, is_open
from exporter.web_reader import NO_BLANK, WebFileError
from exporter.yaml_nodes import Document, Fault, Keys, Place, dotted

_WATCHED = ("servers", "processes")
_SHORTEST_INTERVAL = 0.1
_DEFAULT_TIMEOUT = 5.0


class Section(BaseModel):
    """A mapping with known keys only."""

    model_config = ConfigDict(extra="forbid", frozen=True, arbitrary_types_allowed=True, hide_input_in_errors=True)

    _check_mapping = model_validator(mode="before")(fields.read_mapping)


class WebSection(Section):
    """Where the page is served."""

    listen: Annotated[tuple[str, int], fields.read(values.address, values.ADDRESS)] = ("127.0.0.1", 10306)
    config_file: fields.WebFile = None
    reload: fields.Switch = False


class ProcessesSection(Section):
    """Where the instrumented processes publish."""

    directory: fields.Directory = None
    users: fields.Users = frozenset()
    per_process: fields.Switch = False


class TlsSection(Section):
    """TLS to one database server."""

    ca: fields.Certificates = None
    cert: fields.Certificates = None
    key: fields.PemFile = None
    verify: fields.Verify = "full"

    @model_validator(mode="after")
    def _check_trust(self) -> TlsSection:
        if self.verify == "none" and self.ca is not None:
            raise PlacedError("ca", "is of no use with verify: none, which trusts every server; remove one of the two")
        if self.verify == "ca" and self.ca is None:
            raise PlacedError("verify", "ca needs the key ca: FILE; without it, any authority of the world would do")
        if self.verify == "full" and self.ca is None and authorities() is None:
            raise ValueError("needs ca: FILE, for this machine has no list of authorities to trust")
        return self

    @model_validator(mode="after")
    def _check_pair(self) -> TlsSection:
        if self.cert is None:
            if self.key is not None:
                raise PlacedError("key", "is of no use without its certificate; write cert: FILE, or remove the key")
            return self
        if self.key is None and not holds_key(self.cert):
            raise PlacedError("cert", f"{self.cert} holds no private key; write key: FILE for it")
        try:
            check_key(self.key or self.cert, self.cert)
        except ValueError as error:
            raise PlacedError("cert" if self.key is None else "key", str(error)) from None
        return self

    def settings(self) -> Tls:
        """Return what it says, with the machine's own authorities where it names none."""
        ca = self.ca or (None if self.verify == "none" else authorities())
        return Tls(self.verify, ca, self.cert, self.key or self.cert)


class ServerSection(Section):
    """One database server."""

    url: fields.Url
    password: fields.Password = None
    # An empty section asks for TLS all the same.
    tls: Annotated[TlsSection | None, BeforeValidator(fields.read_mapping)] = None
    interval: fields.Duration = 15.0
    timeout: fields.OptionalDuration = None
    stale_after: fields.Duration = 600.0
    pools: Annotated[
        list[Annotated[str, fields.read(str, "the name of a pool")]], BeforeValidator(fields.read_list)
    ] = []

    @field_validator("tls")
    @classmethod
    def _check_tls(cls, tls: TlsSection, info: ValidationInfo) -> TlsSection:
        url = info.data.get("url")
        if url is not None:
            values.check_tls_url(url)
            key = tls.settings().key
            if values.family_of(url) == "postgresql" and key is not None and is_open(key):
                name = "cert" if tls.key is None else "key"
                raise PlacedError(name, f"{key} is open to others than its owner, so libpq refuses it; chmod 600 it")
        return tls

    @field_validator("interval")
    @classmethod
    def _check_interval(cls, interval: float) -> float:
        if interval < _SHORTEST_INTERVAL:
            raise ValueError(f"{interval:g} seconds burden the server; an interval is at least 100ms")
        return interval

    @field_validator("timeout")
    @classmethod
    def _check_timeout(cls, timeout: float, info: ValidationInfo) -> float:
        interval = info.data.get("interval")
        if interval is not None and timeout >= interval:
            raise ValueError(f"must be less than the interval of {interval:g}s, not {timeout:g}s")
        return timeout

    def patience(self) -> float:
        """Return the timeout; by default 5 seconds, or half of an interval that is shorter than twice that."""
        return min(_DEFAULT_TIMEOUT, self.interval / 2) if self.timeout is None else self.timeout


class RootSection(Section):
    """The whole file."""

    web: WebSection = WebSection()
    processes: ProcessesSection = ProcessesSection()
    leak_after: fields.Duration = 60.0
    servers: Annotated[
        dict[Annotated[str, BeforeValidator(values.server_name)], ServerSection], BeforeValidator(fields.read_mapping)
    ] = Field(default_factory=dict)


SECTIONS: Mapping[str, type[Section]] = {
    "": RootSection,
    "web": WebSection,
    "processes": ProcessesSection,
    "servers.NAME": ServerSection,
    "servers.NAME.tls": TlsSection,
}
"""Every section by its path in the file."""


def check(document: Document, surroundings: Surroundings) -> tuple[RootSection | None, list[Fault]]:
    """Hold a document against the shape; return the checked sections, or None and every fault."""
    faults = list(document.faults)
    if document.value is None:
        faults.append(Fault(1, "", "the file is empty; see config.example.yaml for what belongs there"))
    elif isinstance(document.value, dict) and all(document.value.get(key) in (None, {}) for key in _WATCHED):
        faults.append(_fault(document, ("servers",), "is missing; name at least one server, or a processes.directory"))
    try:
        root = RootSection.model_validate(document.value, context=surroundings)
    except ValidationError as error:
        found = error.errors(include_url=False, include_input=False)
        for each in found:
            cause = each.get("ctx", {}).get("error")
            if isinstance(cause, WebFileError):
                faults += cause.faults
            elif not isinstance(cause, RefusedError):
                faults.append(_translate(each, document))
        return None, faults
    return (None if faults else root), faults


def _translate(error: Any, document: Document) -> Fault:
    keys: Keys = error["loc"]
    cause = error.get("ctx", {}).get("error")
    if isinstance(cause, PlacedError):
        keys = (*keys, cause.key)
    if error["type"] == "extra_forbidden" and ":" in str(keys[-1]):
        # Not repeated: without a blank after its colon, a password is a part of the key.
        return replace(_fault(document, keys, NO_BLANK, of_key=True), path=dotted(keys[:-1]))
    if error["type"] == "extra_forbidden":
        return _fault(document, keys, _unknown(keys), of_key=True)
    if error["type"] == "missing":
        return _fault(document, keys, f"is missing; write {keys[-1]}: {values.DATABASE_URL}")
    if len(keys) == 3 and keys[-1] == "[key]":
        return _fault(document, keys[:2], str(cause), of_key=True)
    return _fault(document, keys, str(cause))


def _fault(document: Document, keys: Keys, message: str, *, of_key: bool = False) -> Fault:
    # What is missing has no place of its own: the key above it is where to write it.
    place = document.keys.get(keys) if of_key else document.values.get(keys)
    for end in range(len(keys) - 1, 0, -1):
        place = place or document.keys.get(keys[:end])
    place = place or Place()
    return Fault(place.line, dotted(keys), message, place.column)


def _unknown(keys: Keys) -> str:
    above = ["NAME" if keys[0] == "servers" and depth == 1 else str(key) for depth, key in enumerate(keys[:-1])]
    known = list(SECTIONS[".".join(above)].model_fields)
    for elsewhere, shape in SECTIONS.items():
        if keys[-1] in shape.model_fields:
            return f"unknown key; {keys[-1]} belongs {f'under {elsewhere}' if elsewhere else 'at the top of the file'}"
    near = difflib.get_close_matches(str(keys[-1]), known, n=1)
    return f"unknown key; did you mean {near[0]}?" if near else f"unknown key; known here are {', '.join(known)}"
