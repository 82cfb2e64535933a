"""What a node takes over from this machine at run time, never in an image: apt sources, proxies, CAs, pip settings."""

from __future__ import annotations

import configparser
import io
import os
import re
import tarfile
import time
from dataclasses import dataclass
from pathlib import Path

from shoal.lab import apt

CA_BUNDLE = Path("/etc/ssl/certs/ca-certificates.crt")
DISTRIBUTION_CAS = Path("/usr/share/ca-certificates")
CERTIFICATE = re.compile(r"-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----", re.DOTALL)
PROXY_VARIABLES = ("http_proxy", "https_proxy", "ftp_proxy", "no_proxy", "all_proxy")


@dataclass(frozen=True, slots=True)
class Entry:
    """One file to be put into a node."""

    path: str
    """Absolute, in the node."""
    content: bytes
    mode: int = 0o644
    uid: int = 0


def entries(codename: str) -> list[Entry]:
    """Everything a node inherits, as files."""
    return [*apt_entries(codename), *ca_entries(), *proxy_entries(dict(os.environ)), *pip_entries()]


def apt_entries(codename: str) -> list[Entry]:
    """The distribution's apt sources with their keyrings, logins and settings for fetching."""
    sources = apt.distribution_sources(apt.read_sources(), codename)
    found = []
    if sources:
        found.append(Entry("/etc/apt/sources.list.d/shoal-host.sources", *_guarded(apt.render(sources))))
    keyrings = {source.keyring for source in sources if source.keyring}
    keyrings |= set(Path("/etc/apt/trusted.gpg.d").glob("*"))
    found += [Entry(str(path), path.read_bytes()) for path in sorted(keyrings) if path.is_file()]
    found += [Entry(f"/etc/apt/{name}", content, 0o600) for name, content in apt.read_credentials().items()]
    if settings := apt.read_fetch_settings():
        found.append(Entry("/etc/apt/apt.conf.d/80shoal-host", *_guarded(apt.render_settings(settings))))
    return found


def _guarded(text: str) -> tuple[bytes, int]:
    """The content, and a mode that keeps logins in it from other users of the node."""
    return text.encode(), 0o600 if re.search(r"://[^/\s\"]*@", text) else 0o644


def ca_entries() -> list[Entry]:
    """The CAs this machine trusts: its bundle, and those that the distribution does not ship, so that they last."""
    if not CA_BUNDLE.is_file():
        return []
    bundle = CA_BUNDLE.read_text(encoding="utf-8", errors="replace")
    shipped: set[str] = set()
    for path in DISTRIBUTION_CAS.rglob("*.crt"):
        shipped |= certificates(path.read_text(encoding="utf-8", errors="replace"))
    own = sorted(certificates(bundle) - shipped) if shipped else []
    found = [Entry(str(CA_BUNDLE), bundle.encode())]
    for number, certificate in enumerate(own, start=1):
        found.append(Entry(f"/usr/local/share/ca-certificates/shoal-host-{number}.crt", f"{certificate}\n".encode()))
    return found


def certificates(text: str) -> set[str]:
    """The PEM certificates in `text`."""
    return {match.replace("\r\n", "\n") for match in CERTIFICATE.findall(text)}


def proxy_entries(environment: dict[str, str]) -> list[Entry]:
    """This machine's proxy variables for logins, for sudo and for services. They may hold a password."""
    values = {}
    for name in PROXY_VARIABLES:
        if value := environment.get(name) or environment.get(name.upper()):
            values[name] = values[name.upper()] = value
    if not values:
        return []
    login = "".join(f'{name}="{value}"\n' for name, value in values.items())
    quoted = " ".join('"' + f"{name}={value}".replace("%", "%%") + '"' for name, value in values.items())
    service = f"[Manager]\nDefaultEnvironment={quoted}\n"
    return [
        # Whoever logs in has it read for them by root; others have no business with a password in it.
        Entry("/etc/environment", *_guarded(login)),
        Entry("/etc/systemd/system.conf.d/10-shoal-host.conf", service.encode(), 0o600),
    ]


def pip_entries(path: Path = Path("/etc/pip.conf")) -> list[Entry]:
    """The machine's pip settings; certificates are looked up in the bundle that the node has too."""
    settings = configparser.RawConfigParser()
    if path.is_file():
        settings.read_string(path.read_text(encoding="utf-8"))
    if not settings.has_section("global"):
        settings.add_section("global")
    if CA_BUNDLE.is_file():
        settings.set("global", "cert", str(CA_BUNDLE))
    stream = io.StringIO()
    settings.write(stream)
    return [Entry("/etc/pip.conf", stream.getvalue().encode())]


def archive(files: list[Entry]) -> bytes:
    """The files as a tar archive for the engine; folders that are missing on the way are made by it."""
    stream = io.BytesIO()
    now = int(time.time())
    with tarfile.open(fileobj=stream, mode="w") as tar:
        for entry in files:
            info = tarfile.TarInfo(entry.path.lstrip("/"))
            info.size, info.mode, info.mtime = len(entry.content), entry.mode, now
            info.uid = info.gid = entry.uid
            tar.addfile(info, io.BytesIO(entry.content))
    return stream.getvalue()
