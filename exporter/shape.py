"""The shape of a configuration: which keys there are, what each holds, and what to say of all that does not fit."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, cast

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SecretStr,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)
from sqlalchemy.engine import URL

from exporter import values
from exporter.yaml_nodes import Document, Fault, Keys, Place, Refused, Tagged, dotted

_WATCHED = ("servers", "processes")
_SHORTEST_INTERVAL = 0.1
_DEFAULT_TIMEOUT = 5.0


@dataclass(frozen=True)
class Surroundings:
    """Where secrets come from: the environment variables, and the folder that relative paths begin at."""

    environment: Mapping[str, str]
    folder: Path


class _RefusedError(ValueError):
    """The place has its fault already."""


def _text(value: Any, wanted: str) -> str:
    if isinstance(value, str) and value.strip():
        return value
    if value is None or isinstance(value, str):
        raise ValueError(f"is empty; write {wanted}, or remove the key")
    raise _misfit(value, wanted)


def _misfit(value: Any, wanted: str) -> ValueError:
    if value is Refused.REFUSED:
        return _RefusedError()
    if isinstance(value, Tagged) and value.tag in ("!env", "!file"):
        return ValueError(f"{value.tag} is read under password only; write {wanted}")
    if isinstance(value, Tagged):
        return ValueError(f"the tag {values.shown(value.tag)} is not known here; write {wanted}")
    kind = "a mapping" if isinstance(value, dict) else "a list" if isinstance(value, list) else "a text"
    return ValueError(f"must be {wanted}, not {kind}")


def _read(read: Callable[[str], Any], wanted: str) -> BeforeValidator:
    return BeforeValidator(lambda value: read(_text(value, wanted)))


def _mapping(value: Any) -> dict[str, Any]:
    # A section whose keys are all commented out is an empty section, not a fault.
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise _misfit(value, "a mapping of keys")
    return value


def _list(value: Any) -> list[Any]:
    if not isinstance(value, list):
        raise _misfit("" if value is None else value, "a list such as [orders*, billing]")
    return value


def _password(value: Any, info: ValidationInfo) -> SecretStr:
    if value is Refused.REFUSED:
        raise _RefusedError
    where = cast("Surroundings", info.context)
    return SecretStr(values.secret(value, environment=where.environment, folder=where.folder))


def _not_yet(_value: Any) -> None:
    raise ValueError("TLS and basic auth are not built yet; remove the key, and put a proxy with TLS in front")


def _directory(value: Any, info: ValidationInfo) -> Path:
    where = cast("Surroundings", info.context)
    path = where.folder.absolute() / _text(value, "a directory such as /run/pool-exporter")
    if path.exists() and not path.is_dir():
        raise ValueError(f"{path} is not a directory; write the POOL_EXPORTER_DIR of the instrumented processes")
    return path


def _users(value: Any) -> frozenset[int] | None:
    """Read whose files are taken; None, for ``any``, stands for everybody's."""
    if value == "any":
        return None
    if not isinstance(value, list):
        raise _misfit("" if value is None else value, "a list of users such as [shop, 1000], or any")
    return frozenset(values.user_id(_text(user, "the name or number of a user")) for user in value)


Duration = Annotated[float, _read(values.duration, values.DURATION)]


class Section(BaseModel):
    """A mapping with known keys only."""

    model_config = ConfigDict(extra="forbid", frozen=True, arbitrary_types_allowed=True, hide_input_in_errors=True)

    _check_mapping = model_validator(mode="before")(_mapping)


class WebSection(Section):
    """Where the page is served."""

    listen: Annotated[tuple[str, int], _read(values.address, values.ADDRESS)] = ("127.0.0.1", 10306)
    config_file: Annotated[None, BeforeValidator(_not_yet)] = None


class ProcessesSection(Section):
    """Where the instrumented processes publish."""

    directory: Annotated[Path | None, BeforeValidator(_directory)] = None
    users: Annotated[frozenset[int] | None, BeforeValidator(_users)] = frozenset()
    per_process: Annotated[bool, _read(values.switch, "true or false")] = False


class ServerSection(Section):
    """One database server."""

    url: Annotated[URL, _read(values.database_url, values.DATABASE_URL)]
    password: Annotated[SecretStr | None, BeforeValidator(_password)] = None
    interval: Duration = 15.0
    # `Duration | None` would let an empty key pass as if it were not there.
    timeout: Annotated[float | None, _read(values.duration, values.DURATION)] = None
    stale_after: Duration = 600.0
    pools: Annotated[list[Annotated[str, _read(str, "the name of a pool")]], BeforeValidator(_list)] = []

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
    leak_after: Duration = 60.0
    servers: Annotated[
        dict[Annotated[str, BeforeValidator(values.server_name)], ServerSection], BeforeValidator(_mapping)
    ] = Field(default_factory=dict)


SECTIONS: Mapping[str, type[Section]] = {
    "": RootSection,
    "web": WebSection,
    "processes": ProcessesSection,
    "servers.NAME": ServerSection,
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
        faults += [_translate(each, document) for each in found if not _is_refused(each)]
        return None, faults
    return (None if faults else root), faults


def _is_refused(error: Any) -> bool:
    return isinstance(error.get("ctx", {}).get("error"), _RefusedError)


def _translate(error: Any, document: Document) -> Fault:
    keys: Keys = error["loc"]
    if error["type"] == "extra_forbidden":
        return _fault(document, keys, _unknown(keys), of_key=True)
    if error["type"] == "missing":
        return _fault(document, keys, f"is missing; write {keys[-1]}: {values.DATABASE_URL}")
    if len(keys) == 3 and keys[-1] == "[key]":
        return _fault(document, keys[:2], str(error["ctx"]["error"]), of_key=True)
    return _fault(document, keys, str(error["ctx"]["error"]))


def _fault(document: Document, keys: Keys, message: str, *, of_key: bool = False) -> Fault:
    # What is missing has no place of its own: the key above it is where to write it.
    place = document.keys.get(keys) if of_key else document.values.get(keys)
    for end in range(len(keys) - 1, 0, -1):
        place = place or document.keys.get(keys[:end])
    place = place or Place()
    return Fault(place.line, dotted(keys), message, place.column)


def _unknown(keys: Keys) -> str:
    section = "" if len(keys) == 1 else "servers.NAME" if keys[0] == "servers" else str(keys[0])
    known = list(SECTIONS[section].model_fields)
    for elsewhere, shape in SECTIONS.items():
        if keys[-1] in shape.model_fields:
            return f"unknown key; {keys[-1]} belongs {f'under {elsewhere}' if elsewhere else 'at the top of the file'}"
    near = difflib.get_close_matches(str(keys[-1]), known, n=1)
    return f"unknown key; did you mean {near[0]}?" if near else f"unknown key; known here are {', '.join(known)}"
