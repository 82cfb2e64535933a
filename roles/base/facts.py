"""Facts of role `base`; the clock's are in roles/base/clock.py."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from pathlib import Path

from roles.common.facts import NodeFact, PathList, labelled
from roles.common.script import script

FILES = Path(__file__).parent / "files"


@dataclass(frozen=True, slots=True)
class HostNamesFact:
    """What a machine is called."""

    kernel: str = ""
    file: str = ""
    """In /etc/hostname."""
    resolves: bool = False
    """Whether the machine has an address for the name that is wanted."""


class HostNames(NodeFact[HostNamesFact]):
    """The machine's name in both places, and whether the wanted one resolves."""

    def command(self, wanted: str) -> str:
        """Three questions."""
        return (
            'echo "kernel $(hostname)"; echo "file $(cat /etc/hostname 2>/dev/null)"; '
            f'echo "known $(getent hosts {shlex.quote(wanted)} >/dev/null && echo yes)"'
        )

    @staticmethod
    def default() -> HostNamesFact:
        """It did not say."""
        return HostNamesFact()

    def read(self, output: list[str]) -> HostNamesFact:
        """Lines `kernel NAME`, `file NAME` and `known yes`."""
        found = labelled(output)
        return HostNamesFact(found.get("kernel", ""), found.get("file", ""), found.get("known") == "yes")


@dataclass(frozen=True, slots=True)
class RemainsFact:
    """What a teardown finds in our folders."""

    gone: tuple[str, ...] = ()
    """Our own files and folders that go with all they hold."""
    folders: tuple[str, ...] = ()
    inside: frozenset[str] = frozenset()
    """Files and empty folders, at any depth."""


class Remains(NodeFact[RemainsFact]):
    """What is left in our folders; see files/remains.sh."""

    def command(self, folders: tuple[str, ...], leftovers: tuple[str, ...]) -> str:
        """One program that reads only."""
        return script(FILES / "remains.sh", LEFTOVERS="\n".join(leftovers), FOLDERS="\n".join(folders))

    @staticmethod
    def default() -> RemainsFact:
        """Nothing is left."""
        return RemainsFact()

    def read(self, output: list[str]) -> RemainsFact:
        """Lines `gone PATH`, `in PATH` and `folder PATH`; a file's name that breaks its line begins one of no kind."""

        def of(kind: str) -> list[str]:
            return [line.removeprefix(f"{kind} ") for line in output if line.startswith(f"{kind} ")]

        return RemainsFact(tuple(of("gone")), tuple(of("folder")), frozenset(of("in")))


class FolderNames(NodeFact[frozenset[str] | None]):
    """What lies in a folder; None where there is no folder."""

    def command(self, folder: str) -> str:
        """Hidden names too."""
        quoted = shlex.quote(folder)
        return f"[ ! -d {quoted} ] || {{ echo .; ls -A {quoted}; }}"

    def read(self, output: list[str]) -> frozenset[str]:
        """A dot for the folder itself, then a name a line."""
        return frozenset(output) - {"."}


class ClosedFolders(PathList):
    """Root's folders that not everybody can pass, of those known and of those on the roles' records."""

    def command(self, known: tuple[str, ...], records: str) -> str:
        """One program that reads only."""
        return script(FILES / "closed_folders.sh", KNOWN="\n".join(known), RECORDS=records)
