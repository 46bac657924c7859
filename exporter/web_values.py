"""The values of a web configuration: a text in, what it means out, or a ValueError that says what to write.

No sentence made here shows a password or its hash.
"""

from __future__ import annotations

import re
import ssl
from collections.abc import Callable, Mapping

from exporter.values import shown
from exporter.web_tls import CIPHERS, CURVES, NOT_HERE, ClientAuth

DEAREST = 14
"""The highest cost of a hash: 2**14 rounds take about a second, and each step doubles that."""

_LONGEST_HEADER = 4096
_LONGEST_DURATION = 60  # characters
_UNITS = {"ns": 1e-9, "us": 1e-6, "\N{MICRO SIGN}s": 1e-6, "\N{GREEK SMALL LETTER MU}s": 1e-6,
          "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}  # fmt: skip
_PART = r"(\d+\.?\d*|\.\d+)(ns|us|\u00b5s|\u03bcs|ms|s|m|h)"
_TLS13 = ("TLS_AES_128_GCM_SHA256", "TLS_AES_256_GCM_SHA384", "TLS_CHACHA20_POLY1305_SHA256")
_OLD_SUITES = frozenset(
    {"TLS_RSA_WITH_AES_128_CBC_SHA", "TLS_RSA_WITH_AES_256_CBC_SHA",
     "TLS_RSA_WITH_AES_128_GCM_SHA256", "TLS_RSA_WITH_AES_256_GCM_SHA384"}
)  # fmt: skip
_AUTH: Mapping[str, ClientAuth] = {
    "NoClientCert": "none",
    # It asks for a certificate and looks at none: what is not looked at need not be asked for.
    "RequestClientCert": "none",
    "VerifyClientCertIfGiven": "if_given",
    "RequireAndVerifyClientCert": "required",
}


def password_hash(text: str) -> bytes:
    """Read a bcrypt hash."""
    if re.fullmatch(r"\$2[aby]\$(0[4-9]|[12]\d|3[01])\$[./A-Za-z0-9]{53}", text) is None:
        raise ValueError(
            f"is no bcrypt hash such as htpasswd -nBC 10 makes ($2y$10$ and 53 characters); others are {NOT_HERE}"
        )
    if int(text[4:6]) > DEAREST:
        raise ValueError(f"has a cost of {text[4:6]}, and each login would take seconds; above {DEAREST} is {NOT_HERE}")
    return text.encode()


def client_auth(text: str) -> ClientAuth:
    """Read whether clients show a certificate."""
    if text in ("RequireAnyClientCert", "RequireClientCert"):
        raise ValueError(
            f"{text} would let in whoever makes a certificate for himself, and is {NOT_HERE}; write "
            "RequireAndVerifyClientCert, and client_ca_file with the authority"
        )
    if text not in _AUTH:
        raise ValueError(f"{shown(text)} is not known; write {', '.join(_AUTH)}")
    return _AUTH[text]


def version(text: str) -> ssl.TLSVersion:
    """Read a version of TLS."""
    if text in ("TLS10", "TLS11"):
        raise ValueError(f"{text} is broken since years, and {NOT_HERE}; write TLS12 or TLS13")
    if text not in ("TLS12", "TLS13"):
        raise ValueError(f"{shown(text)} is no version; write TLS12 or TLS13")
    return ssl.TLSVersion.TLSv1_2 if text == "TLS12" else ssl.TLSVersion.TLSv1_3


def cipher(text: str) -> str:
    """Read a suite by Go's name; return OpenSSL's, and nothing for those of TLS 1.3, which nobody can choose."""
    if text in _OLD_SUITES:
        raise ValueError(f"{text} lets old records be read once the key is known, and is {NOT_HERE}; remove it")
    if text not in CIPHERS and text not in _TLS13:
        raise ValueError(f"{shown(text)} is no suite that is known; known are {', '.join((*_TLS13, *CIPHERS))}")
    return CIPHERS.get(text, "")


def curve(text: str) -> str:
    """Read a curve by Go's name; return OpenSSL's."""
    if text not in CURVES:
        raise ValueError(f"{shown(text)} is no curve that is known; known are {', '.join(CURVES)}")
    return CURVES[text]


def rate_interval(text: str) -> float:
    """Read a duration as Go writes them, or nanoseconds, as seconds."""
    if len(text) > _LONGEST_DURATION:  # before the pattern, which takes quadratic time
        return _no_duration(text)
    if re.fullmatch(r"[0-9]+", text):
        return int(text) * 1e-9 if len(text) < 19 else _no_duration(text)
    if re.fullmatch(rf"\+?(?:{_PART})+", text) is None:
        return _no_duration(text)
    return sum(float(number) * _UNITS[unit] for number, unit in re.findall(_PART, text))


def whole_number(text: str) -> int:
    """Read a whole number."""
    if re.fullmatch(r"[0-9]{1,9}", text) is None or (text[0] == "0" and len(text) > 1):
        raise ValueError(f"{shown(text)} is no whole number such as 5; others are {NOT_HERE}")
    return int(text)


def _no_duration(text: str) -> float:
    raise ValueError(f"{shown(text)} is no duration such as 100ms or 1s; others are {NOT_HERE}")


def _header(text: str) -> str:
    if len(text) > _LONGEST_HEADER or not text.isascii() or not text.isprintable() or text != text.strip():
        raise ValueError(f"is no value of a header: printable ASCII in one line; others are {NOT_HERE}")
    return text


def _one_of(*values: str) -> Callable[[str], str]:
    def read(text: str) -> str:
        if text not in values:
            raise ValueError(f"must be {' or '.join(values)}, not {shown(text)}")
        return text

    return read


HEADERS: Mapping[str, Callable[[str], str]] = {
    "Content-Security-Policy": _header,
    "Strict-Transport-Security": _header,
    "X-Content-Type-Options": _one_of("nosniff"),
    "X-Frame-Options": _one_of("deny", "sameorigin"),
    "X-XSS-Protection": _header,
}
"""The headers that may be set, each with what reads its value."""
