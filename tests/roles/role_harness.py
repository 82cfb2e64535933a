"""Runs a role's deploy over pyinfra's fake connector and says what it did."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import pyinfra
from pyinfra.api.config import Config
from pyinfra.api.connect import connect_all
from pyinfra.api.deploy import add_deploy
from pyinfra.api.exceptions import PyinfraError
from pyinfra.api.inventory import Inventory
from pyinfra.api.operations import run_ops
from pyinfra.api.state import State, StateStage
from pyinfra.connectors.fake import FakeConnector
from pyinfra.context import ctx_host, ctx_state

from shoal.cluster.document import Cluster, Node
from shoal.deploys import operation_order

CLUSTER = Cluster(
    name="depot",
    substrate="onprem",
    nodes=(
        Node(name="office", roles=("requester",), address="192.0.2.10", user="ops"),
        Node(name="gate-1", roles=("compute",), address="192.0.2.21", user="ops"),
        Node(name="gate-2", roles=("compute",), address="192.0.2.22", user="ops"),
    ),
)


@dataclass
class Outcome:
    """What a deploy did on one host."""

    commands: list[str]
    """All shell commands and uploads of its operations, in order; facts are not among them."""
    operations: dict[str, int]
    """Operation name -> number of its commands."""
    failed: bool

    def text(self) -> str:
        return "\n".join(self.commands)


def run(
    deploy: Callable[[], Any],
    responses: Mapping[str, Any],
    *,
    node: str = "gate-1",
    data: Mapping[str, Any] | None = None,
    cluster: Cluster = CLUSTER,
    others: Mapping[str, Mapping[str, Any]] | None = None,
) -> Outcome:
    """Prepare and execute `deploy` on one fake host; `others` are further hosts' responses, for facts only."""
    hosts = [_entry(node, cluster, responses, data or {})]
    hosts += [_entry(name, cluster, answers, {}) for name, answers in (others or {}).items()]
    state = _state(hosts, node)
    target = state.inventory.get_host(node)
    add_deploy(state, deploy, host=target)
    return _outcome(state, target, failed=_executed(state))


def _entry(
    name: str, cluster: Cluster, answers: Mapping[str, Any], more: Mapping[str, Any]
) -> tuple[str, dict[str, Any]]:
    return name, {
        "shoal_cluster": cluster.model_dump(mode="json"),
        "shoal_node": cluster.node(name).model_dump(mode="json"),
        "_sudo": True,
        "fake_responses": dict(answers),
        "fake_delay": 0,
        "fake_delay_jitter": 0,
        **more,
    }


def _state(hosts: list[tuple[str, dict[str, Any]]], limit: str | None) -> State:
    inventory = Inventory((hosts, {}))
    for host in inventory:
        host.connector_cls = FakeConnector
    state = State(inventory, Config(), initial_limit=[inventory.get_host(limit)] if limit else None)
    state.set_stage(StateStage.Connect)
    connect_all(state)
    state.set_stage(StateStage.Prepare)
    return state


def _executed(state: State) -> bool:
    """Whether it came to nothing: pyinfra raises where no host is left."""
    state.set_stage(StateStage.Execute)
    try:
        run_ops(state)
    except PyinfraError:
        return True
    return False


def _outcome(state: State, target: Any, *, failed: bool) -> Outcome:
    operations: dict[str, int] = {}
    commands: list[str] = []
    for op_hash in state.get_op_order():
        if op_hash in state.ops[target]:
            done = state.ops[target][op_hash].operation_meta._commands or []
            operations[", ".join(state.op_meta[op_hash].names)] = len(done)
            commands += [str(command) if hasattr(command, "bits") else repr(command) for command in done]
    return Outcome(commands, operations, failed or target in state.failed_hosts)


def run_on_all(
    deploy: Callable[[], Any],
    responses: Mapping[str, Mapping[str, Any]],
    *,
    data: Mapping[str, Any] | None = None,
    cluster: Cluster = CLUSTER,
) -> dict[str, Outcome]:
    """Prepare and execute `deploy` on several fake hosts together; `responses` are theirs by name."""
    hosts = [_entry(name, cluster, answers, data or {}) for name, answers in responses.items()]
    state = _state(hosts, None)
    state.current_op_file_number = 0
    operation_order.use()
    pyinfra.is_cli = True  # operations are brought into the order of their lines, as pyinfra's command does
    try:
        for host in state.inventory:
            with ctx_state.use(state), ctx_host.use(host):
                deploy()
        failed = _executed(state)
    finally:
        pyinfra.is_cli = False
    return {host.name: _outcome(state, host, failed=failed and not state.active_hosts) for host in state.inventory}


def changed(outcome: Outcome) -> list[str]:
    """Names of the operations that did something."""
    return [name for name, count in outcome.operations.items() if count]


def file_answer(content: str, mode: str = "644", owner: str = "root root") -> list[str]:
    """What the fact of a text file prints for a file that is as wanted."""
    import hashlib

    return [f"{mode} {owner}", f"{hashlib.sha256(content.encode()).hexdigest()}  -"]


def unit_answer(*, started_s: float = 2000.0, configured_s: float = 1000.0, **values: str) -> list[str]:
    """What the fact of a systemd unit prints; by default it runs and is newer than its configuration."""
    shown = {"LoadState": "loaded", "ActiveState": "active", "UnitFileState": "enabled", "NeedDaemonReload": "no"}
    return [
        *(f"{key}={value}" for key, value in {**shown, **values}.items() if key != "Container"),
        f"StartedUsec={int(started_s * 1e6)}",
        f"Config={configured_s:.9f}",
        f"Container={values.get('Container', 'none')}",
    ]
