"""The fields of a configuration: what the file says in, what it means out, or a ValueError that says what to write."""

from __future__ import annotations

import stat
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, cast

from pydantic import BeforeValidator, SecretStr, ValidationInfo
from sqlalchemy.engine import URL

from exporter import tls, values, web_file
from exporter.yaml_nodes import Refused, Tagged

_PEM = "the path of a file in PEM form"


@dataclass(frozen=True)
class Surroundings:
    """What a configuration is read among.

    Secrets come from the environment variables, relative paths begin at the folder, and ``offers`` are the families of
    servers that others bring along.
    """

    environment: Mapping[str, str]
    folder: Path
    offers: values.Offers


class RefusedError(ValueError):
    """The place has its fault already."""


class PlacedError(ValueError):
    """A fault that is found by looking at a whole section, and belongs to one of its keys."""

    def __init__(self, key: str, message: str) -> None:
        super().__init__(message)
        self.key = key


def read(reader: Callable[[str], Any], wanted: str) -> BeforeValidator:
    """Return the validator that reads a text with ``reader``; ``wanted`` says what to write."""
    return BeforeValidator(lambda value: reader(_text(value, wanted)))


def read_mapping(value: Any) -> dict[str, Any]:
    """Read a section; one whose keys are all commented out is an empty section, not a fault."""
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise _misfit(value, "a mapping of keys")
    return value


def read_list(value: Any) -> list[Any]:
    """Read a list."""
    if not isinstance(value, list):
        raise _misfit("" if value is None else value, "a list such as [orders*, billing]")
    return value


def _url(value: Any, info: ValidationInfo) -> URL:
    return values.database_url(_text(value, values.DATABASE_URL), offers=_surroundings(info).offers)


def _password(value: Any, info: ValidationInfo) -> SecretStr:
    if value is Refused.REFUSED:
        raise RefusedError
    where = _surroundings(info)
    return SecretStr(values.secret(value, environment=where.environment, folder=where.folder))


def _directory(value: Any, info: ValidationInfo) -> Path:
    path = _surroundings(info).folder.absolute() / _text(value, "a directory such as /run/pool-exporter")
    try:
        is_other = not stat.S_ISDIR(path.stat().st_mode)
    except FileNotFoundError:
        is_other = False  # the applications may make it later
    except OSError as error:
        raise ValueError(
            f"cannot look at {path}: {error.strerror}; write a directory that this process may read"
        ) from None
    if is_other:
        raise ValueError(f"{path} is not a directory; write the POOL_EXPORTER_DIR of the instrumented processes")
    return path


def _web_file(value: Any, info: ValidationInfo) -> Path:
    """Read the path of a web configuration, which must be good as well."""
    path = _surroundings(info).folder.absolute() / _text(value, "the path of a web configuration such as web.yml")
    try:
        web_file.read(path)
    except OSError as error:
        raise ValueError(f"cannot read {path}: {error.strerror}; make the file readable to this process") from None
    return path


def _users(value: Any) -> frozenset[int] | None:
    """Read whose files are taken; None, for ``any``, stands for everybody's."""
    if value == "any":
        return None
    if not isinstance(value, list):
        raise _misfit("" if value is None else value, "a list of users such as [shop, 1000], or any")
    return frozenset(values.user_id(_text(user, "the name or number of a user")) for user in value)


def _pem_file(value: Any, info: ValidationInfo) -> Path:
    path = _surroundings(info).folder.absolute() / _text(value, _PEM)
    tls.check_file(path)
    return path


def _certificates(value: Any, info: ValidationInfo) -> Path:
    path = _pem_file(value, info)
    tls.check_certificates(path)
    return path


def _text(value: Any, wanted: str) -> str:
    if isinstance(value, str) and value.strip():
        return value
    if value is None or isinstance(value, str):
        raise ValueError(f"is empty; write {wanted}, or remove the key")
    raise _misfit(value, wanted)


def _misfit(value: Any, wanted: str) -> ValueError:
    if value is Refused.REFUSED:
        return RefusedError()
    if isinstance(value, Tagged) and value.tag in ("!env", "!file"):
        return ValueError(f"{value.tag} is read under password only; write {wanted}")
    if isinstance(value, Tagged):
        return ValueError(f"the tag {values.shown(value.tag)} is not known here; write {wanted}")
    kind = "a mapping" if isinstance(value, dict) else "a list" if isinstance(value, list) else "a text"
    return ValueError(f"must be {wanted}, not {kind}")


def _surroundings(info: ValidationInfo) -> Surroundings:
    return cast("Surroundings", info.context)


# `X | None` alone would let an empty key pass as if it were not there, so each of these reads what it is given.
Url = Annotated[URL, BeforeValidator(_url)]
Password = Annotated[SecretStr | None, BeforeValidator(_password)]
Directory = Annotated[Path | None, BeforeValidator(_directory)]
Users = Annotated[frozenset[int] | None, BeforeValidator(_users)]
Switch = Annotated[bool, read(values.switch, "true or false")]
WebFile = Annotated[Path | None, BeforeValidator(_web_file)]
PemFile = Annotated[Path | None, BeforeValidator(_pem_file)]
Certificates = Annotated[Path | None, BeforeValidator(_certificates)]
Duration = Annotated[float, read(values.duration, values.DURATION)]
OptionalDuration = Annotated[float | None, read(values.duration, values.DURATION)]
Verify = Annotated[tls.Verify, read(values.verify, values.VERIFY)]
