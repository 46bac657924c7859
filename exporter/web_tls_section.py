"""The section ``tls_server_config`` of a web configuration."""

from __future__ import annotations

import ssl

from exporter.web_reader import Reader, Section
from exporter.web_tls import NOT_HERE, PartError, WebTls, context
from exporter.web_values import cipher, client_auth, curve, version

_SWITCHES_IT_ON = ("cert", "cert_file", "key", "key_file", "client_ca", "client_ca_file", "client_auth_type")
_REST = (
    "min_version", "max_version", "cipher_suites", "curve_preferences", "prefer_server_cipher_suites",
    "client_allowed_sans",
)  # fmt: skip


def read_tls(reader: Reader, section: Section) -> WebTls | None:
    """Read the section and try what comes out; None where it asks for no TLS, or is faulty."""
    section.known((*_SWITCHES_IT_ON, *_REST))
    before = len(reader.faults)
    found = _settings(section)
    if not any(map(section.has, _SWITCHES_IT_ON)):
        for name in filter(section.has, _REST):
            section.fault(
                name, f"without cert_file and key_file there is no TLS to set up; {NOT_HERE}, remove it", of_key=True
            )
        return None
    for part in ("cert", "key"):
        if not (section.has(part) or section.has(f"{part}_file")):
            section.fault(f"{part}_file", "is missing; TLS needs cert_file and key_file")
    _check_clients(section, found)
    if len(reader.faults) == before:
        _try(section, found)
    return found if len(reader.faults) == before else None


def _settings(section: Section) -> WebTls:
    suites = section.texts("cipher_suites", cipher) or ()
    ciphers = tuple(filter(None, suites))
    minimum = section.read("min_version", version, ssl.TLSVersion.TLSv1_2)
    maximum = section.read("max_version", version, ssl.TLSVersion.TLSv1_3)
    if suites and not ciphers:
        minimum = ssl.TLSVersion.TLSv1_3  # none of theirs is left to those who speak 1.2
    if minimum > maximum:
        section.fault("max_version", f"leaves no version and no suite to speak; {NOT_HERE}, write TLS13")
    names = section.texts("client_allowed_sans", str)
    return WebTls(
        cert=section.pem("cert", "cert_file"),
        key=section.pem("key", "key_file"),
        client_auth=section.read("client_auth_type", lambda text: client_auth(text) if text else "none", "none"),
        client_ca=section.pem("client_ca", "client_ca_file").decode("ascii", "ignore"),
        names=None if names is None else frozenset(names),
        minimum=minimum,
        maximum=maximum,
        ciphers=ciphers,
        curve=_curve(section),
        server_chooses=section.switch("prefer_server_cipher_suites", default=True),
    )


def _curve(section: Section) -> str | None:
    curves = section.texts("curve_preferences", curve) or ()
    if len(curves) > 1:
        section.fault("curve_preferences", f"more than one curve is {NOT_HERE}; write one, or remove the key")
    return curves[0] if curves else None


def _check_clients(section: Section, found: WebTls) -> None:
    asked = section.has("client_ca") or section.has("client_ca_file")
    if asked and found.client_auth == "none":
        section.fault("client_auth_type", "must say what client_ca is for; write RequireAndVerifyClientCert")
    if found.client_auth != "none" and not asked:
        section.fault(
            "client_auth_type", f"without client_ca_file any authority of the world would do; {NOT_HERE}, write one"
        )
    if found.names is not None and found.client_auth != "required":
        section.fault(
            "client_allowed_sans", "needs client_auth_type: RequireAndVerifyClientCert, or a client may show no name"
        )


def _try(section: Section, found: WebTls) -> None:
    try:
        context(found)
    except PartError as error:
        name = "curve_preferences" if error.part == "curve" else error.part
        section.fault(f"{name}_file" if section.has(f"{name}_file") else name, str(error))
