"""Role `bacalhau`: the engine that runs jobs, orchestrator on the requester and compute services on compute nodes."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace

from pyinfra.api.deploy import deploy
from pyinfra.context import host

from roles.bacalhau.config import (
    ADMISSION,
    CONFIG_DIR,
    DATA_DIR,
    GUARD,
    GUARD_UNIT,
    GUARD_UNIT_PATH,
    POLICY,
    PROGRAM,
    ROLE,
    USER,
    Service,
    certificates,
    config,
    guard_unit_text,
    orchestrator,
    orchestrator_addresses,
    policy,
    rendered,
    services,
    unit_text,
)
from roles.bacalhau.defaults import Bacalhau, Program
from roles.bacalhau.facts import FILES, NodeLimits
from roles.bacalhau.operations import (
    config_is_read,
    containers_absent,
    data_version_fault,
    heard,
    joins,
    known_by_name,
    not_in_mid_run,
    program,
    ready,
    secret_file,
)
from roles.common import knobs
from roles.common.accounts import system_user, system_user_absent
from roles.common.facts import Existing
from roles.common.listen import will_listen
from roles.common.operations import (
    barrier,
    folders,
    recorded_files_absent,
    service,
    service_absent,
    text_file,
)
from shoal import node_limits
from shoal.engines.bacalhau import API_PORT, secrets
from shoal.errors import Fault
from shoal.paths import NODE_DRAINED


@dataclass(frozen=True)
class Made:
    """What a service is made of."""

    program: Program
    config: bytes
    unit: str
    certificates: dict[str, tuple[bytes, str, str]]


ASK_ORCHESTRATOR = "See that the orchestrator can be changed now"
ASK_COMPUTE = "See that the compute can be changed now"


@deploy("bacalhau")
def install() -> None:
    """The orchestrator first, then compute services, then the question to the orchestrator whether all are there.

    Every host calls this, whatever its roles: the barriers keep all as they are where one cannot be changed now,
    compute services behind the orchestrator, which is what an upgrade wants, and the question behind them.
    """
    settings = knobs.read(Bacalhau, host)
    node, cluster = knobs.node_of(host), knobs.cluster_of(host)
    wanted = settings.bacalhau_programs.get(node.arch)
    if wanted is None:
        raise knobs.RefusedError(
            f"there is no program of the engine for {node.name}",
            [Fault(node.name, f"is {node.arch}; there is one for {', '.join(settings.bacalhau_programs) or 'none'}")],
            hint="`shoal artifacts add bacalhau PATH`",
        )
    if fault := data_version_fault():
        raise knobs.RefusedError("nothing was changed", [Fault(node.name, fault)])
    tokens, tls = secrets.ensure_tls(cluster.name, orchestrator_addresses(settings, cluster.requester))
    ours = services(node, by_name=known_by_name(node.name))
    limits = host.get_fact(NodeLimits)
    settings = replace(
        settings,
        bacalhau_capacity_cpu=node_limits.cpus_within(settings.bacalhau_capacity_cpu, limits),
        bacalhau_capacity_memory=node_limits.memory_within(settings.bacalhau_capacity_memory, limits),
    )
    if node.has_role("requester"):
        bind = settings.bacalhau_nats_bind or node.peer_address
        will_listen(
            [
                (bind, settings.bacalhau_nats_port, "the engine's orchestrator, TLS and a token"),
                ("127.0.0.1", API_PORT, "the engine's API, with a key"),
            ]
        )
    if node.has_role("compute"):
        will_listen([("127.0.0.1", settings.bacalhau_compute_api_port, "the engine's compute service")])
    # Facts of the moment before the deploy; nothing in it changes them.
    drained = bool(host.get_fact(Existing, paths=(str(NODE_DRAINED),)))
    made = {
        each: Made(
            program=wanted,
            config=rendered(config(each, settings, node, cluster, tokens)),
            unit=_unit(each, settings),
            certificates=certificates(each, tls),
        )
        for each in ours
    }
    files = {each: _files(each, made[each]) for each in ours}
    for each in [one for one in ours if one.part == "orchestrator"]:
        not_in_mid_run(name=ASK_ORCHESTRATOR, service=each, wanted=files[each], force=settings.bacalhau_force)
    for each in [one for one in ours if one.part == "compute"]:
        not_in_mid_run(name=ASK_COMPUTE, service=each, wanted=files[each], force=settings.bacalhau_force)
    barrier(name="Wait until every machine can be changed", unanimous=(ASK_ORCHESTRATOR, ASK_COMPUTE))
    for each in [one for one in ours if one.part == "orchestrator"]:
        _install(each, settings, made[each], run=True)
    barrier(name="Wait until the orchestrator runs", behind=cluster.requester.name)
    for each in [one for one in ours if one.part == "compute"]:
        _guard(settings)
        _install(each, settings, made[each], run=not drained)
        if not drained:
            heard(
                name="See that the compute has its orchestrator",
                service=each,
                port=settings.bacalhau_nats_port,
                _timeout=60,
            )
    barrier(name="Wait until the compute services run")
    if node.has_role("requester"):
        active = {one.name: one for one in host.inventory.get_active_hosts()}
        expected = [
            one.name
            for one in cluster.compute
            if one.name in active and not active[one.name].get_fact(Existing, paths=(str(NODE_DRAINED),))
        ]
        ready(
            name=f"Wait until the orchestrator has every node ({settings.bacalhau_ready_timeout_s} s at most)",
            service=orchestrator(node),
            nodes=expected,
            timeout_s=settings.bacalhau_ready_timeout_s,
            _timeout=settings.bacalhau_ready_timeout_s + 30,
        )


@deploy("bacalhau")
def remove() -> None:
    """Take away services, settings, data, the program, and every container of the engine. Results of runs stay."""
    node = knobs.node_of(host)
    ours = services(node, by_name=known_by_name(node.name))
    for each in reversed(ours):
        service_absent(name=f"Stop the {each.part}", unit=each.unit)
    if node.has_role("compute"):
        service_absent(name="Stop the guard before Docker", unit=GUARD_UNIT)
        containers_absent(name="Remove the engine's containers", node_id=ours[-1].node_id, _timeout=120)
    recorded_files_absent(
        name="Remove the engine",
        role=ROLE,
        legacy=[
            *(each.unit_path for each in ours),
            GUARD_UNIT_PATH,
            GUARD,
            ADMISSION,
            str(CONFIG_DIR),
            str(DATA_DIR),
            PROGRAM,
        ],
    )
    if node.has_role("requester"):
        system_user_absent(name="Remove the orchestrator's user", user=USER, role=ROLE)


def _unit(each: Service, settings: Bacalhau) -> str:
    template = (FILES / f"{each.part}.service").read_text(encoding="utf-8")
    mesh = knobs.cluster_of(host).mesh == "tailscale"
    return unit_text(each, template, mesh=mesh, allowed_paths=settings.bacalhau_allowed_paths)


def _files(each: Service, made: Made) -> dict[str, str]:
    """The files that the service reads at its start, by path, and their hashes as they are to be."""
    found = {
        PROGRAM: made.program.sha256,
        each.config_path: hashlib.sha256(made.config).hexdigest(),
        each.unit_path: hashlib.sha256(made.unit.encode()).hexdigest(),
    }
    found |= {path: hashlib.sha256(text).hexdigest() for path, (text, _, _) in made.certificates.items()}
    if each.part == "compute":
        found |= {path: hashlib.sha256(text.encode()).hexdigest() for path, text in _guard_files().items()}
    return found


def _guard_files() -> dict[str, str]:
    """What the guard before Docker is made of; the policy, which it reads at each request, is not among it."""
    return {
        ADMISSION: (FILES / "admission.py").read_text(encoding="utf-8"),
        GUARD: (FILES / "docker_guard.py").read_text(encoding="utf-8"),
        GUARD_UNIT_PATH: guard_unit_text((FILES / "docker-guard.service").read_text(encoding="utf-8")),
    }


def _guard(settings: Bacalhau) -> None:
    """What decides on the node what may run, before the service that runs it."""
    folders(name="Make the folder of the policy", paths={str(CONFIG_DIR): ("755", "root:root")}, role=ROLE)
    text_file(name="Write down what may run here", path=POLICY, content=policy(settings), role=ROLE)
    contents = _guard_files()
    text_file(name="Place the rules of admission", path=ADMISSION, content=contents[ADMISSION], role=ROLE)
    text_file(name="Place the guard before Docker", path=GUARD, content=contents[GUARD], role=ROLE)
    text_file(name="Describe the guard to systemd", path=GUARD_UNIT_PATH, content=contents[GUARD_UNIT_PATH], role=ROLE)
    service(name="Run the guard before Docker", unit=GUARD_UNIT, config_files=list(contents), _timeout=60)


def _install(each: Service, settings: Bacalhau, made: Made, *, run: bool) -> None:
    if each.owner != "root":
        system_user(name="Make the orchestrator's user", user=USER, role=ROLE, home=str(DATA_DIR))
    program(name="Place the engine's program", wanted=made.program, _timeout=900)
    folders(
        name=f"Make the folders of the {each.part}",
        paths={
            str(CONFIG_DIR): ("755", "root:root"),
            str(DATA_DIR): ("755", "root:root"),
            each.data_path: ("700", f"{each.owner}:{each.owner}"),
        },
        role=ROLE,
        trees=[str(DATA_DIR), each.data_path],
    )
    for path, (text, mode, owner) in made.certificates.items():
        what = path.rpartition("/")[2]
        secret_file(name=f"Place {what} of the {each.part}", path=path, content=text, owner=owner, mode=mode)
    joining = run and each.part == "compute"
    timeout_s = settings.bacalhau_ready_timeout_s
    secret_file(
        name=f"Configure the {each.part}",
        path=each.config_path,
        content=made.config,
        owner=each.owner,
        joins_within_s=timeout_s if joining else None,
        _timeout=timeout_s + 30,
    )
    config_is_read(name=f"Read the {each.part}'s configuration back", service=each)
    text_file(name=f"Describe the {each.part} to systemd", path=each.unit_path, content=made.unit, role=ROLE)
    if joining:
        joins(
            name="See that the orchestrator takes the node", service=each, timeout_s=timeout_s, _timeout=timeout_s + 30
        )
    if run:
        files = list(_files(each, made))
        service(name=f"Run the {each.part}", unit=each.unit, config_files=files, _timeout=120)
