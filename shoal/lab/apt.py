"""This machine's apt sources and settings, as far as a lab node of the same distribution needs them."""

from __future__ import annotations

import re
import shlex
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

ARCHIVE_COMPONENTS = frozenset({"main"})
"""Debian's and Ubuntu's own archives have it; most third parties' repositories for the same suite do not."""
SETTINGS_LEFT_OUT = ("Acquire::IndexTargets", "Acquire::Changelogs", "Acquire::cdrom", "Acquire::CompressionTypes")
"""Settings under Acquire that are about this machine's catalogues and devices, not about how to fetch."""


@dataclass(frozen=True, slots=True)
class Source:
    """One enabled binary source; `options` are deb822 fields as `Signed-By`, in apt's spelling."""

    uris: tuple[str, ...]
    suites: tuple[str, ...]
    components: tuple[str, ...]
    options: dict[str, str] = field(default_factory=dict)

    @property
    def keyring(self) -> Path | None:
        """The keyring file named by Signed-By; None where it is left out, or holds the key itself."""
        signed_by = self.options.get("Signed-By", "").strip()
        return Path(signed_by) if signed_by.startswith("/") else None


def parse_one_line(text: str) -> list[Source]:
    """Sources of a `.list` file: `deb [option=value ...] URI SUITE COMPONENT ...`."""
    found = []
    for line in text.splitlines():
        match = re.fullmatch(r"deb\s+(?:\[(?P<options>[^]]*)\]\s+)?(?P<rest>[^#]+)(?:#.*)?", line.strip())
        if not match:
            continue
        words = match["rest"].split()
        if len(words) < 2:
            continue
        options = dict(pair.split("=", 1) for pair in (match["options"] or "").split() if "=" in pair)
        fields = {_field_name(name): value.replace(",", " ") for name, value in options.items()}
        found.append(Source((words[0],), (words[1],), tuple(words[2:]), fields))
    return found


def parse_deb822(text: str) -> list[Source]:
    """Sources of a `.sources` file."""
    found = []
    for stanza in _stanzas(text):
        fields = dict(stanza)
        types = fields.pop("Types", "").split()
        uris, suites = fields.pop("Uris", "").split(), fields.pop("Suites", "").split()
        components = fields.pop("Components", "").split()
        enabled = fields.pop("Enabled", "yes").strip().lower() not in ("no", "false", "0")
        if "deb" in types and enabled and uris and suites:
            found.append(Source(tuple(uris), tuple(suites), tuple(components), fields))
    return found


def read_sources(etc_apt: Path = Path("/etc/apt")) -> list[Source]:
    """Every enabled binary source of this machine, in apt's own order."""
    found = []
    if (etc_apt / "sources.list").is_file():
        found += parse_one_line((etc_apt / "sources.list").read_text(encoding="utf-8"))
    for path in sorted((etc_apt / "sources.list.d").glob("*")):
        if path.suffix == ".list":
            found += parse_one_line(path.read_text(encoding="utf-8"))
        elif path.suffix == ".sources":
            found += parse_deb822(path.read_text(encoding="utf-8"))
    return found


def distribution_sources(sources: list[Source], codename: str) -> list[Source]:
    """Those of the distribution itself (`bookworm`, `bookworm-updates`, ...): a node starts bare."""
    return [
        source
        for source in sources
        if all(suite == codename or suite.startswith(f"{codename}-") for suite in source.suites)
        and ARCHIVE_COMPONENTS & set(source.components)
    ]


def bootstrap_source(sources: list[Source], codename: str) -> Source | None:
    """The source that debootstrap can start from: the release suite itself, over a protocol that it supports."""
    for source in sources:
        if codename in source.suites and source.uris[0].startswith(("http://", "https://", "file:")):
            return source
    return None


def render(sources: list[Source]) -> str:
    """The sources as one deb822 file."""
    stanzas = []
    for source in sources:
        lines = ["Types: deb", f"URIs: {' '.join(source.uris)}", f"Suites: {' '.join(source.suites)}"]
        if source.components:
            lines.append(f"Components: {' '.join(source.components)}")
        lines += [f"{name}: {value}" for name, value in source.options.items()]
        stanzas.append("\n".join(lines) + "\n")
    return "\n".join(stanzas)


def split_credentials(uri: str) -> tuple[str, str | None]:
    """The URI without user and password, and a netrc line that carries them (secrets must not be in arguments)."""
    parts = urlsplit(uri)
    if not parts.username:
        return uri, None
    host = parts.hostname or ""
    place = f"{host}:{parts.port}" if parts.port else host
    bare = urlunsplit((parts.scheme, place, parts.path, parts.query, parts.fragment))
    return bare, f"machine {host} login {parts.username} password {parts.password or ''}"


def fetch_settings(dump: str) -> dict[str, str]:
    """Settings that concern fetching (proxies, checks, retries), from the output of `apt-config dump`.

    Hooks are never among them: such as public images have would delete the packages kept for the nodes.
    """
    found: dict[str, str] = {}
    for line in dump.splitlines():
        match = re.fullmatch(r'(Acquire::[^\s"]+) "(.*)";', line)
        if match and match[2] and not match[1].startswith(SETTINGS_LEFT_OUT):
            found[match[1]] = match[2]
    return found


def read_fetch_settings() -> dict[str, str]:
    """This machine's settings that concern fetching. Empty where there is no apt."""
    try:
        done = subprocess.run(["apt-config", "dump"], capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return {}
    return fetch_settings(done.stdout) if done.returncode == 0 else {}


def render_settings(settings: dict[str, str]) -> str:
    """The settings as an apt.conf file."""
    return "".join(f'{name} "{value}";\n' for name, value in settings.items())


def read_credentials(etc_apt: Path = Path("/etc/apt")) -> dict[str, bytes]:
    """Files under auth.conf.d (and auth.conf) by their path below /etc/apt. Secret: never into an image or a log."""
    files = [etc_apt / "auth.conf", *sorted((etc_apt / "auth.conf.d").glob("*"))]
    return {str(path.relative_to(etc_apt)): path.read_bytes() for path in files if path.is_file()}


def netrc(sources: list[Source], credentials: dict[str, bytes]) -> str:
    """What debootstrap's downloader needs to log in, in netrc form; empty where nothing needs a login."""
    lines = [line for source in sources for uri in source.uris if (line := split_credentials(uri)[1])]
    for content in credentials.values():
        words = shlex.split(content.decode("utf-8", errors="replace"), comments=True)
        for index, word in enumerate(words[:-1]):
            if word == "machine":
                # apt allows a scheme and a path here, netrc does not.
                words[index + 1] = re.sub(r"^[a-z+]+://", "", words[index + 1]).partition("/")[0]
        if words:
            lines.append(" ".join(words))
    return "".join(f"{line}\n" for line in lines)


def _field_name(option: str) -> str:
    names = {"arch": "Architectures", "lang": "Languages", "target": "Targets", "pdiffs": "PDiffs"}
    return names.get(option) or _title(option)


def _title(name: str) -> str:
    return "-".join(part[:1].upper() + part[1:].lower() for part in name.split("-"))


def _stanzas(text: str) -> Iterator[list[tuple[str, str]]]:
    fields: list[tuple[str, str]] = []
    for line in [*text.splitlines(), ""]:
        if line.startswith("#"):
            continue
        if not line.strip():
            if fields:
                yield fields
            fields = []
        elif line[0] in " \t" and fields:
            name, value = fields[-1]
            fields[-1] = (name, f"{value}\n{line}")
        elif ":" in line:
            name, value = line.split(":", 1)
            fields.append((_title(name.strip()), value.strip()))
