"""The outbox on a real node: installed, woken by a run, through an outage, paused, and taken away.

The store is an S3 server on the requester; the node ships with the distribution's own rclone.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import random
import shutil
import sys
import tarfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from lab_under_test import Lab

from shoal.cluster import reach as reaches
from shoal.deploys.run import run_deploy
from shoal.errors import ShoalError
from shoal.outbox import nodes as outboxes
from shoal.outbox.documents import OutboxStatus
from shoal.ssh import client as ssh
from shoal.telling import to_stderr
from tests.outbox.making import event, run_folder

pytestmark = [pytest.mark.lab, pytest.mark.timeout(900)]

BUCKET = "/srv/store/events"
STORE = "test-store"
KEY, SECRET = "AKIDLAB", "labsecretlabsecret"
WITHIN_S = 120


@pytest.fixture(scope="module")
def store(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """An S3 server on the requester; gives its endpoint. A site document names it."""
    program = Path(shutil.which("rclone", path=str(Path(sys.executable).parent)) or "rclone")
    with program.open("rb") as stream:
        on(lab, lab.cluster.requester.name, "cat >/tmp/rclone && chmod 755 /tmp/rclone", stdin=stream, timeout_s=300)
    on(lab, lab.cluster.requester.name, f"mkdir -p {BUCKET}")
    start_store(lab)
    folder = tmp_path_factory.mktemp("site")
    credential = folder / "store.key"
    credential.write_text(f"[default]\naws_access_key_id = {KEY}\naws_secret_access_key = {SECRET}\n")
    credential.chmod(0o600)
    endpoint = f"http://{lab.cluster.requester.peer_address}:9000"
    path = folder / "site.json"
    path.write_text(
        json.dumps(
            {
                "cluster": lab.cluster.name,
                "outbox": {
                    "to": "s3:events/depot",
                    "endpoint": endpoint,
                    "credential_file": str(credential),
                    "disk_floor_bytes": 1_000_000,
                },
            }
        )
    )
    patch = pytest.MonkeyPatch()
    patch.setenv("SHOAL_SITE", str(path))
    yield endpoint
    patch.undo()
    stop_store(lab)


def on(lab: Lab, name: str, script: str, **options) -> ssh.Completed:
    return ssh.run(lab.cluster, lab.cluster.node(name), "sh", "-c", script, root=True, **options)


def start_store(lab: Lab) -> None:
    on(
        lab,
        lab.cluster.requester.name,
        f"systemd-run --quiet --unit {STORE} /tmp/rclone --config /dev/null serve s3 --addr :9000 "
        f"--auth-key {KEY},{SECRET} /srv/store",
    )


def stop_store(lab: Lab) -> None:
    on(lab, lab.cluster.requester.name, f"systemctl stop {STORE}; systemctl reset-failed {STORE} 2>/dev/null || true")


def stored(lab: Lab) -> dict[str, str]:
    """SHA-256 by name of what the bucket holds."""
    done = on(lab, lab.cluster.requester.name, f"cd {BUCKET} && find . -type f -exec sha256sum {{}} +")
    return {line.split("  ./")[1]: line.split()[0] for line in done.text.splitlines()}


def give_run(lab: Lab, node: str, name: str, folder: Path, *numbers: int) -> list[bytes]:
    """Put a finished run on the node as the detector leaves it: the manifest last. Gives the clips."""
    clips = [random.Random(number).randbytes(50_000) for number in numbers]
    made = run_folder(folder, name, [event(number, clip=clip) for number, clip in zip(numbers, clips, strict=True)])
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as archive:
        archive.add(made, arcname=name)
    on(
        lab,
        node,
        f"mkdir -p -m 700 /var/lib/shoal/runs && cd /var/lib/shoal/runs && rm -rf /tmp/{name} && mkdir /tmp/{name} && "
        f"tar -x -C /tmp/{name} && cp -r /tmp/{name}/{name} .{name}.part && rm .{name}.part/manifest.json && "
        f"mv .{name}.part {name} && cp /tmp/{name}/{name}/manifest.json {name}/.m && mv {name}/.m {name}/manifest.json",
        stdin=packed.getvalue(),
    )
    return clips


def status(lab: Lab, node: str) -> OutboxStatus:
    found = outboxes.statuses(lab.cluster, [lab.cluster.node(node)])[node]
    if isinstance(found, ShoalError):
        raise found
    return found


def until(look: Callable[[], OutboxStatus], good: Callable[[OutboxStatus], bool]) -> OutboxStatus:
    deadline = time.monotonic() + WITHIN_S
    while True:
        found = look()
        if good(found):
            return found
        assert time.monotonic() < deadline, found
        time.sleep(1)


def test_events_are_shipped_through_an_outage_and_a_pause(lab: Lab, store: str, tmp_path: Path) -> None:
    node = lab.cluster.compute[0].name
    deployed = run_deploy(reaches.load(lab.document), "outbox", data={}, say=to_stderr)
    assert deployed.changed > 0
    again = run_deploy(reaches.load(lab.document), "outbox", data={}, say=to_stderr)
    assert again.changed == 0, [entry.name for entry in again.operations if entry.changed]
    for name, answer in outboxes.test(lab.cluster, lab.cluster.compute).items():
        assert not isinstance(answer, ShoalError), answer
        assert answer[0], (name, answer[1])

    clips = give_run(lab, node, "run-1", tmp_path, 1, 2)
    shipped = until(lambda: status(lab, node), lambda found: found.shipped.clips == 2)
    assert (shipped.shipped.events, shipped.alarms) == (2, ())
    there = stored(lab)
    for clip in clips:
        assert hashlib.sha256(clip).hexdigest() in there.values()
    assert {key.split("/")[1] for key in there if not key.startswith("depot/tests/")} == {"alerts"}

    stop_store(lab)
    give_run(lab, node, "run-2", tmp_path, 3, 4)
    down = until(lambda: status(lab, node), lambda found: found.store.failures > 0)
    assert down.store.code == "link"
    assert (down.waiting.alerts.events, down.waiting.alerts.clips) == (2, 2)
    answer = outboxes.test(lab.cluster, [lab.cluster.node(node)])[node]
    assert isinstance(answer, tuple)
    assert not answer[0]
    assert "not reached" in answer[1]
    assert SECRET not in answer[1]

    start_store(lab)
    outboxes.pause(lab.cluster, [lab.cluster.node(node)], paused=True)
    assert status(lab, node).paused
    on(lab, node, "systemctl start shoal-outbox.service")
    assert status(lab, node).waiting.alerts.clips == 2
    assert outboxes.pause(lab.cluster, [lab.cluster.node(node)], paused=False) == {node: None}
    until(lambda: status(lab, node), lambda found: found.shipped.clips == 4)
    assert len([key for key in stored(lab) if "/alerts/" in key]) == 8
    events = outboxes.events(lab.cluster, [lab.cluster.node(node)])[node]
    assert not isinstance(events, ShoalError)
    assert [found.state("clip") for found in events] == ["shipped"] * 4


def test_the_shipper_sees_nothing_but_the_outbox(lab: Lab, store: str) -> None:
    node = lab.cluster.compute[0].name
    as_shipper = (
        "systemd-run --quiet --wait --pipe -p User=shoal-outbox -p ProtectSystem=strict "
        "-p 'InaccessiblePaths=-/videos -/var/lib/shoal/runs' "
    )
    mode = on(lab, node, "stat -c '%a %U' /etc/shoal/outbox/credential").text
    assert mode == "600 shoal-outbox"
    told = on(lab, node, f"{as_shipper} ls /var/lib/shoal/runs", check=False)
    assert told.exit_code != 0
    units = on(
        lab, node, "systemctl show -p PrivateNetwork,User,CapabilityBoundingSet shoal-outbox-collect shoal-outbox"
    ).text
    collect, ship = units.split("\n\n")
    assert "PrivateNetwork=yes" in collect
    assert "User=shoal-outbox" in ship
    assert "CapabilityBoundingSet=\n" in f"{ship}\n"
    journal = on(lab, node, "journalctl -u shoal-outbox -u shoal-outbox-collect --no-pager; ps -eo args").text
    assert SECRET not in journal


def test_it_goes_and_leaves_nothing_but_what_waits(lab: Lab, store: str, tmp_path: Path) -> None:
    node = lab.cluster.compute[0].name
    outboxes.pause(lab.cluster, [lab.cluster.node(node)], paused=True)
    give_run(lab, node, "run-3", tmp_path, 5)
    until(lambda: status(lab, node), lambda found: found.waiting.alerts.clips == 1)
    path = Path(os.environ["SHOAL_SITE"])
    document = json.loads(path.read_text())
    path.write_text(json.dumps({**document, "outbox": None}))
    first = run_deploy(reaches.load(lab.document), "outbox", data={}, say=to_stderr)
    assert any("1 events wait" in what for _, what in first.left), first.left
    gone = (
        "ls -d /etc/shoal/outbox /usr/local/lib/shoal/outbox.pyz /etc/systemd/system/shoal-outbox* 2>/dev/null || true"
    )
    for name in [one.name for one in lab.cluster.compute]:
        assert on(lab, name, gone).text == ""
        assert "rclone" not in on(lab, name, "dpkg-query -W -f '${Package} ' 2>/dev/null").text
    assert on(lab, node, "ls /var/lib/shoal/outbox/open | wc -l").text == "1"
    path.write_text(json.dumps(document))
    run_deploy(reaches.load(lab.document), "outbox", data={}, say=to_stderr)
    outboxes.pause(lab.cluster, [lab.cluster.node(node)], paused=False)
    until(lambda: status(lab, node), lambda found: found.shipped.clips == 5)
