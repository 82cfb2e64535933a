"""Machines of a stack before they are destroyed, on a real tailnet: off it, reached as ever, and one that is gone."""

from __future__ import annotations

import subprocess

import pytest
from conftest import Mesh
from tailnet import wait_for

from shoal.fleet import leave as leaving
from shoal.mesh import membership as members

pytestmark = [pytest.mark.lab, pytest.mark.timeout(900)]


def test_machines_leave_the_tailnet_and_a_lost_one_is_told(mesh: Mesh) -> None:
    names = [node.name for node in mesh.first.nodes]
    mesh.give()
    assert mesh.on().whole
    said: list[str] = []
    done = leaving.leave(mesh.first, said.append, timeout_s=60)
    assert sorted(done.drained) == ["compute-1", "compute-2"], said
    assert sorted(done.off_tailnet) == sorted(names)
    assert done.undone == []
    # Ephemeral ones are off the control server's list, and all are reached at their first addresses.
    wait_for("they are off the list", lambda: not set(names) & set(mesh.control.devices()))
    assert mesh.cluster.nodes == mesh.first.nodes
    for name in names:
        assert mesh.sh(name, "hostname") == name

    # They join again, one is taken away, and the others leave all the same.
    mesh.give()
    assert mesh.on().whole
    machine = f"shoal-{mesh.first.name}-compute-2"
    subprocess.run(["docker", "stop", "-t", "1", machine], check=True, capture_output=True)
    try:
        done = leaving.leave(mesh.first, said.append, timeout_s=60)
    finally:
        subprocess.run(["docker", "start", machine], check=True, capture_output=True)
    assert done.drained == ["compute-1"]
    assert sorted(done.off_tailnet) == ["compute-1", "requester"]
    assert {(it.step, it.node) for it in done.undone} == {("drain", "compute-2"), ("tailnet", "compute-2")}
    assert any(line.strip().startswith("compute-2 is not logged out of the tailnet: ") for line in said), said
    wait_for("it answers again", lambda: members.probe(mesh.first, mesh.first.nodes) == dict.fromkeys(names))
