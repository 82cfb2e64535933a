"""`down`: remove a lab, and prove it by looking again; also where half of it is missing, or all."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from docker.errors import NotFound

from shoal.errors import Exit, ShoalError, UsageError
from shoal.lab import (
    client,
    firewall,
    inotify,
    mounts,
    names,
    private_engine,
    purge,
    ssh_files,
    state,
)
from shoal.lab import engine as engines
from shoal.lab import network as networks
from shoal.lab import node as nodes
from shoal.lab.client import Engine, plain_errors
from shoal.lab.purge import Proof
from shoal.lab.spec import LabSpec, check
from shoal.locks import locked
from shoal.paths import cache_dir, cluster_document, state_dir
from shoal.telling import Say, to_stderr


@dataclass(frozen=True, slots=True)
class Down:
    """What `down` did and saw."""

    existed: bool
    proofs: tuple[Proof, ...]
    kept: tuple[str, ...] = ()
    """What was left on purpose, with the reason."""

    @property
    def clean(self) -> bool:
        """Whether nothing remains that should be gone."""
        return not any(proof.left for proof in self.proofs)


def down(name: str, *, purge_all: bool = False, keep_cache: bool = False, say: Say = to_stderr) -> Down:
    """Remove the lab `name`; with `purge_all` also its images, their cache, and an engine that it brought.

    Raises ShoalError where something refuses to go; what remains after all is in the result's proofs.
    """
    check(LabSpec(name=name))
    with locked(state.lock_path(name), what=f"lab {name!r}", say=say):
        result = _down(name, purge_all, keep_cache, say)
        state.lock_path(name).unlink(missing_ok=True)
    for folder in (state.labs_folder(), cluster_document(name).parent, state_dir(), cache_dir()):
        _remove_if_empty(folder)
    return result


def _down(name: str, purge_all: bool, keep_cache: bool, say: Say) -> Down:
    facts = state.load_facts(name)
    existed = facts is not None or cluster_document(name).exists()
    engine = _engine(facts.engine_url if facts else None, say)
    own = private_engine.load()
    if engine is not None:
        existed |= _remove_from_engine(engine, name, say)
    elif facts is not None and not (purge_all and own is not None and facts.engine_url == own.url):
        raise ShoalError(
            f"the engine at {facts.engine_url} does not answer, and the lab's containers are on it",
            hint="start it and type the command again"
            + (", or add --purge to delete the lab's own engine with all its data" if own else ""),
            exit_code=Exit.MISSING,
        )
    networks.remove_stray_bridge(name)
    firewall.remove_rules(name)
    ssh_files.close_connections(name)
    inotify.restore_limit(facts.inotify_before if facts else None)
    cluster_document(name).unlink(missing_ok=True)
    mounts.remove_tree(state.folder(name))
    kept: list[str] = []
    proofs = _prove(engine, name)
    if purge_all:
        existed |= own is not None
        proofs += purge.purge(engine, name, kept, keep_cache=keep_cache, say=say)
    if own is not None and not purge_all:
        kept.append(f"the lab's own engine at {own.url} and its images (--purge removes them)")
    return Down(existed, tuple(proofs), tuple(kept))


def _engine(recorded_url: str | None, say: Say) -> Engine | None:
    """The engine the lab may be on, without starting or installing one; None where none answers."""
    if recorded_url is not None:
        answer = client.connect(recorded_url)
        if isinstance(answer, str):
            own = private_engine.load()
            # Only a running engine can unmount and forget its containers properly.
            if own is None or own.url != recorded_url or private_engine.daemon_program() is None:
                return None
            private_engine.start(say)
            return engines.open_engine(recorded_url, private=True)
        return Engine(recorded_url, answer)
    try:
        return engines.find(say)
    except ShoalError as error:
        say(f"lab: {error.message}")
        return None


def _remove_from_engine(engine: Engine, name: str, say: Say) -> bool:
    there = nodes.find_all(engine, name)
    for node, container in there.items():
        say(f"lab: removing {node}")
        nodes.remove(engine, name, node, container)
    volumes = _volumes(engine, name)
    for volume in volumes:
        with plain_errors(f"removing the volume {volume}"):
            try:
                engine.client.volumes.get(volume).remove(force=True)
            except NotFound:
                continue
    try:
        network = networks.existing(engine, name)
    except UsageError:
        # Somebody else's of the same name: not the lab's to remove.
        network = None
    if network is not None:
        say("lab: removing the network")
        with plain_errors("removing the lab's network"):
            network.remove()
    return bool(there or volumes or network)


def _volumes(engine: Engine, name: str) -> list[str]:
    with plain_errors("listing volumes"):
        found = engine.client.volumes.list(filters=names.lab_filter(name))
    return [str(volume.name) for volume in found]


def _prove(engine: Engine | None, name: str) -> list[Proof]:
    proofs = []
    if engine is not None:
        selected = names.lab_filter(name)
        with plain_errors("looking for what is left"):
            containers = [str(one.name) for one in engine.client.containers.list(all=True, filters=selected)]
            there = [str(one.name) for one in engine.client.networks.list(filters=selected)]
        proofs += [
            Proof("containers", engine.url, tuple(containers)),
            Proof("volumes", engine.url, tuple(_volumes(engine, name))),
            Proof("networks", engine.url, tuple(there)),
        ]
    bridge = Path("/sys/class/net") / names.bridge_name(name)
    rules = [" ".join(rule) for rule in firewall.lab_rules(name)]
    files = [state.folder(name), ssh_files.control_folder(name), cluster_document(name)]
    return [
        *proofs,
        Proof("network interface", str(bridge), (bridge.name,) if bridge.exists() else ()),
        Proof("firewall rules", "iptables" if firewall.able() else "iptables (not readable here)", tuple(rules)),
        Proof("ssh connections", "processes", tuple(_connections(name))),
        Proof("files", str(state.labs_folder()), tuple(str(path) for path in files if path.exists())),
    ]


def _connections(name: str) -> list[str]:
    marker = str(ssh_files.control_folder(name)).encode()
    return [f"process {path.parent.name}" for path in Path("/proc").glob("[0-9]*/cmdline") if _mentions(path, marker)]


def _mentions(path: Path, marker: bytes) -> bool:
    try:
        arguments = path.read_bytes()
    except OSError:
        return False
    return arguments.startswith(b"ssh:") and marker in arguments


def _remove_if_empty(folder: Path) -> None:
    if folder.is_dir() and not any(folder.iterdir()):
        folder.rmdir()
