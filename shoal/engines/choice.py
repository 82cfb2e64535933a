"""Which engine a run uses, and why: asked for, named by the cluster document, or chosen."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from shoal.cluster.document import Arch, Cluster, Engine, Node
from shoal.engines.bacalhau import release
from shoal.engines.bacalhau.connect import client_for
from shoal.engines.bacalhau.release import Binary
from shoal.engines.bacalhau.runner import BacalhauRunner
from shoal.engines.protocol import Runner, Running
from shoal.engines.ssh import SshRunner
from shoal.errors import Exit, Fault, ShoalError, UsageError
from shoal.results.record import EngineProgram


@dataclass(frozen=True, slots=True)
class Choice:
    """An engine and the reason in a few words."""

    engine: Engine
    reason: str
    binaries: tuple[Binary, ...] = ()
    """The engine's programs, one per architecture of the cluster; none with ssh."""

    def __str__(self) -> str:
        return f"engine: {self.engine} ({self.reason})"


def choose(asked: Engine, cluster: Cluster, *, say: Callable[[str], None] | None = None) -> Choice:
    """The engine of a run: `asked`, else the cluster document's; `auto` takes what can be had.

    With `say` a program that is not in the cache is fetched, as a deploy wants it; without, only the cache counts.
    Raises ShoalError (exit code 4) where Bacalhau is asked for and cannot be had; and, `auto` or not, where what was
    found is not what its publisher signed, or not the archive that was verified before.
    """
    wanted, whose = _wanted(asked, cluster)
    if wanted == "ssh":
        return Choice("ssh", whose)
    try:
        binaries = _binaries({node.arch for node in cluster.nodes}, say)
    except ShoalError as error:
        if wanted == "bacalhau":
            raise ShoalError(
                f"engine bacalhau, {whose}: {error.message}",
                faults=error.faults,
                hint=error.hint,
                exit_code=error.exit_code,
            ) from None
        if error.exit_code is not Exit.MISSING:
            raise  # there is one, and it is not to be trusted: nothing to pass over
        return Choice("ssh", error.message)
    versions = ", ".join(sorted({f"{binary.version} for {binary.arch}" for binary in binaries}))
    found = f"Bacalhau {versions} is in the artefact cache"
    return Choice("bacalhau", found if wanted == "auto" else f"{whose}; {found}", binaries)


def refuse_unused(asked: Engine, cluster: Cluster | None, given: Path | None) -> None:
    """Raise UsageError where a program of the engine is given for what does without the engine.

    Without `cluster` only `asked` counts.
    """
    wanted, whose = _wanted(asked, cluster) if cluster else (asked, "as asked")
    if given is not None and wanted == "ssh":
        raise unused_program_error(whose)


def unused_program_error(reason: str) -> UsageError:
    """The error where a program of the engine is given and the choice, for `reason`, is ssh."""
    return UsageError(
        f"--bacalhau-binary gives the engine's program, and engine ssh ({reason}) has no use for it",
        hint="leave it out, or give --engine bacalhau",
    )


def refuse_others(given: Binary, machines: Sequence[Node], running: Sequence[Running]) -> list[str]:
    """Raise UsageError where machines run another program of the engine than `given`, which would not be what runs.

    `running` is what was read back of `machines`. Returns those that it could not be read of.
    """
    names = [node.name for node in machines if node.arch == given.arch]
    faults = [
        Fault(one.machine, f"runs Bacalhau {one.version or 'of an unknown version'}, sha256 {one.sha256}")
        for one in running
        if one.machine in names and one.sha256 != given.sha256
    ]
    if not names:
        faults = [Fault(node.name, f"is {node.arch}, the program is for {given.arch}") for node in machines]
    if faults:
        raise UsageError(
            f"the program given (Bacalhau {given.version}, sha256 {given.sha256}) is not the one that runs here; "
            "nothing was started",
            faults=tuple(faults),
            hint="`shoal site deploy` places it, it is in the cache now; or leave --bacalhau-binary out",
        )
    return [name for name in names if all(one.machine != name for one in running)]


def programs(binaries: Sequence[Binary], running: Sequence[Running]) -> list[EngineProgram]:
    """The engine's programs for the record of a run: those that run, else those in the cache."""
    cached = [EngineProgram(version=b.version, arch=b.arch, sha256=b.sha256, origin=b.origin) for b in binaries]
    found = with_programs(cached, running)
    return [one for one in found if one.runs_on] or found


def with_programs(known: Sequence[EngineProgram], running: Sequence[Running]) -> list[EngineProgram]:
    """`known` with the machines on which each was found to run, and what else runs there."""
    found = {one.sha256: one.model_copy(deep=True) for one in known}
    for one in running:
        entry = found.setdefault(
            one.sha256, EngineProgram(version=one.version, arch=one.arch, sha256=one.sha256, origin="unknown")
        )
        if one.machine not in entry.runs_on:
            entry.runs_on.append(one.machine)
    return list(found.values())


def deploy_data(choice: Choice) -> dict[str, Any]:
    """The host data that makes a deploy place `choice`: the knob `bacalhau_programs`, empty with ssh."""
    return {
        "bacalhau_programs": {
            binary.arch: {"path": str(binary.path), "sha256": binary.sha256, "version": binary.version}
            for binary in choice.binaries
        }
    }


def runner_for(engine: Engine, cluster: Cluster) -> Runner:
    """The runner that drives `engine`. Raises ShoalError where the cluster has no Bacalhau of ours."""
    if engine == "ssh":
        return SshRunner(cluster)
    return BacalhauRunner(cluster, client_for(cluster))


def _wanted(asked: Engine, cluster: Cluster) -> tuple[Engine, str]:
    """The engine that is asked for or that the document names, and which of the two."""
    return (cluster.engine, f"as cluster {cluster.name!r} says") if asked == "auto" else (asked, "as asked")


def _binaries(archs: set[Arch], say: Callable[[str], None] | None) -> tuple[Binary, ...]:
    if say is not None:
        return tuple(release.resolve(arch, say=say) for arch in sorted(archs))
    if lacking := release.missing(archs):
        raise ShoalError(
            f"no Bacalhau for {', '.join(lacking)} in the artefact cache",
            hint="`shoal artifacts fetch bacalhau` brings it, `shoal artifacts add bacalhau PATH` takes one of yours; "
            "--engine ssh needs nothing but Docker on the nodes",
            exit_code=Exit.MISSING,
        )
    return tuple(binary for arch in sorted(archs) if (binary := release.cached(arch)) is not None)
