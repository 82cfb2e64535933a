"""Operations of role `bacalhau`."""

from __future__ import annotations

import hashlib
import io

from pyinfra.api.operation import operation
from pyinfra.context import host

from roles.bacalhau.config import DATA_DIR, PROGRAM, ROLE, Service
from roles.bacalhau.defaults import Program
from roles.bacalhau.facts import (
    FILES,
    Busy,
    ConfigFaults,
    DataVersion,
    EngineContainers,
    HasNodes,
    Joins,
    NameInData,
    WaitsForOrchestrator,
    on_node,
)
from roles.common.facts import FileFact, FileState, UnitState
from roles.common.notes import changing, will
from roles.common.operations import Commands, failure, upload, will_write
from roles.common.script import script

HEARD_WITHIN_S = 5
"""What a service that was just started gets to reach its orchestrator; seen to take less than one second."""
REPOSITORY_VERSION = 5
"""Of the data folder, since 1.9: an older program refuses it, and this one would refuse a newer."""


def data_version_fault() -> str | None:
    """Why the data of the engine on this machine cannot be taken over; asked before anything is changed."""
    newest = host.get_fact(DataVersion, folder=DATA_DIR)
    if newest > REPOSITORY_VERSION:
        return (
            f"the engine's data under {DATA_DIR} are of version {newest}, made by a newer release; this one reads "
            f"{REPOSITORY_VERSION} at most, and a downgrade is not possible"
        )
    return None


def known_by_name(name: str) -> bool:
    """Whether the service here was made when nodes had their names as ids: it keeps the one in its data."""
    return host.get_fact(NameInData, folder=DATA_DIR) == name


@operation()
def not_in_mid_run(service: Service, wanted: dict[str, str], *, force: bool) -> Commands:
    """Fail, before anything is touched, where the service would have to be restarted while jobs run."""
    state = host.get_fact(UnitState, unit=service.unit, files=tuple(wanted))
    changed = [path for path, sha256 in wanted.items() if _other(host.get_fact(FileState, path=path), sha256)]
    if force or not state.active or not (changed or state.outdated or state.needs_reload):
        return
    work = host.get_fact(
        Busy,
        config_path=service.config_path if service.part == "orchestrator" else "",
        node_id=service.node_id,
    )
    if work.running or work.unknown:
        why = f"{', '.join(changed)} would change" if changed else "its settings are newer than itself"
        if work.unknown:
            yield failure(
                f"{service.unit} has to be restarted ({why}), and it is unknown whether jobs run: {work.unknown}. "
                "Nothing was touched. Where no run is under way, restart it with `shoal site deploy --force` (pyinfra: "
                "--data bacalhau_force=true)"
            )
            return
        yield failure(
            f"{service.unit} has to be restarted ({why}), and jobs run: {'; '.join(work.running[:3])}. Nothing was "
            "touched. Type this again when they are over, or restart all the same with `shoal site deploy --force` "
            "(pyinfra: --data bacalhau_force=true): the runner then gives the lost work to the node again"
        )


@operation()
def program(wanted: Program) -> Commands:
    """The engine's program: uploaded once, checked, and moved to its place in one step."""
    state = host.get_fact(FileState, path=PROGRAM)
    if state is None or (state.sha256, state.mode, state.user) != (wanted.sha256, "755", "root"):
        what = f"the engine's program, {wanted.path.stat().st_size / 1e6:.0f} MB"
        if state is None:
            will_write(PROGRAM, what)
        else:
            will(f"replace {PROGRAM} ({what})")
            changing(PROGRAM)
        yield from upload(str(wanted.path), wanted.sha256, PROGRAM, mode="755", role=ROLE)


@operation()
def secret_file(
    path: str, content: bytes, owner: str, joins_within_s: int | None = None, mode: str = "600"
) -> Commands:
    """A file that others may not read. It travels as an upload: neither a command nor a log shows what is in it.

    With `joins_within_s` the orchestrator is shown the token in it first, and the old file stays where it refuses.
    """
    sha256 = hashlib.sha256(content).hexdigest()
    state = host.get_fact(FileState, path=path)
    if state is None or (state.sha256, state.mode, state.user) != (sha256, mode, owner):
        will(f"{'write' if state is None else 'replace'} {path} (not shown: only {owner} may read it)")
        changing(path)
        proof = None if joins_within_s is None else lambda part: on_node("join.py", "wait", part, str(joins_within_s))
        yield from upload(
            io.BytesIO(content), sha256, path, mode=mode, owner=f"{owner}:{owner}", proof=proof, role=ROLE
        )


@operation()
def joins(service: Service, timeout_s: int) -> Commands:
    """Fail where the orchestrator does not take the token in the configuration; the service itself would not tell."""
    if not host.get_fact(Joins, config_path=service.config_path):
        yield on_node("join.py", "wait", service.config_path, str(timeout_s))


@operation()
def config_is_read(service: Service) -> Commands:
    """Fail where the engine reads the configuration otherwise than it was meant, a mistyped key included."""
    if faults := host.get_fact(ConfigFaults, program=PROGRAM, config_path=service.config_path):
        yield failure(f"{service.config_path} is not read as it is meant: {'; '.join(faults)}")


@operation()
def heard(service: Service, port: int) -> Commands:
    """Start a compute service again that waits to ask for its orchestrator, unless a job runs there.

    After each vain try the engine waits longer, 2 min at most (`backoffDuration` in its journal), also where the
    orchestrator is back by now. Started just now it gets a moment. With a job it is left alone: it comes back by itself
    within that time, and the last wait of the deploy is longer.
    """
    state = host.get_fact(UnitState, unit=service.unit, files=())
    if state.active and host.get_fact(WaitsForOrchestrator, port=port):
        yield script(
            FILES / "heard.sh",
            PORT=str(port),
            UNIT=service.unit,
            LABEL=f"bacalhau-executor=bacalhau-{service.node_id}",
            WITHIN_S=str(HEARD_WITHIN_S),
        )


@operation()
def ready(service: Service, nodes: list[str], timeout_s: int) -> Commands:
    """Wait, with a deadline, until the orchestrator has every one of `nodes`; it is never asked of them."""
    if not host.get_fact(HasNodes, config_path=service.config_path, nodes=tuple(nodes)):
        yield on_node("ask.py", "ready", service.config_path, str(timeout_s), *nodes)


@operation()
def containers_absent(node_id: str) -> Commands:
    """Containers that the engine started, orphans included; the engine's label marks them."""
    label = f"label=bacalhau-executor=bacalhau-{node_id}"
    if there := host.get_fact(EngineContainers, label=label):
        will(f"end and remove {len(there)} containers of the engine")
        yield f"docker rm --force --volumes $(docker ps --all --quiet --filter {label})"


def _other(state: FileFact | None, sha256: str) -> bool:
    return state is None or state.sha256 != sha256
