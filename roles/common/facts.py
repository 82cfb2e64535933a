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
        """One program that reads only."""
        object_path = "/org/freedesktop/systemd1/unit/" + "".join(
            char if char.isalnum() else f"_{ord(char):02x}" for char in unit
        )
        return common("unit.sh", UNIT=unit, OBJECT_PATH=object_path, FILES="\n".join(files))

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


class Flag(NodeFact[bool]):
    """Whether the command of a derived fact prints anything."""

    @staticmethod
    def default() -> bool:
        """It printed nothing."""
        return False

    def read(self, output: list[str]) -> bool:
        """Any line means yes."""
        return bool(output)


class PathList(NodeFact[list[str]]):
    """The absolute paths that the command of a derived fact prints, one a line."""

    @staticmethod
    def default() -> list[str]:
        """None."""
        return []

    def read(self, output: list[str]) -> list[str]:
        """Raises ValueError for a line that is no absolute path."""
        if others := [line for line in output if not line.startswith("/")]:
            raise ValueError(f"no path: {others[0]}")
        return output


class AccountThere(Flag):
    """Whether the machine knows a user."""

    def command(self, user: str) -> str:
        """Of whatever source: files, LDAP."""
        return f"getent passwd {shlex.quote(user)} || true"


class GroupMembers(NodeFact[frozenset[str]]):
    """Who is listed in a group; a user's own first group does not list him."""

    def command(self, group: str) -> str:
        """Of whatever source: files, LDAP."""
        return f"getent group {shlex.quote(group)} || true"

    @staticmethod
    def default() -> frozenset[str]:
        """There is no such group."""
        return frozenset()

    def read(self, output: list[str]) -> frozenset[str]:
        """One line `group:password:number:member,member`."""
        return frozenset(output[0].rpartition(":")[2].split(",")) - {""}


class RecordLines(NodeFact[list[str]]):
    """The lines of a list that a role keeps on the machine; empty where there is none."""

    def command(self, path: str) -> str:
        """The file as it is."""
        return f"cat {shlex.quote(path)} 2>/dev/null || true"

    @staticmethod
    def default() -> list[str]:
        """Nothing is on record."""
        return []

    def read(self, output: list[str]) -> list[str]:
        """One entry a line."""
        return [line for line in output if line]


class LinkTarget(NodeFact[str | None]):
    """Where a symbolic link points, as it is written in it; None where there is no link."""

    def command(self, path: str) -> str:
        """Its target need not be there."""
        return f"readlink {shlex.quote(path)} || true"

    def read(self, output: list[str]) -> str | None:
        """One path; a file's name may hold a line break."""
        return "\n".join(output)


class NewTrees(PathList):
    """Those of the folders that are neither there nor on the role's record."""

    def command(self, paths: tuple[str, ...], record: str) -> str:
        """One program that reads only."""
        return common("new_trees.sh", RECORD=record, PATHS="\n".join(paths))


class FoldersWithoutFiles(PathList):
    """Those of the folders that are there and hold no file, at any depth."""

    def command(self, paths: tuple[str, ...]) -> str:
        """One look at each."""
        return (
            f"for p in {shlex.join(paths)}; do "
            '[ ! -d "$p" ] || [ -n "$(find "$p" -type f -print -quit)" ] || echo "$p"; done'
        )


class EarlierDeployAtWork(Flag):
    """Whether something of an earlier deploy still runs on the machine; see files/settle.sh."""

    def command(self, hold: str, folder: str, wait_s: int) -> str:
        """One program that reads only."""
        return common("settle.sh", HOLD=hold, FOLDER=folder, WAIT_S=str(wait_s), ACT="no")


def labelled(lines: list[str]) -> dict[str, str]:
    """Lines `key value` as a mapping; how the roles' own facts print several things with one command."""
    pairs = (line.partition(" ") for line in lines)
    return {key: value.strip() for key, _, value in pairs}


def _seconds(text: Any) -> float:
    return float(text) if text else 0.0
