"""TLS to a database server: whom to trust, what to show, and the files that both lie in."""

from __future__ import annotations

import functools
import re
import ssl
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

Verify = Literal["full", "ca", "none"]
"""What a server's certificate is held against: authority and name, authority, or nothing."""

_LARGEST = 4 * 1024 * 1024  # bytes; a machine's whole list of authorities is a quarter of a megabyte
_KEPT = 64
_PEM = re.compile(r"-----BEGIN|\n|[A-Za-z0-9+/]{64}")
_NO_CERTIFICATE = "holds no certificate in PEM form, or a broken one; it begins with -----BEGIN CERTIFICATE-----"

# Where Debian, Red Hat and Alpine keep the list, for a Python that was built elsewhere.
_LISTS = ("/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/cert.pem")


@dataclass(frozen=True)
class Tls:
    """How to speak TLS to a server, which must do so too: nothing is ever sent to one that does not.

    ``ca`` are the authorities to trust, None with ``verify`` none only; ``cert`` and ``key`` are ours, both or neither.
    """

    verify: Verify = "full"
    ca: Path | None = None
    cert: Path | None = None
    key: Path | None = None


def context(tls: Tls) -> ssl.SSLContext:
    """Return the context of a connection, made anew when a file has changed; raise OSError or ValueError."""
    files = (path for path in (tls.ca, tls.cert, tls.key) if path is not None)
    # Renewed certificates are mostly links that are turned, with a time stamp that may be older than the last.
    return _context(tls, tuple((found.st_ino, found.st_mtime_ns, found.st_size) for found in map(Path.stat, files)))


def authorities() -> Path | None:
    """Return the file with the authorities that this machine trusts, or None where there is none."""
    found = (ssl.get_default_verify_paths().cafile, *_LISTS)
    return next((path for path in map(Path, filter(None, found)) if path.is_file()), None)


def check_file(path: Path) -> None:
    """Raise ValueError unless a file is one that can be read, and small enough to hold certificates."""
    try:
        found = path.stat()
        # Opening a pipe would wait for whoever writes into it.
        if not stat.S_ISREG(found.st_mode):
            raise ValueError(f"{path} is no file; write the path of a file in PEM form")
        with path.open("rb"):
            pass
    except OSError as error:
        if _PEM.search(str(path)):
            # Not repeated: it may be a key.
            raise ValueError("is no path but what belongs into a file; write the path of that file") from None
        raise ValueError(f"cannot read {path}: {error.strerror}; make the file readable to this process") from None
    if found.st_size > _LARGEST:
        raise ValueError(f"{path} has {found.st_size} bytes, too many for certificates; write the path of another file")


def check_certificates(path: Path) -> None:
    """Raise ValueError unless a file holds certificates."""
    probe = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    try:
        probe.load_verify_locations(cafile=path)
    except ssl.SSLError:
        raise ValueError(f"{path} {_NO_CERTIFICATE}") from None
    if not probe.cert_store_stats()["x509"]:  # a list of revoked ones, say
        raise ValueError(f"{path} {_NO_CERTIFICATE}")


def check_key(key: Path, cert: Path) -> None:
    """Raise ValueError unless a file holds the private key of a certificate."""
    probe = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    try:
        probe.load_cert_chain(cert, key, password=_no_passphrase)
    except ValueError as error:
        raise ValueError(f"{key} {error}") from None
    except ssl.SSLError as error:
        if error.reason in ("KEY_VALUES_MISMATCH", "KEY_TYPE_MISMATCH"):
            raise ValueError(
                f"{key} is not the key of the certificate in {cert}; write the one it was made with"
            ) from None
        raise ValueError(
            f"{key} holds no private key in PEM form; it begins with -----BEGIN PRIVATE KEY-----"
        ) from None


def holds_key(path: Path) -> bool:
    """Tell whether a file has a private key beside whatever else it holds."""
    return b"PRIVATE KEY-----" in path.read_bytes()


def is_open(path: Path) -> bool:
    """Tell whether others than its owner may read or change a key, as far as libpq minds; root's may have a group."""
    found = path.stat()
    shared = stat.S_IWGRP | stat.S_IXGRP if found.st_uid == 0 else stat.S_IRWXG
    return bool(found.st_mode & (shared | stat.S_IRWXO))


@functools.lru_cache(maxsize=_KEPT)
def _context(tls: Tls, _stamps: tuple[tuple[int, int, int], ...]) -> ssl.SSLContext:
    # Not create_default_context: that reads the machine's authorities too, which takes 20 ms, and from Python 3.13 on
    # refuses the certificates that MySQL makes for itself.
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    made.check_hostname = tls.verify == "full"
    made.verify_mode = ssl.CERT_NONE if tls.verify == "none" else ssl.CERT_REQUIRED
    if tls.ca is not None:
        made.load_verify_locations(cafile=tls.ca)
    if tls.cert is not None:
        made.load_cert_chain(tls.cert, tls.key, password=_no_passphrase)
    return made


def _no_passphrase() -> str:
    # Without an answer of ours, OpenSSL would ask on the terminal.
    raise ValueError("is encrypted; write the key without a passphrase, readable to nobody else")
