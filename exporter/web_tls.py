"""TLS for the page: what a server shows, whom it asks for a certificate, and the context that does both."""

from __future__ import annotations

import contextlib
import ipaddress
import os
import ssl
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

ClientAuth = Literal["none", "if_given", "required"]  # the weakest first
"""Whether a client shows a certificate, which is verified in any case."""

CIPHERS: Mapping[str, str] = {
    **{f"TLS_ECDHE_{kind}_WITH_AES_{bits}_CBC_SHA": f"ECDHE-{kind}-AES{bits}-SHA"
       for kind in ("ECDSA", "RSA") for bits in (128, 256)},
    **{f"TLS_ECDHE_{kind}_WITH_AES_{bits}_GCM_SHA{digest}": f"ECDHE-{kind}-AES{bits}-GCM-SHA{digest}"
       for kind in ("ECDSA", "RSA") for bits, digest in ((128, 256), (256, 384))},
    **{f"TLS_ECDHE_{kind}_WITH_CHACHA20_POLY1305_SHA256": f"ECDHE-{kind}-CHACHA20-POLY1305"
       for kind in ("ECDSA", "RSA")},
}  # fmt: skip
"""The suites of TLS 1.2 by the names that Go gives them, and OpenSSL."""

CURVES: Mapping[str, str] = {
    "CurveP256": "prime256v1", "CurveP384": "secp384r1", "CurveP521": "secp521r1", "X25519": "X25519"
}  # fmt: skip
"""Curves by the names that Go gives them, and OpenSSL."""

NOT_HERE = "not supported here"
"""Stands in every refusal of what Prometheus' own programs would take."""


class PartError(ValueError):
    """What is wrong with one part: ``cert``, ``key``, ``client_ca`` or ``curve``."""

    def __init__(self, part: str, message: str) -> None:
        super().__init__(message)
        self.part = part


@dataclass(frozen=True)
class WebTls:
    """How the page speaks TLS. ``cert`` and ``key`` are in PEM form; without ``ciphers`` OpenSSL's own are offered.

    ``names`` are the ones of which a client's certificate must have at least one; None lets all in.
    """

    cert: bytes
    key: bytes = field(repr=False)
    client_auth: ClientAuth = "none"
    client_ca: str = ""
    names: frozenset[str] | None = None
    minimum: ssl.TLSVersion = ssl.TLSVersion.TLSv1_2
    maximum: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3
    ciphers: tuple[str, ...] = ()
    curve: str | None = None
    server_chooses: bool = True

    @property
    def strength(self) -> int:
        """Rank what clients must show: 0 is nothing."""
        return get_args(ClientAuth).index(self.client_auth)

    @property
    def lets_in(self) -> tuple[object, ...]:
        """Return what decides who comes in; what the server itself shows is no part of it."""
        return self.client_auth, self.client_ca, self.names


def context(tls: WebTls) -> ssl.SSLContext:
    """Make the context of a server; raise PartError when it cannot be."""
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    made.minimum_version, made.maximum_version = tls.minimum, tls.maximum
    made.set_alpn_protocols(["http/1.1"])
    # Renegotiation lets a client make the server work; compression lets it guess what is encrypted.
    made.options |= ssl.OP_NO_RENEGOTIATION | ssl.OP_NO_COMPRESSION
    if tls.server_chooses:
        made.options |= ssl.OP_CIPHER_SERVER_PREFERENCE
    else:
        made.options &= ~ssl.OP_CIPHER_SERVER_PREFERENCE
    if tls.ciphers:
        made.set_ciphers(":".join(tls.ciphers))
    _set_curve(made, tls.curve)
    _load(made, tls)
    if tls.client_auth != "none":
        _load_authorities(made, tls.client_ca)
        # Go takes every authority that it is given for a root.
        made.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
        made.verify_mode = ssl.CERT_REQUIRED if tls.client_auth == "required" else ssl.CERT_OPTIONAL
    return made


def admits(tls: WebTls, certificate: Mapping[str, Any] | None) -> bool:
    """Tell whether a client with this certificate, which OpenSSL has verified, has one of the names that are let in."""
    if tls.names is None:
        return True
    shown = (certificate or {}).get("subjectAltName", ())
    # A directory name, say, is no text but a tuple, and is never one that is let in.
    return not {_plain(name) for _, name in shown if isinstance(name, str)}.isdisjoint(map(_plain, tls.names))


def _plain(name: str) -> str:
    # OpenSSL writes IPv6 addresses in another way than everybody else.
    try:
        return str(ipaddress.ip_address(name.strip()))
    except ValueError:
        return name


def _set_curve(made: ssl.SSLContext, curve: str | None) -> None:
    try:
        if curve is not None:
            made.set_ecdh_curve(curve)
    except (ValueError, ssl.SSLError):
        raise PartError(
            "curve", f"the OpenSSL of this Python does not know the curve; {NOT_HERE}, write another"
        ) from None


def _load(made: ssl.SSLContext, tls: WebTls) -> None:
    try:
        # Not into our own store: what we show is no authority for clients.
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_verify_locations(cadata=tls.cert.decode("ascii", "ignore"))
    except (ssl.SSLError, ValueError):
        raise PartError(
            "cert", "holds no certificate in PEM form; it begins with -----BEGIN CERTIFICATE-----"
        ) from None
    try:
        with _as_file(tls.cert) as cert, _as_file(tls.key) as key:
            made.load_cert_chain(cert, key, password=_no_passphrase)
    except ssl.SSLError as error:
        if error.reason in ("KEY_VALUES_MISMATCH", "KEY_TYPE_MISMATCH"):
            raise PartError("key", "is not the key of the certificate; write the one it was made with") from None
        if str(error.reason).endswith(("TOO_SMALL", "TOO_WEAK")):
            raise PartError(
                "cert", f"is too weak for OpenSSL ({error.reason}); {NOT_HERE}, make a longer key"
            ) from None
        raise PartError("key", "is no private key in PEM form; it begins with -----BEGIN PRIVATE KEY-----") from None


def _load_authorities(made: ssl.SSLContext, pem: str) -> None:
    try:
        made.load_verify_locations(cadata=pem)
    except (ssl.SSLError, ValueError):
        raise PartError(
            "client_ca", f"holds no certificate in PEM form, so no client could come in; {NOT_HERE}, write one"
        ) from None


@contextlib.contextmanager
def _as_file(content: bytes) -> Iterator[str]:
    """Give a path to read this from: OpenSSL takes no key in any other way. Where it can, on no disk."""
    if hasattr(os, "memfd_create"):
        with open(os.memfd_create("pem"), "wb", buffering=0) as file:  # noqa: PTH123  it has no path yet
            file.write(content)
            yield f"/proc/self/fd/{file.fileno()}"
    else:
        with tempfile.NamedTemporaryFile() as file:
            file.write(content)
            file.flush()
            yield file.name


def _no_passphrase() -> str:
    # Without an answer of ours, OpenSSL would ask on the terminal.
    raise PartError("key", "is encrypted; write the key without a passphrase, readable to nobody else")
