"""What apt would do, read from its own simulation, and what of that is refused. Pure functions and one fact."""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass

from roles.common.facts import NodeFact

_INST = re.compile(r"^Inst (?P<name>\S+)(?: \[(?P<old>[^\]]*)\])? \((?P<new>\S+)")
_GONE = re.compile(r"^(?:Remv|Purg) (?P<name>\S+)")


@dataclass(frozen=True, slots=True)
class Simulation:
    """What `apt-get install` would do."""

    new: tuple[tuple[str, str], ...] = ()
    """Packages that are not there yet, with their versions; names without architecture."""
    changed: tuple[tuple[str, str, str], ...] = ()
    """Packages that are there: name, version now, version then."""
    removed: tuple[str, ...] = ()
    downgraded: tuple[str, ...] = ()
    held: tuple[str, ...] = ()
    """Packages on hold that apt would have to change."""
    fault: str = ""
    """What apt says where it cannot do it at all; it may not know a package before its lists are fetched."""


class Simulated(NodeFact[Simulation]):
    """`apt-get -s install` on the machine; it changes nothing and takes no lock."""

    def command(self, names: tuple[str, ...]) -> str:
        """Without recommended packages, as the roles install."""
        return f"LC_ALL=C apt-get -s -q install --no-install-recommends {shlex.join(names)} 2>&1 || true"

    @staticmethod
    def default() -> Simulation:
        """Nothing would be done."""
        return Simulation()

    def read(self, output: list[str]) -> Simulation:
        """See `parsed`."""
        return parsed(output)


def parsed(lines: Sequence[str]) -> Simulation:
    """The simulation's lines: `Inst name [old] (new ...)`, `Remv name [old]`, and lists under their headings."""
    new, changed, removed = [], [], []
    for line in lines:
        if match := _INST.match(line):
            if match["old"]:
                changed.append((match["name"], match["old"], match["new"]))
            else:
                new.append((match["name"], match["new"]))
        elif match := _GONE.match(line):
            removed.append(match["name"])
    faults = [line.removeprefix("E: ") for line in lines if line.startswith("E: ")]
    return Simulation(
        new=tuple(new),
        changed=tuple(changed),
        removed=tuple(dict.fromkeys(removed)),
        downgraded=_listed(lines, "The following packages will be DOWNGRADED:"),
        held=_listed(lines, "The following held packages will be changed:"),
        fault="; ".join(faults),
    )


def refusals(simulation: Simulation, *, may_upgrade: bool) -> list[str]:
    """Why the packages are not installed: each a sentence with the packages' names; none where nothing is lost."""
    found = []
    if simulation.removed:
        found.append(f"apt would remove {', '.join(simulation.removed)}, and nothing of the machine's is removed")
    if simulation.downgraded:
        found.append(f"apt would go back to older versions of {', '.join(simulation.downgraded)}")
    if simulation.held:
        found.append(f"apt would change {', '.join(simulation.held)}, which is on hold (apt-mark showhold)")
    newer = [f"{name} ({old} to {new})" for name, old, new in simulation.changed if name not in simulation.downgraded]
    if newer and not may_upgrade:
        names = " ".join(name for name, _, _ in simulation.changed)
        found.append(
            f"apt would upgrade {', '.join(newer)}: upgrade them first (apt-get install --only-upgrade {names}), "
            "or agree with --yes-to apt-upgrade"
        )
    return found


def consequences(simulation: Simulation) -> list[str]:
    """What installing does to the machine, one line each."""
    found = []
    if simulation.new:
        found.append(f"install {', '.join(f'{name} {version}' for name, version in simulation.new)}")
    found += [f"upgrade {name} from {old} to {new}" for name, old, new in simulation.changed]
    return found


def _listed(lines: Sequence[str], heading: str) -> tuple[str, ...]:
    """The names under a heading: apt indents them, and breaks the line where it is long."""
    names: list[str] = []
    inside = False
    for line in lines:
        if line.strip() == heading:
            inside = True
        elif inside and line.startswith("  "):
            names += line.split()
        else:
            inside = False
    return tuple(name for name in names if not name.startswith("("))
