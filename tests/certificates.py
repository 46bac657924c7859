"""Certificates for tests: a private authority, what it has signed for a server and for a client, and a stranger's."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from pathlib import Path

import trustme
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from exporter.demo.programs import server_account

CLIENT = "sampler"
"""The common name of the client's certificate."""


@dataclass(frozen=True)
class Certificates:
    """Files in PEM form. The server's is made out to localhost, and to no address."""

    ca: Path
    stranger: Path
    server_cert: Path
    server_key: Path
    client_cert: Path
    client_key: Path
    client_both: Path

    def for_server(self, folder: Path) -> tuple[Path, Path, Path]:
        """Copy authority, certificate and key to where the account that servers run as can read them."""
        # A worker may come back to a module that it has left, and then its fixtures are made again.
        folder.mkdir(exist_ok=True)
        copies = [Path(shutil.copy(path, folder)) for path in (self.ca, self.server_cert, self.server_key)]
        account = server_account()
        for path in (folder, *copies):
            path.chmod(0o700 if path == folder else 0o600)
            if account is not None:
                os.chown(path, account.pw_uid, account.pw_gid)
        return copies[0], copies[1], copies[2]


def make_certificates(folder: Path) -> Certificates:
    """Make them all in ``folder``; nobody but us can read the keys."""
    authority, stranger = trustme.CA(), trustme.CA()
    server = authority.issue_cert("localhost")
    client = authority.issue_cert("sampler.example", common_name=CLIENT)

    def write(name: str, *blobs: trustme.Blob) -> Path:
        path = folder / name
        path.touch(mode=0o600)
        path.write_bytes(b"".join(blob.bytes() for blob in blobs))
        return path

    return Certificates(
        ca=write("ca.pem", authority.cert_pem),
        stranger=write("stranger.pem", stranger.cert_pem),
        server_cert=write("server.pem", *server.cert_chain_pems),
        server_key=write("server.key", server.private_key_pem),
        client_cert=write("client.pem", *client.cert_chain_pems),
        client_key=write("client.key", client.private_key_pem),
        client_both=write("both.pem", client.private_key_and_cert_chain_pem),
    )


def with_directory_name(name: str, folder: Path) -> Path:
    """Make a client's certificate that has a directory name among its names, and is its own authority, with its key."""
    key, myself = (
        ec.generate_private_key(ec.SECP256R1()),
        x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "x")]),
    )
    now = datetime.now(timezone.utc)
    builder = x509.CertificateBuilder(myself, myself, key.public_key(), x509.random_serial_number())
    builder = builder.not_valid_before(now - timedelta(days=1)).not_valid_after(now + timedelta(days=1))
    names = x509.SubjectAlternativeName([x509.DirectoryName(myself), x509.DNSName(name)])
    made = builder.add_extension(names, critical=False).sign(key, hashes.SHA256())
    path, pem = folder / "directory.pem", serialization.Encoding.PEM
    plain = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    path.touch(mode=0o600)
    path.write_bytes(plain + made.public_bytes(pem))
    return path
