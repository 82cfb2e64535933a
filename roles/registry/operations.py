"""Operations of role `registry`."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path

from pyinfra.api.operation import operation
from pyinfra.context import host

from roles.common.facts import Lines, NodeFact
from roles.common.notes import left, will
from roles.common.operations import RECORDS, Commands
from roles.common.script import script
from roles.registry.plan import Look, look_of

FILES = Path(__file__).parent / "files"
PACKAGES = str(RECORDS / "registry.packages")

GARBAGE = "blob eligible for deletion: "


class Ports(NodeFact[Look]):
    """Who listens where, and which of it is ours."""

    def command(self, units: Sequence[str], drop_in: str) -> str:
        """One program that reads only."""
        return script(FILES / "look.sh", UNITS=" ".join(units), DROP_IN=drop_in, PACKAGES=PACKAGES)

    @staticmethod
    def default() -> Look:
        """Nothing listens."""
        return Look()

    def read(self, output: list[str]) -> Look:
        """See `look_of`."""
        return look_of(output)


@operation()
def distributions_service_free(drop_in: str) -> Commands:
    """The distribution's own service of the registry without anything of ours: an owner's as he has it, one that came
    with our package at rest."""
    if host.get_fact(Lines, script=script(FILES / "distribution.sh", DROP_IN=drop_in, PACKAGES=PACKAGES, ACT="no")):
        yield script(FILES / "distribution.sh", DROP_IN=drop_in, PACKAGES=PACKAGES, ACT="yes")


@operation()
def storage_absent(folder: str) -> Commands:
    """The images of the site; where others have come to keep theirs in it, all of it stays."""
    quoted = shlex.quote(folder)
    repositories = f"{quoted}/docker/registry/v2/repositories"
    lines = host.get_fact(
        Lines, script=f"[ ! -d {quoted} ] || {{ echo there; ls {repositories} 2>/dev/null || true; }}"
    )
    if others := [line for line in lines[1:] if line != "shoal"]:
        left(f"{folder}: the registry holds images that are not the site's: {', '.join(others)}")
    elif lines:
        will(f"remove {folder}, the registry's images")
        yield f"rm -rf -- {quoted}"


@operation()
def units_forgotten(units: Sequence[str]) -> Commands:
    """systemd without units whose files are gone."""
    known = f'for u in {shlex.join(units)}; do f=$(systemctl show "$u" -p FragmentPath --value 2>/dev/null); '
    if host.get_fact(Lines, script=f'{known}[ -z "$f" ] || [ -e "$f" ] || echo "$u"; done'):
        yield "systemctl daemon-reload"


@operation()
def garbage_absent(config: str, unit: str) -> Commands:
    """Give back what no image uses any more. The registry stands still meanwhile, a second or two: it must not take
    anything in that is just being counted as unused, nor remember what is gone."""
    quoted = shlex.quote(config)
    look = (
        f"[ ! -f {quoted} ] || ! command -v docker-registry >/dev/null || "
        f"docker-registry garbage-collect --dry-run {quoted} 2>/dev/null"
    )
    unused = [line for line in host.get_fact(Lines, script=look) if line.startswith(GARBAGE)]
    if not unused:
        host.noop("every part belongs to an image")
        return
    yield "\n".join(
        [
            "set -e",
            f"trap 'systemctl start {unit}' EXIT",
            f"systemctl stop {unit}",
            f"docker-registry garbage-collect {quoted} >/dev/null",
        ]
    )


@operation()
def answers(url: str, timeout_s: int) -> Commands:
    """Wait, with a deadline, until `url` gives an answer that is a success."""
    probe = f"curl -fsS --noproxy '*' -m 3 -o /dev/null {shlex.quote(url)}"
    if host.get_fact(Lines, script=f"{probe} 2>/dev/null && echo yes || true"):
        return
    yield (
        f"end=$(($(date +%s) + {timeout_s})); until {probe} 2>/dev/null; do "
        f'[ "$(date +%s)" -lt "$end" ] || {{ echo "no answer within {timeout_s} s:" >&2; {probe}; exit 1; }}; '
        "sleep 0.2; done"
    )
