"""Proxies and tokens for tests, made here and good for nothing."""

from __future__ import annotations

import base64
import ipaddress
import json
from datetime import UTC, datetime, timedelta
from functools import cache

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import NameOID

NOW = datetime.now(UTC).replace(microsecond=0)
_VOMS = x509.ObjectIdentifier("1.3.6.1.4.1.8005.100.100.5")
# RFC 3820: proxyCertInfo with the policy "inherit all" (1.3.6.1.5.5.7.21.1).
_PROXY = x509.UnrecognizedExtension(
    x509.ObjectIdentifier("1.3.6.1.5.5.7.1.14"), bytes.fromhex("300c300a06082b06010505071501")
)
_AUTHORITY, _USER = "authority", "user"


@cache
def key(number: int) -> rsa.RSAPrivateKey:
    """A key; the same number gives the same one."""
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


def name(*common: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Portico tests"),
                      *(x509.NameAttribute(NameOID.COMMON_NAME, part) for part in common)])  # fmt: skip


def signed(
    subject: x509.Name, of: int, by: int, issuer: x509.Name, hours: float, *extra: tuple[x509.ExtensionType, bool]
) -> bytes:
    """A certificate in PEM."""
    builder = (
        x509.CertificateBuilder().subject_name(subject).issuer_name(issuer).public_key(key(of).public_key())
        .serial_number(x509.random_serial_number()).not_valid_before(NOW - timedelta(days=30))
        .not_valid_after(NOW + timedelta(hours=hours))
    )  # fmt: skip
    for extension, critical in extra:
        builder = builder.add_extension(extension, critical=critical)
    return builder.sign(key(by), hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


def private(number: int) -> bytes:
    """A private key in PEM."""
    kind = serialization.PrivateFormat.TraditionalOpenSSL
    return key(number).private_bytes(serialization.Encoding.PEM, kind, serialization.NoEncryption())


def authority() -> bytes:
    """The certificate of the authority that signs users and hosts."""
    extras = (x509.BasicConstraints(ca=True, path_length=None), True), (_usage(key_cert_sign=True, crl_sign=True), True)
    return signed(name(_AUTHORITY), 2, 2, name(_AUTHORITY), 1000, *extras)


def host() -> bytes:
    """The certificate of the host 127.0.0.1, whose key is `private(3)`."""
    names = x509.SubjectAlternativeName([x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    usage = _usage(digital_signature=True, key_encipherment=True)
    return signed(name("127.0.0.1"), 3, 2, name(_AUTHORITY), 1000, (names, False), (usage, True))


def make_proxy(
    hours: float = 12, parent_hours: float = 24, attributes_hours: float | None = None, number: int = 1
) -> bytes:
    """An RFC 3820 proxy with its key and the user's certificate, as ``voms-proxy-init`` writes them."""
    usage = _usage(digital_signature=True, key_encipherment=True), True
    extra: list[tuple[x509.ExtensionType, bool]] = [(_PROXY, True), usage]
    if attributes_hours is not None:
        times = [f"{moment:%Y%m%d%H%M%S}Z".encode() for moment in (NOW, NOW + timedelta(hours=attributes_hours))]
        period = b"\x30\x22" + b"".join(b"\x18\x0f" + text for text in times)
        content = b"\x30\x82\x01\x00 what comes before" + period + b"and after"
        extra.append((x509.UnrecognizedExtension(_VOMS, content), False))
    proxy = signed(name(_USER, str(123456780 + number)), number + 10, 0, name(_USER), hours, *extra)
    return proxy + private(number + 10) + signed(name(_USER), 0, 2, name(_AUTHORITY), parent_hours, usage)


def _usage(**given: bool) -> x509.KeyUsage:
    names = ("digital_signature", "content_commitment", "key_encipherment", "data_encipherment", "key_agreement",
             "key_cert_sign", "crl_sign", "encipher_only", "decipher_only")  # fmt: skip
    return x509.KeyUsage(**{**dict.fromkeys(names, False), **given})


def make_token(payload: object) -> bytes:
    """A JSON web token with a signature of nobody."""
    head, body = ({"alg": "RS256", "typ": "JWT"}, payload)
    parts = [json.dumps(part).encode() for part in (head, body)] + [b"a signature that nobody made: 7Qx9-secret"]
    return b".".join(base64.urlsafe_b64encode(part).rstrip(b"=") for part in parts)
