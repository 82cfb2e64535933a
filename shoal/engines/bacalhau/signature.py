"""The publisher's signature over a release archive: RSA with SHA-256, base64 in a file beside the archive."""

from __future__ import annotations

import base64
import binascii
from pathlib import Path

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.serialization import load_pem_public_key

from shoal.errors import ShoalError

PUBLIC_KEY = Path(__file__).with_name("publisher.pem")
"""The key that the publisher's install script carries."""


def verify(archive: Path, signature: Path, *, public_key: Path = PUBLIC_KEY) -> None:
    """Raise ShoalError unless `signature` is the publisher's over the bytes of `archive`."""
    key = load_pem_public_key(public_key.read_bytes())
    if not isinstance(key, rsa.RSAPublicKey):
        raise ShoalError(f"{public_key} is not an RSA key")
    try:
        raw = base64.b64decode(b"".join(signature.read_bytes().split()), validate=True)
    except binascii.Error:
        raise ShoalError(f"{signature.name} is not a signature: it is not base64") from None
    try:
        key.verify(raw, archive.read_bytes(), padding.PKCS1v15(), hashes.SHA256())
    except InvalidSignature:
        raise ShoalError(
            f"{archive.name} is not what its publisher signed; it was thrown away",
            hint="a broken or changed download: try again, and if it stays so do not trust its source",
        ) from None
