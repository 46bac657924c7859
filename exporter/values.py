"""The values of a configuration: one text in, one checked value out, or a ValueError that says what to write.

No sentence made here shows a password, nor a text that may hold one.
"""

from __future__ import annotations

import difflib
import ipaddress
import pwd
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType

from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError

from exporter import files, options
from exporter.yaml_nodes import Tagged

DIALECTS: Mapping[str, tuple[str, str]] = {
    "mysql": ("mysql", "pymysql"),
    "mariadb": ("mysql", "pymysql"),
    "postgresql": ("postgresql", "psycopg"),
}
"""What a URL may begin with: the family of servers it belongs to, and the driver that we bring along for it."""

Offers = Mapping[str, Callable[[], object]]
"""Dialects whose families others bring along, each with what loads it: it raises ValueError when it cannot."""

NO_OFFERS: Offers = MappingProxyType({})

DURATION = "a duration such as 500ms, 15s, 5m or 1h"
ADDRESS = "HOST:PORT such as 127.0.0.1:10306, 0.0.0.0:10306 or '[::]:10306'"
DATABASE_URL = "mysql+pymysql://USER@HOST:PORT/ or postgresql+psycopg://USER@HOST:PORT/DATABASE"
SECRET = "!env NAME or !file PATH"  # noqa: S105  this is how a secret is written, not one

VERIFY = "full, ca or none"

# What may stand in a URL's query in place of a host: for PyMySQL the first two, for libpq the others.
_PLACES = frozenset({"unix_socket", "read_default_file", "host", "hostaddr", "service"})
# What of a URL's query says the same as a section of tls; for PyMySQL all that begins with ssl.
_LIBPQ_TLS = frozenset({"sslmode", "requiressl", "sslrootcert", "sslcert", "sslkey", "sslcertmode", "gssencmode"})
_NO_SERVER = {"sqlite": " (it is a file, and has no sessions to look at)"}
_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}
_YEAR = 365 * 24 * 3600.0
_LONGEST_SECRET = 4096
_LONGEST_NAME = 100


def duration(text: str) -> float:
    """Read ``500ms``, ``15s``, ``5m`` or ``1h`` as seconds: at least a millisecond, at most a year."""
    found = re.fullmatch(r"([0-9]+(?:\.[0-9]+)?)(ms|s|m|h)", text)
    if found is None:
        raise ValueError(f"{shown(text)} is no duration; write a number and its unit: 500ms, 15s, 5m or 1h")
    seconds = float(found[1]) * _SECONDS[found[2]]
    if not _SECONDS["ms"] <= seconds <= _YEAR:
        raise ValueError(f"{shown(text)} is out of range; a duration is at least 1ms and at most 8760h, a year")
    return round(seconds, 6)


def address(text: str) -> tuple[str, int]:
    """Read ``HOST:PORT``; an IPv6 address stands in brackets, and port 0 takes any free port."""
    found = re.fullmatch(r"(?:\[([^\]]*)\]|([^:\[\]]*)):([0-9]+)", text)
    host = "" if found is None else found[1] or found[2] or ""
    if found is None or not (_is_ipv6(host) if found[1] else _is_host(host)):
        raise ValueError(f"{shown(text)} is no address to listen on; write {ADDRESS}")
    if len(found[3]) > 5 or int(found[3]) > 65535:
        raise ValueError(f"{shown(text)} has a port beyond 65535; write {ADDRESS}")
    return host, int(found[3])


def database_url(text: str, *, offers: Offers = NO_OFFERS) -> URL:
    """Read a SQLAlchemy URL without a password, and put our driver into it; one of ``offers`` keeps its own."""
    head = text.partition("?")[0]
    user = head.partition("://")[2].partition("@")[0] if "@" in head else ""
    # SQLAlchemy takes USER/X:PASSWORD@HOST for a host and a database, and would show all of it.
    if " " in text or "/" in user.partition(":")[0] or head.count("@") > 1:
        raise ValueError(f"is no database URL; write {DATABASE_URL}, with @ / and spaces inside a part as %40 %2F %20")
    try:
        url = make_url(text)
    except (ArgumentError, ValueError):
        raise ValueError(f"is no database URL; write {DATABASE_URL}") from None
    if url.password is not None or any(_is_secret(key) for key in url.query):
        raise ValueError("holds a password; take it out, and write password: !env NAME under the url")
    if url.port is not None and not 0 < url.port < 65536:
        # Not repeated: of USER:PASSWORD/ without a host, it is the password.
        raise ValueError("the port is not between 1 and 65535; write the server's, or none for the usual one")
    if _load(url.get_backend_name(), offers):
        return url
    drivername = _drivername(url.drivername, offers)
    if not url.host and not _PLACES & url.query.keys():
        raise ValueError(f"names no host; write {DATABASE_URL}, or ?unix_socket=PATH (PostgreSQL: ?host=FOLDER)")
    options.check(url.set(drivername=drivername))
    return url.set(drivername=drivername)


def secret(value: object, *, environment: Mapping[str, str], folder: Path) -> str:
    """Fetch what ``!env NAME`` or ``!file PATH`` stands for; a relative path begins at ``folder``."""
    if value is None:
        raise ValueError(f"is empty; write {SECRET}, or remove the key")
    if not isinstance(value, Tagged) or value.tag not in ("!env", "!file"):
        raise ValueError(f"must not be written out here; write {SECRET}")
    return _from_environment(value.text, environment) if value.tag == "!env" else _from_file(value.text, folder)


def family_of(url: URL) -> str:
    """Return the family of servers that a URL's dialect belongs to."""
    backend = url.get_backend_name()
    return DIALECTS[backend][0] if backend in DIALECTS else backend


def verify(text: str) -> str:
    """Read how a server's certificate is verified."""
    if text in ("full", "ca", "none"):
        return text
    near = difflib.get_close_matches(text, ("full", "ca", "none"), n=1)
    raise ValueError(f"must be {VERIFY}, not {shown(text)}{f'; did you mean {near[0]}?' if near else ''}")


def check_tls_url(url: URL) -> None:
    """Raise ValueError when a section of tls contradicts the URL that it stands beside."""
    family = family_of(url)
    if family == "mysql":
        twice = sorted(key for key in url.query if key.startswith("ssl"))
    else:
        twice = sorted(_LIBPQ_TLS & url.query.keys()) if family == "postgresql" else []
    if twice:
        say = "says" if len(twice) == 1 else "say"
        raise ValueError(f"says what {' and '.join(twice)} in the url's query {say} too; remove it there")
    hosts = f"{url.host or ''},{','.join(url.normalized_query.get('host', ()))}".split(",")
    if family == "postgresql" and any(host.startswith(("/", "@")) for host in hosts):
        raise ValueError("PostgreSQL has no TLS on a Unix socket, which never leaves the machine; remove the section")


def server_name(text: str) -> str:
    """Check the name of a server, which becomes the value of the label ``server``."""
    if not text.strip() or text != text.strip() or len(text) > _LONGEST_NAME:
        raise ValueError(f"a server's name has 1 to {_LONGEST_NAME} characters and no space at either end")
    return text


def switch(text: str) -> bool:
    """Read true or false, as YAML writes them."""
    if text.lower() not in ("true", "false"):
        raise ValueError(f"must be true or false, not {shown(text)}")
    return text.lower() == "true"


def user_id(text: str) -> int:
    """Read the name or the number of a user of this machine; a number needs no entry in its list of users."""
    if text.isascii() and text.isdigit() and len(text) <= 10:
        return int(text)
    try:
        return pwd.getpwnam(text).pw_uid
    except KeyError:
        raise ValueError(f"this machine knows no user {shown(text)}; write a name that it knows, or a number") from None


def shown(text: str) -> str:
    """Quote a text for a message; one that is long or looks like a URL may hold a password and is only described."""
    return f"'{text}'" if len(text) <= 60 and "://" not in text else f"this text of {len(text)} characters"


def _is_secret(key: str) -> bool:
    return "passw" in key.lower() or key.lower() in ("pass", "pwd")


def _load(dialect: str, offers: Offers) -> bool:
    """Load the family of a dialect that others bring along; return False when there is none to load."""
    if dialect in DIALECTS or dialect not in offers:
        return False
    offers[dialect]()
    return True


def _drivername(given: str, offers: Offers) -> str:
    backend, _, driver = given.partition("+")
    supported = [*(f"{name}+{ours}" for name, (_, ours) in DIALECTS.items()), *sorted(offers.keys() - DIALECTS)]
    if backend not in DIALECTS:
        near = difflib.get_close_matches(backend, [*DIALECTS, *offers], n=1)
        more = f"did you mean {near[0]}? Supported are" if near else "supported are"
        why = _NO_SERVER.get(backend, "")
        raise ValueError(f"{shown(given)} is not supported{why}; {more} {', '.join(supported)}")
    ours = f"{backend}+{DIALECTS[backend][1]}"
    if driver and given != ours:
        raise ValueError(f"{shown(given)} is not supported; the driver that is used here is {ours}")
    return ours


def _from_environment(name: str, environment: Mapping[str, str]) -> str:
    # Neither is repeated: what is no usual name, and names nothing either, may be the password itself.
    if name not in environment and not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name):
        raise ValueError("!env needs the name of an environment variable, such as !env DB_PASSWORD")
    if not environment.get(name):
        state = "empty" if name in environment else "not set"
        raise ValueError(f"the environment variable {name} is {state}; set it to the password")
    try:
        environment[name].encode()
    except UnicodeEncodeError:
        raise ValueError(f"the environment variable {name} is not UTF-8; set it to the password in UTF-8") from None
    return environment[name]


def _from_file(name: str, folder: Path) -> str:
    if not name:
        raise ValueError("!file needs a path, such as !file /run/secrets/db_password")
    path = folder / name
    try:
        content = files.read(path)
        text = content.decode().rstrip("\r\n")
    except OSError as error:
        raise ValueError(f"cannot read {path}: {error.strerror}; make the file readable to this process") from None
    except UnicodeDecodeError:
        raise ValueError(f"{path} is not UTF-8; a password file holds one line of text") from None
    except files.UnfitError as error:
        raise ValueError(f"{path} {error}") from None
    if not text:
        raise ValueError(f"{path} is empty; write the password into it")
    if len(content) > _LONGEST_SECRET or "\n" in text:
        raise ValueError(
            f"{path} holds more than one line of {_LONGEST_SECRET} bytes; it should hold the password only"
        )
    return text


def _is_ipv6(host: str) -> bool:
    try:
        ipaddress.IPv6Address(host)
    except ValueError:
        return False
    return True


def _is_host(host: str) -> bool:
    try:
        ipaddress.IPv4Address(host)
    except ValueError:
        label = "[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?"
        named = re.fullmatch(rf"{label}(?:\.{label})*", host)
        # 256.1.1.1 and 127.1 are meant as addresses, and are wrong or surprising ones.
        return named is not None and not host.rpartition(".")[2].isdigit()
    return True
