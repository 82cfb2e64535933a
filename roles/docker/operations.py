"""Operations of role `docker`."""

from __future__ import annotations

import base64
import hashlib
import shlex
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from pyinfra.api.operation import operation
from pyinfra.context import host

from roles.common.consent import DOCKER_RESTART, agreed
from roles.common.facts import Existing, GroupMembers, NodeFact, RecordLines, UnitState
from roles.common.knobs import cluster_of
from roles.common.notes import left, will
from roles.common.operations import (
    RECORDS,
    Commands,
    failure,
    packages,
    recorded_packages_absent,
    will_replace,
    will_write,
    write_text,
)
from roles.common.script import script
from roles.docker.config import LISTS, JsonObject, Ours, merged, parse, read_record, rendered
from roles.docker.defaults import Docker
from roles.docker.plan import (
    RELOADED,
    EngineFacts,
    EnginePlan,
    action,
    ends,
    facts_of,
    first_record,
    packages_of,
    plan,
    stands_in_the_way,
    stopping,
)

if TYPE_CHECKING:
    from pyinfra.api.host import Host

FILES = Path(__file__).parent / "files"
DAEMON_JSON = "/etc/docker/daemon.json"
UNIT = "docker.service"
RECORD = str(RECORDS / "docker.json")
PACKAGES = str(RECORDS / "docker.packages")
MEMBERS = str(RECORDS / "docker.members")
BRINGS = (
    "group docker",
    "path /etc/docker",
    "path /etc/cni",
    "path /etc/cni/net.d",
    "path /var/lib/docker",
    "path /var/lib/containerd",
    "path /opt/containerd",
)
"""What the engine's packages make and leave behind."""


class Engine(NodeFact[EngineFacts]):
    """What of a container engine is on the machine; see files/look.sh."""

    def command(self, registry: str = "") -> str:
        """One program that reads only."""
        del registry
        return script(FILES / "look.sh", DAEMON_JSON=DAEMON_JSON, RECORD=RECORD, PACKAGES=PACKAGES)

    @staticmethod
    def default() -> EngineFacts:
        """There is nothing."""
        return EngineFacts()

    def read(self, output: list[str]) -> EngineFacts:
        """See `facts_of`."""
        return facts_of(output)


def planned(host: Host, docker: Docker) -> tuple[EngineFacts, EnginePlan]:
    """The engine of a host as it is, and what a deploy would do to it."""
    facts = host.get_fact(Engine)
    return facts, plan(facts, docker, cluster_of(host), agreed(host))


@operation()
def engine_recorded(docker: Docker) -> Commands:
    """What is there before the first change, on record; and the refusals, in case there was no look before."""
    facts, what = planned(host, docker)
    if what.refusals:
        yield failure(f"the engine cannot be used: {'; '.join(what.refusals)}")
        return
    if facts.record is not None:
        host.noop("it is on record")
        return
    if docker.docker_record:
        yield write_text(RECORD, first_record(facts).rendered(), "600")


@operation()
def daemon_config(docker: Docker) -> Commands:
    """Our keys in daemon.json, beside its owner's; the record says first which are ours and what they replace."""
    facts, what = planned(host, docker)
    if what.refusals:
        yield failure(f"the engine cannot be used: {'; '.join(what.refusals)}")
        return
    there, ours = parse(facts.file or "", DAEMON_JSON), read_record(facts.record)
    target = merged(there, ours, what.wanted)
    for line in what.will:
        will(line)
    text = rendered(target) if target != there or (facts.file is None and target) else None
    if text is not None:
        if facts.file is None:
            will_write(DAEMON_JSON, f"{', '.join(sorted(target))}")
        else:
            will_replace(DAEMON_JSON, text)
    record = ours.with_settings(there, what.wanted, sha256_text(text) if text else ours.written)
    if facts.record is None:
        record = replace(first_record(facts), keys=record.keys, before=record.before, written=record.written)
    if record != ours or facts.record is None:
        # First the record, then the file: cut off in between, the next run and `remove` still know what is ours. What
        # was ours and is still in the file stays ours until the file is written.
        claimed = replace(record, keys={**ours.keys, **record.keys}, before={**ours.before, **record.before})
        yield write_text(RECORD, claimed.rendered(), "600")
    if text is not None:
        yield script(FILES / "write_config.sh", TARGET=DAEMON_JSON, CONTENT=_base64(text))
    if record != ours and {**ours.keys, **record.keys} != record.keys:
        yield write_text(RECORD, record.rendered(), "600")


@operation()
def engine_installed(docker: Docker) -> Commands:
    """The engine's packages, where the machine has no engine, or has this one and lacks something of it."""
    facts = host.get_fact(Engine)
    asked = packages_of(facts, docker)
    names = [*(asked if not facts.there or facts.engine in asked else ()), *docker.docker_extra_packages]
    if not names:
        host.noop(f"the machine has an engine already: {facts.engine or facts.program}")
        return
    yield from packages._inner(
        names=names,
        role="docker",
        start_services=docker.docker_service,
        keep_record=docker.docker_record,
        brings=BRINGS,
    )


@operation()
def engine_runs(docker: Docker) -> Commands:
    """The engine enabled, running and with our settings in force; an owner's is restarted only where it must be."""
    facts, what = planned(host, docker)
    unit = host.get_fact(UnitState, unit=UNIT, files=(DAEMON_JSON,) if docker.docker_configure else ())
    mine = read_record(facts.record).keys
    untrusted = [entry for entry in what.wanted.get("insecure-registries", []) if entry not in facts.trusts]
    changed = [*(["insecure-registries"] if facts.version and untrusted else [])]
    if unit.outdated and not facts.is_ours and facts.there:
        changed += [key for key in mine if key not in RELOADED]
    todo = action(facts, changed, outdated=unit.outdated) if facts.there else ("nothing" if unit.active else "start")
    if not facts.version and facts.there and unit.active:
        # It runs and does not answer: its own start is not to be cut off, see the wait below.
        todo = "restart" if unit.outdated and facts.is_ours else "nothing"
    if todo == "restart" and not docker.docker_configure:
        todo = "nothing"
    if todo == "start" and not facts.there:
        will(f"start {UNIT}, now and at every boot")
    elif todo == "restart" and not any(line.startswith("restart ") for line in what.will):
        will(f"restart {UNIT}: its settings are newer than itself{stopping(facts)}")
    lost = ends(facts)
    if todo == "restart" and lost and DOCKER_RESTART not in agreed(host):
        names = ", ".join(container.name for container in lost)
        yield failure(f"a restart of the engine would end {names}; agree with --yes-to {DOCKER_RESTART}")
        return
    if unit.needs_reload:
        yield "systemctl daemon-reload"
    if not unit.enabled:
        yield f"systemctl enable --quiet {UNIT}"
    status = f"{{ systemctl status --no-pager --lines=20 {UNIT} >&2; exit 1; }}"
    if todo in {"start", "restart"}:
        yield f"systemctl {todo} {UNIT} || {status}"
    elif todo == "reload":
        yield script(FILES / "reload.sh", UNIT=UNIT, REGISTRIES=" ".join(untrusted), WAIT_S="30")


@operation()
def daemon_config_absent() -> Commands:
    """Our keys out of daemon.json and its owner's former values back; the very file where it was not changed since."""
    facts = host.get_fact(Engine)
    try:
        there, ours = parse(facts.file or "", DAEMON_JSON), read_record(facts.record)
    except ValueError as error:
        yield failure(f"{error}; mend or remove it")
        return
    if not ours.keys:
        host.noop("no settings of ours")
        return
    if facts.file is not None:
        back = ours.taken_back(there)
        if sha256_text(facts.file) == ours.written:
            text = ours.text
            if text is None and back:
                text = rendered(back)
        else:
            text = rendered(back) if back else None
            for key in sorted(key for key in ours.keys if key in back and key not in ours.before):
                left(f"{DAEMON_JSON}: {key}: it was changed after shoal set it")
        if text is None:
            will(f"remove {DAEMON_JSON}")
        else:
            will_replace(DAEMON_JSON, text)
        yield from _taken_over(facts, ours, back)
        if text is None:
            yield f"rm -f {shlex.quote(DAEMON_JSON)}"
        else:
            yield script(FILES / "write_config.sh", TARGET=DAEMON_JSON, CONTENT=_base64(text))
        yield from _restarted(facts, ours)
    yield write_text(RECORD, replace(ours, keys={}, before={}, written="").rendered(), "600")


def _taken_over(facts: EngineFacts, ours: Ours, back: JsonObject) -> Commands:
    """A running engine of an owner's without our settings, by a reload. One that reads its settings anew keeps a list
    that is not in them any more (Docker: `reloadInsecureRegistries`), so it is first given without our entries."""
    if not facts.version or not all(key in RELOADED for key in ours.keys):
        return
    interim = {**back, **{key: back.get(key, []) for key in LISTS & set(ours.keys)}}
    yield script(FILES / "write_config.sh", TARGET=DAEMON_JSON, CONTENT=_base64(rendered(interim)))
    yield script(FILES / "reload.sh", UNIT=UNIT, REGISTRIES="", WAIT_S="0")


def _restarted(facts: EngineFacts, ours: Ours) -> Commands:
    """A running engine of an owner's without settings that take a restart; it keeps them where that ends containers."""
    if not facts.version or facts.is_ours or all(key in RELOADED for key in ours.keys):
        return
    if ends(facts):
        left(f"{UNIT} runs with {', '.join(sorted(ours.keys))} until its next start: a restart would end containers")
    else:
        yield f"systemctl restart {UNIT}"


@operation()
def engine_absent() -> Commands:
    """An engine of ours with its data, where nothing of others is in it; the state that an owner's was in before."""
    facts = host.get_fact(Engine)
    try:
        before = read_record(facts.record)
    except ValueError as error:
        yield failure(f"{error}; mend or remove it")
        return
    if not facts.is_ours:
        if facts.record is not None:
            yield from _state_before(facts, before)
            yield f"rm -f {shlex.quote(RECORD)}"
        packages_of_ours = host.get_fact(Existing, paths=(PACKAGES,))
        if packages_of_ours:
            yield from recorded_packages_absent._inner(role="docker")
        return
    if others := stands_in_the_way(facts, before):
        left(f"the engine ({facts.engine}), because not all in it is ours: {', '.join(others)}")
        host.noop("the engine holds what is not ours")
        return
    images = f"{len(facts.images)} images" if facts.version else f"{len(facts.disk_images)} images"
    will(f"remove the engine ({facts.engine}) with all that is in it: {images}, none of them of others")
    folders = [facts.root, *(["/var/lib/containerd"] if {"containerd", "containerd.io"} & facts.ours else [])]
    kept = facts.root in before.data and facts.root in facts.data
    if kept:
        left(f"{facts.root}: it held data before the deploy")
    if facts.unit_there:
        yield script(
            FILES / "stop.sh",
            UNITS="docker.socket docker.service" + (" containerd.service" if len(folders) > 1 else ""),
            DATA=" ".join(folder for folder in folders if folder not in before.data),
            KEPT=facts.root if kept else "",
            ENTRIES=" ".join(before.entries),
            FORWARD=before.forward,
            SYSCTL="\n".join(f"{name} {value}" for name, value in sorted(before.sysctl.items())),
        )
    yield from recorded_packages_absent._inner(role="docker")
    yield f"rm -f {shlex.quote(RECORD)}"


def _state_before(facts: EngineFacts, before: Ours) -> Commands:
    """An owner's engine that was off or not enabled is so again, unless he has come to use it."""
    if before.unit_state == "disabled" and facts.unit_state == "enabled":
        yield f"systemctl disable --quiet {UNIT}"
    if before.unit_state and not before.unit_active and facts.unit_active:
        if facts.running:
            names = ", ".join(container.name for container in facts.running)
            left(f"{UNIT} runs, although it did not before: containers run on it ({names})")
        else:
            yield f"systemctl stop {'' if before.socket_active else 'docker.socket '}{UNIT}"


@operation()
def group_members(users: tuple[str, ...]) -> Commands:
    """Users in the group `docker`; those that we put in go on record first."""
    members = host.get_fact(GroupMembers, group="docker")
    for user in users:
        if user not in members:
            will(f"{user} joins the group docker, which is as good as root")
            yield f"echo {shlex.quote(user)} >> {MEMBERS} && usermod -aG docker {shlex.quote(user)}"


@operation()
def group_members_absent() -> Commands:
    """Users that we put into the group `docker` out of it again."""
    ours = host.get_fact(RecordLines, path=MEMBERS)
    for user in dict.fromkeys(ours):
        yield f"! id -nG {shlex.quote(user)} 2>/dev/null | grep -qw docker || gpasswd -d {shlex.quote(user)} docker"
    if host.get_fact(Existing, paths=(MEMBERS,)):
        yield f"rm -f {MEMBERS}"


def _base64(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def sha256_text(content: str) -> str:
    """Hex digest of a text as it lies in a file."""
    return hashlib.sha256(content.encode()).hexdigest()
