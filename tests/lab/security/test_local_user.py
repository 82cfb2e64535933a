"""What another user of a machine, in no group of ours, can see and change there: nothing of runs, footage, engine."""

from __future__ import annotations

import pytest
from attack_ground import Ground

pytestmark = [pytest.mark.lab, pytest.mark.timeout(600)]

AS_NOBODY = ("setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups", "--no-new-privs", "sh", "-c")
CLOSED = (
    "ls /var/lib/shoal/runs",
    "ls /var/lib/shoal/outbox",
    "cat /etc/bacalhau/compute.yaml",
    "cat /etc/bacalhau/orchestrator.yaml",
    "cat /etc/bacalhau/orchestrator.key",
    "curl -sS -m 5 --unix-socket /run/docker.sock http://docker/version",
    "curl -sS -m 5 --unix-socket /run/shoal-guard/docker.sock http://docker/version",
    "curl -sSf -m 5 http://127.0.0.1:1234/api/v1/orchestrator/jobs",
    "curl -sSf -m 5 http://127.0.0.1:1235/api/v1/agent/config",
    "cat /videos/*.mp4",
    "ls /var/lib/bacalhau/orchestrator /var/lib/bacalhau/compute",
)
OURS = "/var/lib/shoal /usr/local/lib/shoal /etc/shoal /etc/bacalhau /videos"


@pytest.mark.parametrize("node", ["requester", "compute-1"])
def test_another_user_sees_and_changes_nothing(ground: Ground, node: str) -> None:
    assert ground.done(node, *AS_NOBODY, "id -u; ls / >/dev/null").stdout == "65534\n"
    for words in CLOSED:
        done = ground.done(node, *AS_NOBODY, words)
        assert done.returncode != 0, (words, done.stdout[:500])
    journal = ground.done(node, *AS_NOBODY, "journalctl --quiet --no-pager --lines 5")
    assert journal.stdout == ""
    writable = ground.done(node, *AS_NOBODY, f"find {OURS} ! -type l -writable 2>/dev/null")
    assert writable.stdout == ""
    # Footage is what is closed; that there is a folder is no secret.
    readable = ground.done(node, *AS_NOBODY, f"find {OURS} -xdev -type f -readable 2>/dev/null")
    seen = [path for path in readable.stdout.splitlines() if path.endswith((".mp4", ".jpg", ".jsonl", ".key"))]
    assert seen == []
    setuid = ground.done(node, "find", *OURS.split(), "-xdev", "-perm", "/6000", "-type", "f")
    assert setuid.stdout == ""
