"""Facts of role `firewall`."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from pathlib import Path

from roles.common.facts import Flag, NodeFact, labelled
from roles.common.script import script
from roles.firewall.rules import TABLE, is_port

FILES = Path(__file__).parent / "files"


class Addresses(NodeFact[dict[str, str]]):
    """The machine's addresses, and the interface of each."""

    def command(self) -> str:
        """Addresses with the length of their network, and interfaces."""
        return "ip -o addr show | awk '{print $4, $2}'"

    @staticmethod
    def default() -> dict[str, str]:
        """It did not say."""
        return {}

    def read(self, output: list[str]) -> dict[str, str]:
        """Lines `ADDRESS/LENGTH INTERFACE`; others are passed over."""
        rows = [line.split() for line in output]
        return {row[0].partition("/")[0]: row[1] for row in rows if len(row) == 2}


class SshdPorts(NodeFact[tuple[int, ...]]):
    """The ports that sshd is set to, in order; none where it does not say."""

    def command(self) -> str:
        """sshd's own reading of its settings."""
        return "command -v sshd >/dev/null && sshd -T 2>/dev/null | awk '$1 == \"port\" {print $2}' || true"

    @staticmethod
    def default() -> tuple[int, ...]:
        """It did not say."""
        return ()

    def read(self, output: list[str]) -> tuple[int, ...]:
        """A number a line; what is no port is passed over."""
        return tuple(sorted({int(line) for line in output if is_port(line)}))


class SshConnection(NodeFact[str]):
    """The connection that the fact itself came by, in sshd's words: two addresses with their ports."""

    def command(self) -> str:
        """Of the login; sudo would hide it."""
        return 'echo "$SSH_CONNECTION"'

    @staticmethod
    def default() -> str:
        """It was none of SSH."""
        return ""

    def read(self, output: list[str]) -> str:
        """One line."""
        return output[0]


@dataclass(frozen=True, slots=True)
class TableFact:
    """Our packet filter on a machine."""

    sha256: str
    """Of the rules' file; empty where there is none."""
    in_kernel: bool
    """Whether the rules that are wanted are in force."""
    at_boot: bool
    on_trial: bool
    """Whether the clock runs that takes new rules back."""


class TableState(NodeFact[TableFact]):
    """Our packet filter as it is; see files/look.sh."""

    def command(self, chain: str, rules: str, unit: str, timer: str) -> str:
        """One program that reads only. `chain` is named after the rules that are wanted."""
        return script(FILES / "look.sh", RULES=rules, TABLE=TABLE, CHAIN=chain, UNIT=unit, TIMER=timer)

    @staticmethod
    def default() -> TableFact:
        """There is nothing."""
        return TableFact("", in_kernel=False, at_boot=False, on_trial=False)

    def read(self, output: list[str]) -> TableFact:
        """Lines `key value`."""
        found = labelled(output)
        return TableFact(
            found.get("file", ""),
            in_kernel=found.get("kernel") == "yes",
            at_boot=found.get("boot") == "enabled",
            on_trial=found.get("clock") == "active",
        )


class OurTable(Flag):
    """Whether anything of our packet filter is on the machine."""

    def command(self, rules: str, unit_file: str) -> str:
        """In the kernel, or as a file."""
        return (
            f"! nft list table {TABLE} >/dev/null 2>&1 || echo table; [ ! -e {shlex.quote(rules)} ] || echo file; "
            f"[ ! -e {shlex.quote(unit_file)} ] || echo unit"
        )
