"""The fingerprint of an OpenPGP public key, so that a vendor's key is checked without gpg on either side."""

from __future__ import annotations

import base64
import binascii
import hashlib

PUBLIC_KEY_PACKET = 6


def dearmoured(data: bytes) -> bytes:
    """The binary form of an armoured key; binary data as it is. Raises ValueError."""
    if not data.lstrip().startswith(b"-----BEGIN PGP PUBLIC KEY BLOCK-----"):
        return data
    _, _, after = data.partition(b"-----BEGIN PGP PUBLIC KEY BLOCK-----")
    block = after.partition(b"-----END PGP PUBLIC KEY BLOCK-----")[0]
    lines = [line.strip() for line in block.splitlines()]
    # Headers end with an empty line; the last line, beginning with "=", is a CRC-24.
    body = [line for line in lines if line and b":" not in line and not line.startswith(b"=")]
    try:
        return base64.b64decode(b"".join(body), validate=True)
    except binascii.Error as error:
        raise ValueError(f"its armour is damaged ({error})") from None


def fingerprint(data: bytes) -> str:
    """Upper-case hex fingerprint of the one (primary) key in it, a version 4 one (RFC 4880, 12.2). Raises ValueError.

    A second primary key behind the first is refused: apt would trust it without its fingerprint being checked.
    """
    raw = dearmoured(data)
    if len(raw) < 8 or not raw[0] & 0x80:
        raise ValueError("it is not an OpenPGP key")
    tag, start, length = _header(raw)
    packet = raw[start : start + length]
    if tag != PUBLIC_KEY_PACKET or len(packet) != length or not packet:
        raise ValueError("it does not begin with a whole public key")
    if packet[0] != 4:
        raise ValueError(f"it is a version {packet[0]} key; version 4 is wanted")
    rest = raw[start + length :]
    while rest:
        tag, start_of, length_of = _header(rest)
        if tag == PUBLIC_KEY_PACKET or not rest[0] & 0x80 or len(rest) < start_of + length_of:
            raise ValueError("it holds more than one key, or something that is none")
        rest = rest[start_of + length_of :]
    # SHA-1 is what the format prescribes for naming a version 4 key.
    return hashlib.sha1(b"\x99" + length.to_bytes(2, "big") + packet, usedforsecurity=False).hexdigest().upper()


def _header(raw: bytes) -> tuple[int, int, int]:
    """Tag, start and length of the first packet's body, in the old and the new format."""
    if len(raw) < 6:
        raise ValueError("it ends in the middle of a packet")
    first = raw[0]
    if first & 0x40:
        tag, octet = first & 0x3F, raw[1]
        if octet < 192:
            return tag, 2, octet
        if octet < 224:
            return tag, 3, ((octet - 192) << 8) + raw[2] + 192
        if octet == 255:
            return tag, 6, int.from_bytes(raw[2:6], "big")
        raise ValueError("it has a packet of unknown length")
    size = (1, 2, 4)[first & 3] if first & 3 < 3 else 0
    if not size:
        raise ValueError("it has a packet of unknown length")
    return (first >> 2) & 0x0F, 1 + size, int.from_bytes(raw[1 : 1 + size], "big")
