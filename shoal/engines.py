"""Which engine a run uses, and why: asked for, named by the cluster document, or chosen."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from shoal.bacalhau import release, secrets
from shoal.bacalhau.client import BacalhauClient
from shoal.bacalhau.release import Binary
from shoal.bacalhau.tunnel import Tunnel
from shoal.cluster import Arch, Cluster, Engine
from shoal.errors import Exit, ShoalError
from shoal.runners.bacalhau import BacalhauRunner
from shoal.runners.protocol import Runner, Running
from shoal.runners.ssh import SshRunner
from shoal.runs import EngineProgram


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
    wanted = cluster.engine if asked == "auto" else asked
    whose = f"as cluster {cluster.name!r} says" if asked == "auto" else "as asked"
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


def client_for(cluster: Cluster) -> BacalhauClient:
    """A client of the cluster's orchestrator, through SSH. Raises ShoalError where no deploy made tokens for it."""
    tokens = secrets.load(cluster.name)
    if tokens is None:
        raise ShoalError(
            f"cluster {cluster.name!r} was not given the engine from this machine: there are no tokens for it",
            hint="run the site deploy with the engine's program in the cache, or use --engine ssh",
            exit_code=Exit.MISSING,
        )
    return BacalhauClient(Tunnel(cluster, tokens.control_key.get_secret_value()))


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
