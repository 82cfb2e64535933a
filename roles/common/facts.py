"""Facts that several roles need, each read with one command per host so that a run without changes stays quick."""

from __future__ import annotations

import base64
import shlex
from dataclasses import dataclass
from typing import Any, TypeVar

from pyinfra.api.exceptions import FactProcessError
from pyinfra.api.facts import FactBase

from roles.common.script import common

T = TypeVar("T")
READ_BYTES = 64 << 10
"""A file of settings is smaller."""


class NodeFact(FactBase[T]):
    """A fact made of a machine's lines, which are a stranger's word: lines that the fact's own command would not print
    fail that machine, and no other, with a line that says so.
    """

    def process(self, output: list[str]) -> T:
        """What `read` makes of the lines. Raises FactProcessError."""
        try:
            return self.read(output)
        except (ValueError, LookupError, TypeError, AttributeError, ArithmeticError, RecursionError) as error:
            raise FactProcessError(f"the machine's answer cannot be read: {error!a:.200}") from None

    def read(self, output: list[str]) -> T:
        """What the lines say. May raise what is natural where they do not say it."""
        raise NotImplementedError


@dataclass(frozen=True, slots=True)
class FileFact:
    """A file as it is: octal mode, owner, group and the content's SHA-256."""

    mode: str
    user: str
    group: str
    sha256: str


class FileState(NodeFact[FileFact | None]):
    """One regular file, or None where there is none."""

    def command(self, path: str) -> str:
        """One `stat` and one `sha256sum`."""
        quoted = shlex.quote(path)
        return f"[ ! -f {quoted} ] || {{ stat -c '%a %U %G' {quoted} && sha256sum < {quoted}; }}"

    def read(self, output: list[str]) -> FileFact | None:
        """Two lines: metadata and hash."""
        mode, user, group = output[0].split()
        return FileFact(mode, user, group, output[1].split()[0])


class FileText(NodeFact[str | None]):
    """The text of a small file that anybody on the machine may read; None where it is none of that."""

    def command(self, path: str) -> str:
        """Nothing of a file that its owner keeps to himself leaves the machine."""
        quoted = shlex.quote(path)
        return (
            f"case $(stat -L -c %a {quoted} 2>/dev/null) in *[4-7]) "
            f'[ ! -f {quoted} ] || [ "$(wc -c <{quoted})" -gt {READ_BYTES} ] || base64 -w0 <{quoted} ;; esac'
        )

    def read(self, output: list[str]) -> str | None:
        """Base64; what is no text in UTF-8 counts as none."""
        try:
            return base64.b64decode("".join(output), validate=True).decode()
        except ValueError:
            return None


class FolderStates(NodeFact[dict[str, str]]):
    """`mode user group` of each folder that exists."""

    def command(self, paths: tuple[str, ...]) -> str:
        """One `stat` for all."""
        return f"stat -c '%F|%a %U %G|%n' {shlex.join(paths)} 2>/dev/null || true"

    @staticmethod
    def default() -> dict[str, str]:
        """Nothing is there."""
        return {}

    def read(self, output: list[str]) -> dict[str, str]:
        """Folders only; a file at the place of a folder makes the operation fail."""
        rows = (line.split("|", 2) for line in output)
        return {path: state for kind, state, path in rows if kind == "directory"}


class Existing(NodeFact[list[str]]):
    """Those of the given paths that exist, as files, folders or links."""

    def command(self, paths: tuple[str, ...]) -> str:
        """One loop of `test`."""
        return f'for p in {shlex.join(paths)}; do if [ -e "$p" ] || [ -L "$p" ]; then echo "$p"; fi; done'

    @staticmethod
    def default() -> list[str]:
        """None of them."""
        return []

    def read(self, output: list[str]) -> list[str]:
        """One path a line."""
        return output


@dataclass(frozen=True, slots=True)
class PlacedFile:
    """A file on a role's record: its SHA-256 there and now, `-` where it is gone."""

    recorded: str
    now: str
    before: str
    """Name of the copy of what was there before us; `-` where nothing was."""
    path: str


@dataclass(frozen=True, slots=True)
class PlacedFact:
    """What of a role's files is on record."""

    version: int | None = None
    """Of the machine's records; None where it has none."""
    recorded: bool = False
    """Whether the role has a record."""
    files: tuple[PlacedFile, ...] = ()


class PlacedFiles(NodeFact[PlacedFact]):
    """The files on a role's record, and what became of them; see files/placed.sh."""

    def command(self, record: str, records: str) -> str:
        """One program that reads only."""
        return common("placed.sh", RECORD=record, RECORDS=records)

    @staticmethod
    def default() -> PlacedFact:
        """No deploy was here."""
        return PlacedFact()

    def read(self, output: list[str]) -> PlacedFact:
        """Lines `version N`, `recorded` and `file SHA256 SHA256 BEFORE PATH`."""
        if not output:
            return PlacedFact()
        version = int(output[0].removeprefix("version "))
        files = []
        for line in output[1:]:
            if line != "recorded":
                kind, recorded, now, before, path = line.split(" ", 4)
                if kind != "file" or not path.startswith("/"):
                    raise ValueError(line)
                files.append(PlacedFile(recorded, now, before, path))
        return PlacedFact(version, "recorded" in output, tuple(files))


class InstalledPackages(NodeFact[set[str]]):
    """Which of the named Debian packages are installed."""

    def command(self, packages: tuple[str, ...]) -> str:
        """Only the named ones: listing all takes longer."""
        return f"dpkg-query -W -f '${{Package}} ${{db:Status-Status}}\\n' {shlex.join(packages)} 2>/dev/null || true"

    @staticmethod
    def default() -> set[str]:
        """None of them."""
        return set()

    def read(self, output: list[str]) -> set[str]:
        """Lines `name status`."""
        return {line.split()[0] for line in output if line.endswith(" installed")}


@dataclass(frozen=True, slots=True)
class UnitFact:
    """A systemd unit, and when its process started against when its configuration was last written (seconds)."""

    exists: bool
    active: bool
    enabled: bool
    needs_reload: bool
    started_at_s: float
    configured_at_s: float
    in_container: bool

    @property
    def outdated(self) -> bool:
        """The configuration is newer than the process: it has to be restarted.

        Judged from the machine and not from what this run changed, so that a run cut off between writing the
        file and restarting the service is mended by the next one.
        """
        return self.active and self.configured_at_s > self.started_at_s


class UnitState(NodeFact[UnitFact]):
    """State of one systemd unit and the age of the files it reads at its start."""

    def command(self, unit: str, files: tuple[str, ...] = ()) -> str:
        """One shell line; the start time comes from D-Bus, which gives microseconds, else in whole seconds."""
        path = "/org/freedesktop/systemd1/unit/" + "".join(
            char if char.isalnum() else f"_{ord(char):02x}" for char in unit
        )
        config = (
            f'for f in {shlex.join(files)}; do [ ! -e "$f" ] || stat -c \'Config=%.9Y\' "$f"; done' if files else ":"
        )
        return (
            f"systemctl show {shlex.quote(unit)} -p LoadState -p ActiveState -p UnitFileState -p NeedDaemonReload; "
            f"started=$(busctl get-property org.freedesktop.systemd1 {path} org.freedesktop.systemd1.Service "
            "ExecMainStartTimestamp 2>/dev/null | cut -d' ' -f2); "
            'if [ -n "$started" ]; then echo "StartedUsec=$started"; '
            f'else echo "StartedSec=$(date -d "$(LC_ALL=C systemctl show -p ExecMainStartTimestamp --value '
            f'{shlex.quote(unit)})" +%s 2>/dev/null)"; fi; '
            f"{config}; "
            'echo "Container=$(systemd-detect-virt --container 2>/dev/null)"'
        )

    @staticmethod
    def default() -> UnitFact:
        """No such unit."""
        return UnitFact(False, False, False, False, 0.0, 0.0, False)

    def read(self, output: list[str]) -> UnitFact:
        """Lines `Key=value`; `Config` may come many times and the newest counts."""
        values: dict[str, str] = {}
        configured = 0.0
        for line in output:
            key, _, value = line.partition("=")
            if key == "Config":
                configured = max(configured, float(value))
            else:
                values[key] = value
        started = (
            float(values["StartedUsec"]) / 1e6 if values.get("StartedUsec") else _seconds(values.get("StartedSec"))
        )
        return UnitFact(
            exists=values.get("LoadState") == "loaded",
            active=values.get("ActiveState") in {"active", "activating", "reloading"},
            enabled=values.get("UnitFileState") in {"enabled", "static", "alias", "indirect", "generated"},
            needs_reload=values.get("NeedDaemonReload") == "yes",
            started_at_s=started,
            configured_at_s=configured,
            in_container=values.get("Container", "none") not in {"", "none"},
        )


class Lines(NodeFact[list[str]]):
    """Output lines of a role's own read-only command. The command must end with success."""

    def command(self, script: str) -> str:
        """The command as given."""
        return script

    @staticmethod
    def default() -> list[str]:
        """Nothing was printed."""
        return []

    def read(self, output: list[str]) -> list[str]:
        """As printed."""
        return output


def labelled(lines: list[str]) -> dict[str, str]:
    """Lines `key value` as a mapping; how the roles' own facts print several things with one command."""
    pairs = (line.partition(" ") for line in lines)
    return {key: value.strip() for key, _, value in pairs}


def _seconds(text: Any) -> float:
    return float(text) if text else 0.0
