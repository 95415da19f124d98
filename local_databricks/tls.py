"""Certificates: HTTPS on loopback under a CA of this machine's own, and what the JVM is to trust.

Databricks' clients insist on HTTPS (dbt-databricks' discovery probe, the Node driver), so the endpoint speaks it too.
"""

import datetime
import ipaddress
import os
import ssl
from pathlib import Path

import certifi
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import pkcs12
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from local_databricks.settings import Settings, write_private

#: Apple's clients refuse server certificates that live longer.
VALID_DAYS = 397
TRUST_STORE_PASSWORD = "changeit"  # Java's own default: a trust store holds nothing secret, and its format wants one


def ensure_certificates(settings: Settings) -> tuple[Path, Path]:
    """Make the CA and the server's certificate where there is none or it ends within 30 days.

    Returns the paths of the server's certificate and key (PEM). The CA's key is thrown away once it has signed: nobody
    can make further certificates that this machine's clients would trust.
    """
    certificate, key = settings.state / "server.pem", settings.state / "server-key.pem"
    if all(p.exists() for p in (certificate, key, settings.ca_file)):
        end = x509.load_pem_x509_certificate(certificate.read_bytes()).not_valid_after_utc
        if end - datetime.datetime.now(datetime.UTC) > datetime.timedelta(days=30):
            _write_bundles(settings)
            return certificate, key

    now = datetime.datetime.now(datetime.UTC)
    ca_key, server_key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    ca_name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "local_databricks CA of this clone")])

    def builder(subject: x509.Name, public_key) -> x509.CertificateBuilder:
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(ca_name)
            .public_key(public_key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(days=1))
            .not_valid_after(now + datetime.timedelta(days=VALID_DAYS))
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(ca_key.public_key()), critical=False)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(public_key), critical=False)
        )

    def usage(ca: bool) -> x509.KeyUsage:
        return x509.KeyUsage(
            digital_signature=not ca, key_cert_sign=ca, crl_sign=ca, content_commitment=False, key_encipherment=False,
            data_encipherment=False, key_agreement=False, encipher_only=False, decipher_only=False,
        )  # fmt: skip

    ca = (
        builder(ca_name, ca_key.public_key())
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(usage(ca=True), critical=True)
        .sign(ca_key, hashes.SHA256())
    )
    names = [x509.IPAddress(ipaddress.ip_address("127.0.0.1")), x509.DNSName("localhost")]
    server = (
        builder(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")]), server_key.public_key())
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(usage(ca=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .sign(ca_key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    write_private(
        key,
        server_key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()).decode(),
    )
    write_private(certificate, server.public_bytes(pem).decode())
    write_private(settings.ca_file, ca.public_bytes(pem).decode())
    _write_bundles(settings)
    return certificate, key


def _trusted_by_this_machine() -> str:
    """What Python programs here trust, as PEM: the environment's choice, else the system's, else certifi's."""
    own = os.environ.get("REQUESTS_CA_BUNDLE", "")
    chosen = own if Path(own).name != "ca-bundle.pem" else ""  # not the file that this module writes
    for path in (chosen, os.environ.get("SSL_CERT_FILE"), ssl.get_default_verify_paths().cafile, certifi.where()):
        if path and Path(path).is_file():
            return Path(path).read_text(errors="replace")
    return ""


def _write_bundles(settings: Settings) -> None:
    """The machine's CAs and ours in one file: REQUESTS_CA_BUNDLE replaces the former, and the package hub needs them.
    And ours alone for Java's clients, whose drivers take a trust store."""
    write_private(settings.ca_bundle_file, _trusted_by_this_machine() + "\n" + settings.ca_file.read_text())
    write_trust_store(settings.trust_store_file, settings.ca_file.read_text())


def write_trust_store(path: Path, authorities: str = "") -> None:
    """Write CAs as a PKCS#12 trust store for a JVM.

    authorities: as PEM; where it is empty, the machine's CAs. A JRE brings CAs of its own, without the one that a company's
    proxy signs with; Python's and the system's have it.
    """
    pem = authorities or _trusted_by_this_machine()
    certificates = [
        pkcs12.PKCS12Certificate(certificate, f"ca{i}".encode())
        for i, certificate in enumerate(x509.load_pem_x509_certificates(pem.encode()))
    ]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(
        pkcs12.serialize_java_truststore(certificates, serialization.BestAvailableEncryption(TRUST_STORE_PASSWORD.encode()))
    )
