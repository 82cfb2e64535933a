"""Whose engine a machine has, what of it has to change, and what is refused: pure functions of what was read there."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import Literal

from roles.common.consent import DOCKER_RESTART
from roles.docker.config import JsonObject, Ours, merged, parse, read_record, wanted_config
from roles.docker.defaults import Docker
from shoal.cluster.document import Cluster

ENGINES = ("docker.io", "docker-ce", "docker-ee", "moby-engine")
"""Packages that are an engine; each of another maker's."""
OLDEST = (20, 10)
"""The oldest engine that shoal is tried with: Debian 12's. Older ones do not give a pulled image's digest reliably."""
RELOADED = frozenset(
    {
        "debug",
        "labels",
        "insecure-registries",
        "registry-mirrors",
        "live-restore",
        "max-concurrent-downloads",
        "max-concurrent-uploads",
        "max-download-attempts",
        "default-runtime",
        "runtimes",
        "shutdown-timeout",
        "features",
    }
)
"""Settings that dockerd takes over on SIGHUP, without a restart (its manual: "Configuration reload behavior")."""
SURVIVES = frozenset({"always", "unless-stopped"})
"""Restart policies with which a container runs again after the engine was restarted."""


@dataclass(frozen=True, slots=True)
class Running:
    """One container that runs."""

    policy: str
    """Its restart policy; empty or `no` where it has none."""
    id: str
    name: str


@dataclass(frozen=True, slots=True)
class EngineFacts:
    """What files/look.sh found."""

    packages: dict[str, str] = field(default_factory=dict)
    """Installed packages among those of engines, with versions."""
    ours: frozenset[str] = frozenset()
    """Packages on our record."""
    program: str = ""
    client_apart: str = ""
    """The package of the client, where there is no `docker` and the distribution has it in one apart."""
    snap: bool = False
    rootless: tuple[str, ...] = ()
    unit_there: bool = False
    unit_active: bool = False
    socket_active: bool = False
    unit_state: str = ""
    """systemd's word: enabled, disabled, masked ..."""
    file: str | None = None
    """Text of daemon.json."""
    record: str | None = None
    flags: tuple[str, ...] = ()
    """The daemon's own command line."""
    version: str = ""
    """Of the engine that answers; empty where none does."""
    live_restore: bool = False
    security: str = ""
    swarm: str = ""
    trusts: frozenset[str] = frozenset()
    """Registries that the running engine speaks to without TLS."""
    running: tuple[Running, ...] = ()
    containers: tuple[tuple[str, str], ...] = ()
    """Id and name of each, running or not."""
    volumes: tuple[str, ...] = ()
    images: tuple[tuple[str, str], ...] = ()
    """Id and name of each."""
    root: str = "/var/lib/docker"
    data: frozenset[str] = frozenset()
    """Those of the data folders that hold anything."""
    entries: tuple[str, ...] = ()
    """Names in the engine's data folder."""
    disk_volumes: tuple[str, ...] = ()
    disk_containers: tuple[str, ...] = ()
    disk_images: tuple[str, ...] = ()
    """Volumes by name, containers and images by id, as the data folder has them; so also where no engine answers."""
    built: frozenset[str] = frozenset()
    """Ids of images that bear our label."""
    sysctl: dict[str, str] = field(default_factory=dict)
    """Paths under /proc/sys and their values, of what an engine changes at its start."""
    forward: str = ""

    @property
    def engine(self) -> str:
        """The engine's package, empty where it came without one."""
        return next((name for name in ENGINES if name in self.packages), "")

    @property
    def there(self) -> bool:
        """Whether the machine has an engine, running or not."""
        return bool(self.engine or self.version) or (self.unit_there and bool(self.program))

    @property
    def is_ours(self) -> bool:
        """Whether the engine came with us: its package was absent before and is on record. Other packages on that
        record say nothing of the engine."""
        return bool(self.engine) and self.engine in self.ours


def facts_of(lines: Sequence[str]) -> EngineFacts:
    """The lines of files/look.sh. Unknown ones are passed over."""
    many: dict[str, list[str]] = {}
    for line in lines:
        key, _, value = line.partition(" ")
        many.setdefault(key, []).append(value.strip())

    def one(key: str) -> str:
        return many.get(key, [""])[-1]

    running = (value.split(" ") for value in many.get("running", []))
    return EngineFacts(
        packages={value.split(" ")[0]: value.partition(" ")[2] for value in many.get("package", [])},
        ours=frozenset(many.get("ours", ())),
        program=one("program"),
        client_apart=one("client-apart"),
        snap=one("snap") == "yes",
        rootless=tuple(many.get("rootless", ())),
        unit_there=one("unit-LoadState") == "loaded" or one("unit-UnitFileState") == "masked",
        unit_active=one("unit-ActiveState") in {"active", "activating", "reloading"},
        unit_state=one("unit-UnitFileState"),
        socket_active=one("socket") == "active",
        file=_decoded(many.get("file")),
        record=_decoded(many.get("record")),
        flags=tuple(many.get("flag", ())),
        version=one("version"),
        live_restore=one("live-restore") == "true",
        security=one("security"),
        swarm=one("swarm"),
        trusts=frozenset(one("trusts").split()),
        # `{{.RestartPolicy.Name}}` is empty for containers of old engines.
        running=tuple(
            Running(words[0] if len(words) > 2 else "", words[-2], words[-1].lstrip("/"))
            for words in running
            if len(words) > 1
        ),
        containers=tuple((value.split(" ")[0], value.partition(" ")[2]) for value in many.get("container", [])),
        volumes=tuple(many.get("volume", ())),
        images=tuple((value.split(" ")[0], value.partition(" ")[2]) for value in many.get("image", [])),
        root=one("root") or "/var/lib/docker",
        data=frozenset(many.get("data", ())),
        entries=tuple(many.get("entry", ())),
        disk_volumes=tuple(many.get("disk-volume", ())),
        disk_containers=tuple(many.get("disk-container", ())),
        disk_images=tuple(many.get("disk-image", ())),
        built=frozenset(many.get("built", ())),
        sysctl={value.split(" ")[0]: value.partition(" ")[2] for value in many.get("sysctl", [])},
        forward=one("forward"),
    )


Action = Literal["nothing", "reload", "restart", "start"]


@dataclass(frozen=True, slots=True)
class EnginePlan:
    """What a deploy does to the engine."""

    install: bool
    """Whether packages are installed: only where there is no engine."""
    wanted: JsonObject
    """Our settings."""
    refusals: tuple[str, ...] = ()
    """Why nothing is done, each a sentence that says what to do; empty where all is well."""
    will: tuple[str, ...] = ()
    """What it means for the machine, for `--dry`."""


def plan(facts: EngineFacts, docker: Docker, cluster: Cluster, agreed: Collection[str] = ()) -> EnginePlan:
    """What has to be done with the engine that is there, or that there is none."""
    owners = facts.there and not facts.is_ours
    try:
        there, ours = parse(facts.file or "", "/etc/docker/daemon.json"), read_record(facts.record)
    except ValueError as error:
        return EnginePlan(False, {}, (f"{error}; mend or remove it",))
    wanted = (
        wanted_config(docker, cluster, there=ours.taken_back(there), owners=owners) if docker.docker_configure else {}
    )
    if owners and docker.docker_configure:
        # What its owner has it do already, by flag or file, is not said twice: dockerd refuses that.
        wanted = _needed(wanted, facts, ours)
    refusals = [*_unusable(facts), *(_flags(facts, wanted) if docker.docker_configure else [])]
    if facts.there and docker.docker_configure:
        refusals += _restart_refusals(facts, merged(there, ours, wanted), there, agreed)
    return EnginePlan(
        install=not facts.there,
        wanted=wanted,
        refusals=tuple(refusals),
        will=tuple(_consequences(facts, merged(there, ours, wanted), there)) if docker.docker_configure else (),
    )


def packages_of(facts: EngineFacts, docker: Docker) -> tuple[str, ...]:
    """The engine's packages: what the knobs name, and its client where that is a package apart."""
    if docker.docker_source == "docker-ce":
        return docker.docker_ce_packages
    apart = docker.docker_record and "docker.io" in docker.docker_packages and facts.client_apart
    return (*docker.docker_packages, *([facts.client_apart] if apart else []))


def action(facts: EngineFacts, changed: Collection[str], *, outdated: bool) -> Action:
    """What brings an engine to settings of which those of the keys `changed` differ from the ones it runs with.

    `outdated`: its file is younger than the process; for an engine of an owner that alone is no reason.
    """
    if not facts.unit_active and not facts.version:
        return "start"
    if any(key not in RELOADED for key in changed):
        return "restart"
    if changed:
        return "reload"
    return "restart" if outdated and facts.is_ours else "nothing"


def first_record(facts: EngineFacts) -> Ours:
    """What is written down before the first change."""
    return Ours(
        text=facts.file,
        unit_state=facts.unit_state if facts.there else "",
        unit_active=facts.unit_active,
        socket_active=facts.socket_active,
        entries=tuple(sorted(facts.entries)) if facts.root in facts.data else (),
        volumes=tuple(sorted({*facts.volumes, *facts.disk_volumes})),
        containers=tuple(sorted({key for key, _ in facts.containers} | {*facts.disk_containers})),
        images=tuple(sorted({key for key, _ in facts.images} | {*facts.disk_images})),
        data=tuple(sorted(facts.data)),
        sysctl=facts.sysctl,
        forward=facts.forward,
    )


def ends(facts: EngineFacts) -> tuple[Running, ...]:
    """The containers that a restart of the engine ends for good: no restart policy, and no live-restore."""
    if facts.live_restore:
        return ()
    return tuple(container for container in facts.running if container.policy not in SURVIVES)


def stopping(facts: EngineFacts) -> str:
    """The containers that stop with the engine, as the end of a sentence: those with a restart policy come back."""
    if facts.live_restore or not facts.running:
        return ""
    names = [
        container.name if container.policy in SURVIVES else f"{container.name} (for good)"
        for container in facts.running
    ]
    return f"; containers that stop: {', '.join(names)}"


def stands_in_the_way(facts: EngineFacts, before: Ours) -> list[str]:
    """What of others is in an engine of ours, so that it stays at teardown: containers, volumes, images.

    What lay there before the engine stays with its folder and is no reason to keep the engine. What cannot be asked of
    an engine that does not run is read from its folders.
    """
    containers = facts.containers if facts.version else [(key, key[:12]) for key in facts.disk_containers]
    found = [f"container {name.lstrip('/')}" for key, name in containers if key not in before.containers]
    found += [f"volume {name}" for name in sorted({*facts.volumes, *facts.disk_volumes} - {*before.volumes})]
    found += [f"image {name}" for key, name in facts.images if key not in {*facts.built, *before.images}]
    return found


def _needed(wanted: JsonObject, facts: EngineFacts, ours: Ours) -> JsonObject:
    needed = dict(wanted)
    mine = ours.keys.get("insecure-registries", [])
    lacking = [entry for entry in wanted.get("insecure-registries", []) if entry in mine or entry not in facts.trusts]
    if lacking:
        needed["insecure-registries"] = lacking
    else:
        needed.pop("insecure-registries", None)
    return needed


def _unusable(facts: EngineFacts) -> list[str]:
    found = []
    if facts.snap or facts.program.startswith("/snap/"):
        found.append(
            "its Docker is snap's, which sees neither /videos nor /var/lib/shoal, and a second engine would be in its "
            "way: take it away first (snap remove docker)"
        )
    elif "podman-docker" in facts.packages:
        found.append(
            "its `docker` is podman's (package podman-docker): shoal needs an engine; take podman-docker away first, "
            "podman itself may stay"
        )
    elif facts.rootless and not facts.there:
        found.append(
            f"its Docker runs without root ({facts.rootless[0]}), which is not supported: jobs read /videos as root "
            "and networks are cut by the engine"
        )
    elif facts.unit_state == "masked":
        found.append("its docker.service is masked: systemctl unmask docker.service, or take the engine away")
    elif facts.version and (number := _version(facts.version)) and number < OLDEST:
        found.append(f"its engine is {facts.version}, at least {'.'.join(map(str, OLDEST))} is needed: upgrade it")
    elif facts.there and "rootless" in facts.security:
        found.append("its Docker runs without root, which is not supported")
    elif facts.there and not facts.is_ours and facts.unit_active and not facts.version:
        found.append("its engine runs and does not answer at /run/docker.sock: see systemctl status docker")
    return found


def _flags(facts: EngineFacts, wanted: JsonObject) -> list[str]:
    """Settings that the daemon has on its command line may not be in its file as well: it would not start again."""
    found = []
    names = {flag.lstrip("-").partition("=")[0] for flag in facts.flags if flag.startswith("--")}
    for key in wanted:
        flag = {"insecure-registries": "insecure-registry", "registry-mirrors": "registry-mirror"}.get(key, key)
        flag = {"log-opts": "log-opt"}.get(flag, flag)
        if flag in names:
            value = ", ".join(wanted[key]) if isinstance(wanted[key], list) else wanted[key]
            found.append(
                f"its engine has --{flag} on its command line, beside which {key} may not stand in daemon.json: add "
                f"{value} there yourself and restart the engine"
            )
    if wanted and "config-file" in names and not any("/etc/docker/daemon.json" in flag for flag in facts.flags):
        found.append(
            "its engine reads another file than /etc/docker/daemon.json (--config-file): add "
            f"{', '.join(sorted(wanted))} there yourself, or set docker_configure to false"
        )
    return found


def _restart_refusals(facts: EngineFacts, target: JsonObject, there: JsonObject, agreed: Collection[str]) -> list[str]:
    changed = _changed(target, there)
    if action(facts, changed, outdated=False) != "restart" or DOCKER_RESTART in agreed:
        return []
    if not (lost := ends(facts)):
        return []
    names = ", ".join(f"{container.name} ({container.id})" for container in lost)
    return [
        f"setting {', '.join(changed)} restarts its engine, which would end {names}: no restart policy, and "
        f"live-restore is off. Give them one (docker update --restart unless-stopped NAME), or agree with "
        f"--yes-to {DOCKER_RESTART}"
    ]


def _consequences(facts: EngineFacts, target: JsonObject, there: JsonObject) -> list[str]:
    found: list[str] = []
    changed = _changed(target, there)
    if not facts.there:
        return found
    if changed:
        found += [f"daemon.json: {key}: {_text(there, key)} becomes {_text(target, key)}" for key in changed]
    what = action(facts, changed, outdated=False)
    if what == "reload":
        found.append("docker.service reads its settings anew, without a restart")
    if what == "restart":
        found.append(f"restart docker.service{stopping(facts)}")
    if what == "start":
        found.append("start docker.service, which does not run now")
    return found


def _changed(target: JsonObject, there: JsonObject) -> list[str]:
    return sorted(key for key in {*target, *there} if target.get(key) != there.get(key))


def _text(values: JsonObject, key: str) -> str:
    return str(values[key]) if key in values else "(not set)"


def _version(text: str) -> tuple[int, ...]:
    match = re.match(r"(\d+)\.(\d+)", text)
    return tuple(map(int, match.groups())) if match else ()


def _decoded(values: list[str] | None) -> str | None:
    if not values:
        return None
    try:
        return base64.b64decode(values[-1]).decode(errors="replace")
    except binascii.Error:
        return None
