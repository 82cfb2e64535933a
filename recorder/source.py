"""How ffmpeg is asked for a camera's stream, and how a password is kept out of its arguments and out of the log."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import quote, urlsplit, urlunsplit

RTSP = ("rtsp", "rtsps")
HTTP = ("http", "https")
PROTOCOLS = "file,pipe,fd,tcp,udp,rtp,tls,http,https,rtsp,rtsps,crypto,httpproxy"


class SourceError(Exception):
    """A source that cannot be recorded; the message says why."""


@dataclass(frozen=True)
class Input:
    """What ffmpeg is given."""

    arguments: tuple[str, ...]
    list_text: str | None = None
    """The list that its first input is, from standard input: it names the stream with its password."""
    secrets: tuple[str, ...] = ()
    """Texts that are taken out of everything ffmpeg prints."""

    def clean(self, line: str) -> str:
        """A line of ffmpeg's without secrets."""
        for secret in self.secrets:
            line = line.replace(secret, "***")
        return line


def input_of(source: str, silence_s: int, credentials: str | None) -> Input:
    """The input of a source: an address or a device. Raises SourceError."""
    if source.startswith("/dev/"):
        # What the camera compresses itself is kept as it is.
        return Input(("-f", "v4l2", "-input_format", "h264", "-i", source))
    parts = urlsplit(source)
    if parts.scheme not in RTSP + HTTP or not parts.hostname:
        raise SourceError(f"{source!r} is no address (rtsp, rtsps, http, https) and no device below /dev")
    if parts.username or parts.password:
        raise SourceError("an address must not hold credentials: name them as a secret")
    if "'" in source or "\\" in source or any(ord(letter) < 33 for letter in source):
        raise SourceError("an address must not hold quotes, backslashes, spaces or control characters")
    micros = silence_s * 1_000_000
    options = [("timeout", str(micros))] if parts.scheme in RTSP else [("rw_timeout", str(micros))]
    if parts.scheme in RTSP:
        options.insert(0, ("rtsp_transport", "tcp"))
    if credentials is None:
        flags = tuple(word for name, value in options for word in (f"-{name}", value))
        return Input((*flags, "-i", source))
    user, _, password = credentials.partition(":")
    signed = f"{quote(user, safe='')}:{quote(password, safe='')}"
    address = urlunsplit(parts._replace(netloc=f"{signed}@{parts.netloc}"))
    # Every user of the machine may read a program's arguments, and none what is written into its standard input.
    lines = ["ffconcat version 1.0", f"file '{address}'", *(f"option {name} {value}" for name, value in options)]
    return Input(
        ("-f", "concat", "-safe", "0", "-protocol_whitelist", PROTOCOLS, "-i", "pipe:0"),
        "\n".join(lines) + "\n",
        (signed, *filter(None, (password, quote(password, safe="")))),
    )
