"""Proxies and tokens for tests, made here and good for nothing."""

from __future__ import annotations

import base64
import json
from datetime import UTC, datetime, timedelta
from functools import cache

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import NameOID

NOW = datetime.now(UTC).replace(microsecond=0)
_VOMS = x509.ObjectIdentifier("1.3.6.1.4.1.8005.100.100.5")


@cache
def _key(number: int) -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


def name(*common: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Portico tests"),
                      *(x509.NameAttribute(NameOID.COMMON_NAME, part) for part in common)])  # fmt: skip


def make_proxy(hours: float = 12, parent_hours: float = 24, attributes_hours: float | None = None) -> bytes:
    """An RFC 3820 proxy with its key and the user's certificate, as ``voms-proxy-init`` writes them."""

    def signed(subject: x509.Name, of: int, by: int, issuer: x509.Name, life: float, *extra: x509.ExtensionType) -> str:
        builder = (
            x509.CertificateBuilder().subject_name(subject).issuer_name(issuer).public_key(_key(of).public_key())
            .serial_number(x509.random_serial_number()).not_valid_before(NOW - timedelta(days=30))
            .not_valid_after(NOW + timedelta(hours=life))
        )  # fmt: skip
        for extension in extra:
            builder = builder.add_extension(extension, critical=False)
        return builder.sign(_key(by), hashes.SHA256()).public_bytes(serialization.Encoding.PEM).decode()

    extra = []
    if attributes_hours is not None:
        times = [f"{moment:%Y%m%d%H%M%S}Z".encode() for moment in (NOW, NOW + timedelta(hours=attributes_hours))]
        period = b"\x30\x22" + b"".join(b"\x18\x0f" + text for text in times)
        extra.append(x509.UnrecognizedExtension(_VOMS, b"\x30\x82\x01\x00 what comes before" + period + b"and after"))
    user = name("user")
    proxy = signed(name("user", "123456789"), 1, 0, user, hours, *extra)
    parent = signed(user, 0, 2, name("authority"), parent_hours)
    private = _key(1).private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return proxy.encode() + private + parent.encode()


def make_token(payload: object) -> bytes:
    """A JSON web token with a signature of nobody."""
    head, body = ({"alg": "RS256", "typ": "JWT"}, payload)
    parts = [json.dumps(part).encode() for part in (head, body)] + [b"a signature that nobody made: 7Qx9-secret"]
    return b".".join(base64.urlsafe_b64encode(part).rstrip(b"=") for part in parts)
