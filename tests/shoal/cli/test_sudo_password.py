"""`--ask-sudo-password`: every verb that becomes root on machines has it, and hands it on with the cluster."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
from depot import depot
from typer.testing import CliRunner

from shoal.cli import app
from shoal.cli.nodes import app as nodes_app
from shoal.cluster import document as clusters
from shoal.cluster.document import Cluster
from shoal.fleet import nodes

WITHOUT_ROOT = {
    "site prepare": "notes what is to be placed",
    "site allow": "notes which jobs are allowed",
    "site zones": "draws on pictures that are at home",
    "outbox set": "notes where to",
    "nodes approve": "asks the engine alone",
    "engine tunnel": "a port of the engine's, by the login user",
    "mesh status": "asks this machine's own daemon",
}
"""Verbs with --cluster that run no command as root there, and what they do."""


def _verbs(command: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    if not hasattr(command, "list_commands"):
        yield name, command
        return
    context = typer.Context(command)
    for word in command.list_commands(context):
        yield from _verbs(command.get_command(context, word), f"{name} {word}".strip())


def test_every_verb_that_becomes_root_on_machines_has_it() -> None:
    found = {
        name: any("--ask-sudo-password" in one.opts for one in verb.params)
        for name, verb in _verbs(typer.main.get_command(app))
        if any("--cluster" in one.opts for one in verb.params)
    }
    assert {"run", "resume", "results fetch", "results prune", "nodes list", "site deploy"} <= {*found}
    assert {name for name, has in found.items() if not has} == {*WITHOUT_ROOT}


def test_the_password_goes_with_the_cluster_and_is_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHOAL_STATE", str(tmp_path / "state"))
    path = tmp_path / "depot.json"
    clusters.save(depot(), path)
    seen: list[Any] = []

    def look(cluster: Cluster) -> list[nodes.NodeState]:
        seen.append(cluster.sudo_password and cluster.sudo_password.get_secret_value())
        return []

    monkeypatch.setattr(nodes, "look", look)
    for words in ((), ("--ask-sudo-password",)):
        done = CliRunner().invoke(nodes_app, ["list", "--cluster", str(path), *words], input="s3cret\nmore\n")
        assert done.exit_code == 0, done.output
        assert "s3cret" not in done.output
    assert seen == [None, "s3cret"]
