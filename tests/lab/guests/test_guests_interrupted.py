"""What a deploy that was cut off leaves at work on a machine, and what keeps one from being begun."""

from __future__ import annotations

import pytest
from plant import Plant, registered, site_document

from shoal.cluster.document import Cluster
from shoal.errors import ShoalError

pytestmark = [pytest.mark.lab, pytest.mark.timeout(900)]

BUILD = """
mkdir -p /var/lib/shoal/build/base/proc
setsid sh -c '
    exec 9>>/var/lib/shoal/build/lock
    flock 9
    mount -t proc proc /var/lib/shoal/build/base/proc
    touch /run/build-is-at-work
    sleep 900
    touch /var/lib/shoal/build/done
' >/dev/null 2>&1 </dev/null &
timeout 20 sh -c 'until [ -e /run/build-is-at-work ]; do sleep 0.1; done'
"""
"""As base.sh does it: a lock that its children inherit, and what debootstrap mounts."""
SERVER = """
setsid python3 -m http.server 5000 --bind 0.0.0.0 --directory /srv >/dev/null 2>&1 </dev/null &
timeout 20 sh -c 'until ss -Hltn | grep -q ":5000 "; do sleep 0.1; done'
"""


@pytest.fixture
def plant(gateways: Cluster, tmp_path, monkeypatch) -> Plant:
    plant = registered(gateways, "plant", tmp_path, ("requester", "compute-1"))
    monkeypatch.setenv("SHOAL_SITE", str(site_document(plant, tmp_path)))
    return plant


def test_a_teardown_right_after_an_interrupt_ends_the_build_and_leaves_nothing(plant: Plant):
    plant.on("compute-1", BUILD)
    plant.deploy("teardown", limit=["compute-1"])
    assert not plant.holds("compute-1", "pgrep -f '[s]leep 900' >/dev/null")
    assert not plant.holds("compute-1", "grep -q /var/lib/shoal/build /proc/self/mountinfo")
    assert not plant.holds("compute-1", "[ -e /var/lib/shoal ]")
    plant.on("compute-1", "rm -f /run/build-is-at-work")


def test_a_port_that_is_somebody_elses_is_refused_before_the_first_change_on_any_machine(plant: Plant):
    plant.on("requester", SERVER)
    try:
        with pytest.raises(ShoalError, match=r"port 5000 at .* is python3 \(process \d+\)'s, which stays"):
            plant.deploy()
        for node in ("requester", "compute-1"):
            assert not plant.holds(node, "[ -e /var/lib/shoal ]")
    finally:
        plant.on("requester", "kill $(ss -Hltnp 'sport = :5000' | sed 's/.*pid=\\([0-9]*\\).*/\\1/')")
