"""Runs a role's deploy over pyinfra's fake connector and says what it did."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from pyinfra.api.config import Config
from pyinfra.api.connect import connect_all
from pyinfra.api.deploy import add_deploy
from pyinfra.api.exceptions import PyinfraError
from pyinfra.api.inventory import Inventory
from pyinfra.api.operations import run_ops
from pyinfra.api.state import State, StateStage
from pyinfra.connectors.fake import FakeConnector

from shoal.cluster import Cluster, Node

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

    def entry(name: str, answers: Mapping[str, Any], more: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
        return name, {
            "shoal_cluster": cluster.model_dump(mode="json"),
            "shoal_node": cluster.node(name).model_dump(mode="json"),
            "_sudo": True,
            "fake_responses": dict(answers),
            "fake_delay": 0,
            "fake_delay_jitter": 0,
            **more,
        }

    hosts = [entry(node, responses, data or {})]
    hosts += [entry(name, answers, {}) for name, answers in (others or {}).items()]
    inventory = Inventory((hosts, {}))
    for host in inventory:
        host.connector_cls = FakeConnector
    target = inventory.get_host(node)
    state = State(inventory, Config(), initial_limit=[target])
    state.set_stage(StateStage.Connect)
    connect_all(state)
    state.set_stage(StateStage.Prepare)
    add_deploy(state, deploy, host=target)
    state.set_stage(StateStage.Execute)
    failed = False
    try:
        run_ops(state)
    except PyinfraError:
        failed = True
    operations: dict[str, int] = {}
    commands: list[str] = []
    for op_hash in state.get_op_order():
        done = state.ops[target][op_hash].operation_meta._commands or []
        operations[", ".join(state.op_meta[op_hash].names)] = len(done)
        commands += [str(command) if hasattr(command, "bits") else repr(command) for command in done]
    return Outcome(commands, operations, failed or target in state.failed_hosts)


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
