"""Which files are footage: by the end of their name, or, whatever their name is, by how they begin.

The control side has the same rules (`shoal/site/footage.py`), so that what is placed on a node is what is read there; a
test holds the two together.
"""

from __future__ import annotations

HEAD_BYTES = 4096
"""So much of a file's beginning is looked at."""

VIDEO_NAMES = frozenset(
    [
        *("mp4", "m4v", "m4s", "cmfv", "ismv", "mov", "qt", "3gp", "3g2", "f4v", "insv", "lrv"),
        *("avi", "divx", "mkv", "webm", "flv", "wmv", "asf", "ogv", "ogg", "ogm", "rm", "rmvb", "nut", "wtv", "nsv"),
        *("ts", "tp", "trp", "mts", "m2ts", "m2t", "mpg", "mpeg", "mpe", "m1v", "m2v", "m2p", "vob", "vro"),
        *("h264", "264", "avc", "h265", "265", "hevc", "mjpeg", "mjpg", "ivf", "obu", "y4m"),
        *("dav", "dv", "dif", "mxf", "gxf"),
    ]
)
PICTURE_NAMES = frozenset(
    [
        *("jpg", "jpeg", "jpe", "jp2", "jxl", "png", "gif", "bmp", "tif", "tiff", "webp", "heic", "heif", "avif"),
        *("dng", "cr2", "nef", "arw", "raw", "ico", "svg", "psd", "thm"),
    ]
)
SOUND_NAMES = frozenset(
    [
        *("mp3", "m4a", "m4b", "aac", "ac3", "wav", "flac", "oga", "opus", "wma", "mka", "aif", "aiff"),
        *("amr", "ape", "caf", "mid", "midi"),
    ]
)

_BOXES = frozenset(b"ftyp styp moov moof mdat free skip wide sidx pnot".split())
_NO_FILMS = frozenset(
    [b"M4A ", b"M4B ", b"M4P ", b"heic", b"heix", b"heim", b"heis", b"mif1", b"msf1", b"avif", b"crx "]
)
"""Brands (the word after `ftyp`) of sound and of pictures."""
_BEGINNINGS = (
    b"\x1a\x45\xdf\xa3",  # Matroska, WebM
    b"FLV\x01",
    b"\x30\x26\xb2\x75\x8e\x66\xcf\x11\xa6\xd9\x00\xaa\x00\x62\xce\x6c",  # ASF
    b"\x00\x00\x01\xba",  # MPEG program stream
    b"\x00\x00\x01\xb3",  # MPEG-1 and -2 video
    b"\x00\x00\x01\xb0",  # MPEG-4 video
    b"DHAV",  # Dahua
    b"IMKH",  # Hikvision: a program stream follows
    b"\x06\x0e\x2b\x34\x02\x05\x01\x01\x0d\x01\x02\x01",  # MXF
    b"\x1f\x07\x00",  # DV
    b"DKIF",  # IVF
    b"\x12\x00\x0a",  # AV1 as a sequence of units
    b"YUV4MPEG2",
    b".RMF",
    b"nut/multimedia container\x00",
    b"\xb7\xd8\x00\x20\x37\x49\xda\x11\xa6\x4e\x00\x07\xe9\x5e\xad\x8d",  # WTV
    b"NSVf",
    b"NSVs",
)
_OGG_FILMS = (b"\x80theora", b"OVP80", b"BBCD", b"\x01video")
_H264 = frozenset([0x67, 0x47, 0x27])
"""First bytes of a sequence parameter set, by its importance."""
_HEVC = frozenset([b"\x40\x01", b"\x42\x01", b"\x46\x01"])
"""Headers of a video or sequence parameter set, and of a delimiter."""


def ending(name: str) -> str:
    """What follows the last dot of a file's name, in small letters; empty where nothing does."""
    stem, dot, last = name.rpartition(".")
    return last.lower() if dot and stem.strip(".") else ""


def kind_by_name(name: str) -> str | None:
    """video, picture or sound; None where the name does not say."""
    last = ending(name)
    if last in VIDEO_NAMES:
        return "video"
    if last in PICTURE_NAMES:
        return "picture"
    return "sound" if last in SOUND_NAMES else None


def begins_like_video(head: bytes) -> bool:
    """Whether a file with this beginning is footage, whatever its name."""
    if head.startswith(_BEGINNINGS):
        return True
    if head[4:8] in _BOXES and head[:1] == b"\0":
        return head[4:8] != b"ftyp" or head[8:12] not in _NO_FILMS
    if head[:4] == b"RIFF":
        return head[8:12] in {b"AVI ", b"AVIX", b"AMV "}
    if head[:4] == b"OggS":
        return any(word in head for word in _OGG_FILMS)
    return _is_annex_b(head) or _is_transport_stream(head)


def _is_annex_b(head: bytes) -> bool:
    """H.264 or HEVC as a camera sends it: start codes before every unit (ITU-T H.264 and H.265, annex B)."""
    unit = head[4:6] if head[:4] == b"\0\0\0\1" else head[3:5] if head[:3] == b"\0\0\1" else b""
    if len(unit) < 2:
        return False
    return unit[0] in _H264 or unit in _HEVC or (unit[0] & 0x1F == 9 and unit[1] & 0x1F == 0x10)


def _is_transport_stream(head: bytes) -> bool:
    """ISO/IEC 13818-1: a sync byte every 188 bytes; 192 with time stamps before, 204 with error correction after."""
    for step, offset in ((188, 0), (192, 4), (204, 0)):
        places = range(offset, len(head), step)
        if len(places) >= 8 and all(head[place] == 0x47 for place in places) and head.count(b"\x47") < len(head) // 2:
            return True
    return False
