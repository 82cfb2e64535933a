"""Facts of role `registry`."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path

from roles.common.facts import Flag, NodeFact
from roles.common.script import script
from roles.registry.plan import Look, look_of

FILES = Path(__file__).parent / "files"
GARBAGE = "blob eligible for deletion: "
"""How the registry's program begins the line of each part that no image uses."""


class Ports(NodeFact[Look]):
    """Who listens where, and which of it is ours."""

    def command(self, units: Sequence[str], drop_in: str, packages: str) -> str:
        """One program that reads only."""
        return script(FILES / "look.sh", UNITS=" ".join(units), DROP_IN=drop_in, PACKAGES=packages)

    @staticmethod
    def default() -> Look:
        """Nothing listens."""
        return Look()

    def read(self, output: list[str]) -> Look:
        """See `look_of`."""
        return look_of(output)


class DistributionsService(Flag):
    """Whether the distribution's own service of the registry has anything of ours."""

    def command(self, drop_in: str, packages: str) -> str:
        """One program that reads only."""
        return script(FILES / "distribution.sh", DROP_IN=drop_in, PACKAGES=packages, ACT="no")


class Repositories(NodeFact[list[str] | None]):
    """The first parts of the names of images in the registry's folder; None where there is no folder."""

    def command(self, folder: str) -> str:
        """The folder's own layout, which the registry has kept since its version 2."""
        quoted = shlex.quote(folder)
        return (
            f"[ ! -d {quoted} ] || {{ echo there; ls {quoted}/docker/registry/v2/repositories 2>/dev/null || true; }}"
        )

    def read(self, output: list[str]) -> list[str]:
        """A line `there`, then a name a line."""
        return output[1:]


class UnitsWithoutFile(Flag):
    """Whether systemd still has one of the units although its file is gone."""

    def command(self, units: tuple[str, ...]) -> str:
        """One look at each."""
        return (
            f'for u in {shlex.join(units)}; do f=$(systemctl show "$u" -p FragmentPath --value 2>/dev/null); '
            '[ -z "$f" ] || [ -e "$f" ] || echo "$u"; done'
        )


class Unused(NodeFact[bool]):
    """Whether the registry holds parts that no image uses."""

    def command(self, config: str) -> str:
        """The registry's own count, which changes nothing."""
        quoted = shlex.quote(config)
        return (
            f"[ ! -f {quoted} ] || ! command -v docker-registry >/dev/null || "
            f"docker-registry garbage-collect --dry-run {quoted} 2>/dev/null"
        )

    @staticmethod
    def default() -> bool:
        """There is no registry."""
        return False

    def read(self, output: list[str]) -> bool:
        """A line for each image, and one for each part to be deleted."""
        return any(line.startswith(GARBAGE) for line in output)


class Answers(Flag):
    """Whether a URL gives an answer that is a success."""

    def command(self, url: str) -> str:
        """One try of three seconds."""
        return f"curl -fsS --noproxy '*' -m 3 -o /dev/null {shlex.quote(url)} 2>/dev/null && echo yes || true"
