"""The cluster's own certificate authority, and the certificate that the orchestrator shows to compute nodes.

Made on the control machine. The authority's key never leaves it; the orchestrator's key goes to the requester alone.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from pydantic import BaseModel, ConfigDict, SecretStr, field_serializer

AUTHORITY_DAYS = 3650
SERVER_DAYS = 397
"""As public authorities do (CA/Browser Forum, Baseline Requirements 6.3.2 up to 2026)."""
RENEW_DAYS = 90
"""A deploy renews what ends within this time: a site is deployed more often than that."""
BACKDATED = timedelta(days=1)
"""A node whose clock is a little behind takes a new certificate all the same."""
LOOPBACK = ("127.0.0.1", "::1", "localhost")
"""The orchestrator is a client of its own port."""


class Tls(BaseModel):
    """An authority and the server certificate that it signed, as PEM. `repr` and logs show stars for keys."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    authority_certificate: str
    authority_key: SecretStr
    certificate: str
    key: SecretStr

    @field_serializer("authority_key", "key", when_used="json")
    def _open(self, value: SecretStr) -> str:
        return value.get_secret_value()


def current(there: Tls | None, cluster: str, addresses: Sequence[str], now: datetime | None = None) -> Tls:
    """`there` where it is good for `addresses` and for RENEW_DAYS more; else with what is needed made anew.

    The authority stays while it is good, so that a renewal asks nothing of compute nodes.
    """
    now = now or datetime.now(UTC)
    names = tuple(dict.fromkeys((*addresses, *LOOPBACK)))
    if there is None or _ends(there.authority_certificate) < now + timedelta(days=RENEW_DAYS + SERVER_DAYS):
        authority, authority_key = _authority(cluster, now)
        return _signed(authority, authority_key, names, now)
    if _ends(there.certificate) >= now + timedelta(days=RENEW_DAYS) and _covers(there.certificate, names):
        return there
    authority = x509.load_pem_x509_certificate(there.authority_certificate.encode())
    loaded = serialization.load_pem_private_key(there.authority_key.get_secret_value().encode(), None)
    if not isinstance(loaded, ec.EllipticCurvePrivateKey):
        raise TypeError("the authority's key is of another kind than this module makes")
    return _signed(authority, loaded, names, now)


def ends(there: Tls) -> datetime:
    """When the orchestrator's certificate ends."""
    return _ends(there.certificate)


def _authority(cluster: str, now: datetime) -> tuple[x509.Certificate, ec.EllipticCurvePrivateKey]:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"shoal cluster {cluster}"[:64])])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - BACKDATED)
        .not_valid_after(now + timedelta(days=AUTHORITY_DAYS))
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(signs=True), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )
    return certificate, key


def _signed(
    authority: x509.Certificate, authority_key: ec.EllipticCurvePrivateKey, names: Sequence[str], now: datetime
) -> Tls:
    key = ec.generate_private_key(ec.SECP256R1())
    certificate = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "orchestrator")]))
        .issuer_name(authority.subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - BACKDATED)
        .not_valid_after(now + timedelta(days=SERVER_DAYS))
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(signs=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.SubjectAlternativeName([_name(each) for each in names]), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(authority_key.public_key()), critical=False)
        .sign(authority_key, hashes.SHA256())
    )
    return Tls(
        authority_certificate=_pem(authority),
        authority_key=_key_pem(authority_key),
        certificate=_pem(certificate),
        key=_key_pem(key),
    )


def _usage(*, signs: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs, content_commitment=False, key_encipherment=False, data_encipherment=False,
        key_agreement=False, key_cert_sign=signs, crl_sign=signs, encipher_only=False, decipher_only=False,
    )  # fmt: skip


def _name(address: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(address.strip("[]")))
    except ValueError:
        return x509.DNSName(address)


def _covers(certificate: str, names: Sequence[str]) -> bool:
    extensions = x509.load_pem_x509_certificate(certificate.encode()).extensions
    there = extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    return {_name(each) for each in names} <= set(there)


def _ends(certificate: str) -> datetime:
    return x509.load_pem_x509_certificate(certificate.encode()).not_valid_after_utc


def _pem(certificate: x509.Certificate) -> str:
    return certificate.public_bytes(serialization.Encoding.PEM).decode()


def _key_pem(key: ec.EllipticCurvePrivateKey) -> SecretStr:
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return SecretStr(pem.decode())
