"""Facts of role `tailscale`."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from roles.common.facts import Flag, NodeFact
from roles.common.script import script
from roles.tailscale.status import Status
from roles.tailscale.status import read as status_of
from shoal import untrusted
from shoal.untrusted import DamagedDocumentError

FILES = Path(__file__).parent / "files"
LOOK_TIMEOUT_S = 10
# Some control servers repeat a bad key in their answer, and verbose output shows what a fact reads.
MASK = 's/(tskey|hskey)-[^" ]+/(key)/g'
# Of the daemon's settings only those that the role knows leave the machine.
_PREFS = (
    "import json,sys; p=json.load(sys.stdin); "
    "print(json.dumps({k: p.get(k) for k in ('ControlURL','Hostname','CorpDNS','RunSSH','NetfilterMode')}))"
)


class TailscaleStatus(NodeFact[Status | None]):
    """The node as its own daemon sees it; None where there is none, or it does not answer."""

    def command(self) -> str:
        """Two questions to the daemon; the answers are parted by a line."""
        return script(FILES / "status.sh", LIMIT_S=str(LOOK_TIMEOUT_S), MASK=MASK, PREFS=_PREFS)

    @staticmethod
    def default() -> None:
        """There is no daemon."""
        return

    def read(self, output: list[str]) -> Status | None:
        """Two JSON documents."""
        text = "\n".join(output)
        status, _, prefs = text.partition("---prefs")
        return status_of(_document(status), _document(prefs))


def _document(text: str) -> dict[str, Any] | None:
    try:
        document = untrusted.json_value(text, source="tailscale status")
    except DamagedDocumentError:
        return None
    return document if isinstance(document, dict) else None


class OwnersDaemon(NodeFact[str]):
    """A daemon on the machine that did not come with us, by the path of its program; empty where there is none."""

    def command(self, packages: str, placed: str, unit_file: str) -> str:
        """One program that reads only; `packages` and `placed` are our records."""
        return script(FILES / "owner.sh", PACKAGES=packages, PLACED=placed, UNIT_FILE=unit_file)

    @staticmethod
    def default() -> str:
        """None, or it is ours."""
        return ""

    def read(self, output: list[str]) -> str:
        """A line `owner PATH`."""
        return next((line.removeprefix("owner ") for line in output if line.startswith("owner ")), "")


@dataclass(frozen=True, slots=True)
class PackageFact:
    """A Debian package as dpkg has it."""

    version: str
    status: str
    """`installed`, `config-files` and so on."""
    want: str
    """`install`, `hold`, `deinstall` and so on."""


class PackageState(NodeFact[PackageFact | None]):
    """One package; None where dpkg does not know it."""

    def command(self, package: str) -> str:
        """With what apt is to do with it."""
        return (
            f"dpkg-query -W -f '${{Version}} ${{db:Status-Status}} ${{db:Status-Want}}\\n' {shlex.quote(package)} "
            "2>/dev/null || true"
        )

    def read(self, output: list[str]) -> PackageFact:
        """One line of three words; the version is empty where nothing of the package is there any more."""
        return PackageFact(*output[0].split(" "))


class Held(Flag):
    """Whether apt keeps the package as it is."""

    def command(self, package: str) -> str:
        """apt's own word."""
        return f"apt-mark showhold {shlex.quote(package)} 2>/dev/null || true"
