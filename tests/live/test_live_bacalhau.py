"""Role `bacalhau` on the machines, where the site runs with the engine."""

from __future__ import annotations

import pytest

pytestmark = pytest.mark.live

SERVICES = {"orchestrator": "bacalhau", "compute": "root"}
SECRETS = {"orchestrator": 4, "compute": 2}
"""The node token and three API keys on the requester; on a compute node the node token and a key of its own."""


def service_of(machine, part):
    if not machine.file("/usr/local/lib/shoal/bacalhau").exists:
        pytest.skip("this site runs without the engine")
    service = machine.service(f"bacalhau-{part}.service")
    assert service.is_running
    assert service.is_enabled
    return service


def check(machine, part):
    service_of(machine, part)
    settings = machine.file(f"/etc/bacalhau/{part}.yaml")
    assert (settings.mode, settings.user) == (0o600, SERVICES[part])
    assert machine.file(f"/var/lib/bacalhau/{part}").mode == 0o700
    pid = machine.check_output(f"systemctl show -p MainPID --value bacalhau-{part}")
    assert machine.check_output(f"stat -c %U /proc/{pid}") == SERVICES[part]
    # The token is in no process's arguments and no environment, nor in the journal.
    tokens = [
        line.split('"')[3] for line in settings.content_string.splitlines() if '"Token":' in line or '"APIKey":' in line
    ]
    assert len(tokens) == SECRETS[part]
    seen = machine.check_output("ps axww -o args")
    journal = machine.check_output(f"journalctl -u bacalhau-{part} --no-pager -o cat")
    environment = machine.check_output(f"tr '\\0' '\\n' < /proc/{pid}/environ")
    assert not [token for token in tokens if token in seen or token in journal or token in environment]


def test_orchestrator(requester):
    check(requester, "orchestrator")
    address = requester.node.peer_address
    assert requester.socket(f"tcp://{address}:4222").is_listening
    assert not requester.socket("tcp://0.0.0.0:4222").is_listening
    assert requester.socket("tcp://127.0.0.1:1234").is_listening
    assert not requester.socket("tcp://0.0.0.0:1234").is_listening
    # Nothing of it is to be had without a key.
    code = requester.check_output(
        "curl -sS --noproxy '*' -m 5 -o /dev/null -w '%{http_code}' http://127.0.0.1:1234/api/v1/orchestrator/jobs"
    )
    assert code == "401"


def test_compute_service(worker):
    check(worker, "compute")
    assert worker.socket("tcp://127.0.0.1:1235").is_listening
    for port in (1234, 1235, 6001, 8438):
        assert not worker.socket(f"tcp://0.0.0.0:{port}").is_listening
        assert not worker.socket(f"tcp://:::{port}").is_listening


def test_the_api_is_not_to_be_reached_from_other_machines(worker, live_cluster):
    service_of(worker, "compute")
    if "requester" in worker.node.roles:
        pytest.skip("this machine is the requester")
    url = f"http://{live_cluster.requester.peer_address}:1234/api/v1/agent/alive"
    assert worker.run(f"curl -sS --noproxy '*' -m 5 {url}").rc == 7  # refused
