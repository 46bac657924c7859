"""TLS as each driver wants to be told of it, and its failures in words that name it."""

from __future__ import annotations

import re
import ssl
from collections.abc import Mapping

from exporter.servers.family import SampleError
from exporter.tls import Tls, context

ANYBODY = Tls(verify="none")
"""TLS with whoever answers."""

_MODES = {"full": "verify-full", "ca": "verify-ca", "none": "require"}

# libpq takes what lies in ~/.postgresql for a file that is not named, and a name without a file for none.
_NO_FILE = "/dev/null/none"


def tls_context(tls: Tls) -> ssl.SSLContext:
    """Return the context for PyMySQL; raise SampleError when a file cannot be used any more."""
    try:
        return context(tls)
    except (OSError, ValueError) as error:
        raise SampleError("connect", f"TLS: {error}") from error


def libpq_options(tls: Tls) -> Mapping[str, str]:
    """Return the options for libpq, which reads the files itself."""
    return {
        "sslmode": _MODES[tls.verify],
        "sslrootcert": str(tls.ca or _NO_FILE),
        "sslcert": str(tls.cert or _NO_FILE),
        "sslkey": str(tls.key or _NO_FILE),
        # With a ticket of Kerberos at hand, libpq would rather encrypt by that, and verify no certificate.
        "gssencmode": "disable",
    }


def named(said: str) -> str:
    """Put TLS in front of what a driver says of it."""
    return f"TLS: {said}" if re.search(r"\bSSL|\bTLS|certificate", said) else said
