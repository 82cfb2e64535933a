"""Facts of role `bacalhau`."""

from __future__ import annotations

import base64
import re
import shlex
from dataclasses import dataclass
from pathlib import Path

from roles.common.facts import Flag, NodeFact
from shoal import node_limits
from shoal.node_limits import Limits

FILES = Path(__file__).parent / "files"
UNKNOWN = "? "
"""How ask.py begins the line that says why it cannot tell."""
_REPOSITORY = re.compile(r"RepoVersion: ([0-9]{1,9})")


def on_node(program: str, *arguments: str) -> str:
    """The shell line that runs one of the role's Python programs, which stay on the control machine."""
    encoded = base64.b64encode((FILES / program).read_bytes()).decode()
    return f"printf %s {encoded} | base64 -d | python3 - {shlex.join(arguments)}"


class NodeLimits(NodeFact[Limits]):
    """What the machine's control groups give."""

    def command(self) -> str:
        """See shoal/node_limits.py."""
        return node_limits.SCRIPT

    @staticmethod
    def default() -> Limits:
        """No limit."""
        return Limits()

    def read(self, output: list[str]) -> Limits:
        """Lines that are none are passed over."""
        return node_limits.read(output)


class DataVersion(NodeFact[int]):
    """The newest version of the engine's data on the machine; 0 where there are none."""

    def command(self, folder: str) -> str:
        """Of every service."""
        return f"grep -hs '^RepoVersion:' {folder}/*/system_metadata.yaml || true"

    @staticmethod
    def default() -> int:
        """There are none."""
        return 0

    def read(self, output: list[str]) -> int:
        """Lines `RepoVersion: N`; others are passed over."""
        return max((int(match[1]) for line in output if (match := _REPOSITORY.fullmatch(line.strip()))), default=0)


class NameInData(NodeFact[str | None]):
    """The name that the compute service keeps in its data, from when nodes had their names as ids."""

    def command(self, folder: str) -> str:
        """One line of one file."""
        return f"sed -n 's/^NodeName: *//p' {folder}/compute/system_metadata.yaml 2>/dev/null || true"

    def read(self, output: list[str]) -> str | None:
        """One name; several are none."""
        return output[0] if len(output) == 1 else None


@dataclass(frozen=True, slots=True)
class Work:
    """What a restart of a service would disturb."""

    running: tuple[str, ...] = ()
    """Jobs of the orchestrator, or containers of the compute service."""
    unknown: str = ""
    """Why it is not known."""


class Busy(NodeFact[Work]):
    """What runs on a service: jobs of the orchestrator with a configuration, without one the node's containers."""

    def command(self, config_path: str, node_id: str) -> str:
        """The orchestrator's API, or Docker."""
        if config_path:
            return on_node("ask.py", "busy", config_path)
        return f"docker ps --filter label=bacalhau-executor=bacalhau-{node_id} --format '{{{{.Names}}}}'"

    @staticmethod
    def default() -> Work:
        """Nothing."""
        return Work()

    def read(self, output: list[str]) -> Work:
        """A job or container a line; or one that begins with `? ` and says why it is not known."""
        unknown = next((line.removeprefix(UNKNOWN) for line in output if line.startswith(UNKNOWN)), "")
        return Work(() if unknown else tuple(output), unknown)


class Joins(Flag):
    """Whether the orchestrator takes the token in a compute service's configuration."""

    def command(self, config_path: str) -> str:
        """One try; see files/join.py."""
        return f"{on_node('join.py', 'look', config_path)} 2>/dev/null || true"


class ConfigFaults(NodeFact[list[str]]):
    """What the engine's program reads otherwise in its configuration than it was meant; see files/check_config.py."""

    def command(self, program: str, config_path: str) -> str:
        """The engine's program itself is asked."""
        return on_node("check_config.py", program, config_path)

    @staticmethod
    def default() -> list[str]:
        """Nothing."""
        return []

    def read(self, output: list[str]) -> list[str]:
        """One fault a line."""
        return output


class WaitsForOrchestrator(Flag):
    """Whether the machine has no connection to the orchestrator's port; no where it lacks `ss` to look with."""

    def command(self, port: int) -> str:
        """One look at its connections."""
        look = f"ss -Htn state established '( dport = :{port} )' 2>/dev/null | grep -q ."
        return f"command -v ss >/dev/null && ! {{ {look}; }} && echo waits || true"


class HasNodes(Flag):
    """Whether the orchestrator has every one of the nodes."""

    def command(self, config_path: str, nodes: tuple[str, ...]) -> str:
        """One try; see files/ask.py."""
        return f"{on_node('ask.py', 'look', config_path, *nodes)} 2>/dev/null || true"


class EngineContainers(NodeFact[list[str]]):
    """Ids of the containers that the engine started, those that ended included."""

    def command(self, label: str) -> str:
        """By the engine's own label."""
        return (
            "! command -v docker >/dev/null || "
            f"docker ps --all --quiet --filter {shlex.quote(label)} 2>/dev/null || true"
        )

    @staticmethod
    def default() -> list[str]:
        """None."""
        return []

    def read(self, output: list[str]) -> list[str]:
        """One id a line."""
        return output
