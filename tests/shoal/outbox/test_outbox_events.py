"""Events at home and in the store, in one list; and the settings of the store that they go to."""

from __future__ import annotations

import subprocess
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from shoal.cluster.document import Cluster, EventsStore, Node
from shoal.errors import UsageError
from shoal.outbox import events as listing
from shoal.outbox import nodes
from shoal.outbox.documents import OutboxEvent, ShippedPart
from shoal.results import record
from shoal.results.lock import locked
from shoal.results.record import Image, NodeRecord, RunRecord, Shipped, Weights
from shoal.site import outbox as stores
from shoal.site.outbox import SiteOutbox

ONE = Node(name="one", roles=("requester", "compute"), address="10.0.0.1")
NOW = datetime(2026, 11, 30, 12, tzinfo=UTC)
HOME = listing.ListedEvent(
    event="0" * 31 + "1",
    node="gate-1",
    run="run-1",
    camera="yard",
    severity="alert",
    start_utc="2026-11-30T10:00:00.000Z",
    start_s=1.0,
    end_s=5.0,
    privacy="people",
    home="/runs/run-1/gate-1",
    clip_home="/runs/run-1/gate-1/clips/x.mp4",
)


def shipped(number: int, start_utc: str | None, *states: str) -> OutboxEvent:
    parts = [
        ShippedPart(
            kind=kind,
            key=f"k/{number}.{kind}",
            state=state,
            size_bytes=1,
            sha256="0" * 64,
            shipped_at=None,
            trouble=None,
        )
        for kind, state in zip(("event", "clip"), states, strict=False)
    ]
    return OutboxEvent(
        event=f"{number:032x}",
        run="run-1",
        camera="gate",
        severity="record",
        start_utc=start_utc,
        start_s=2.0,
        end_s=3.0,
        privacy="people",
        no_clip=None if len(parts) == 2 else "quarantined",
        parts=tuple(parts),
    )


def test_an_event_at_home_and_in_the_store_is_one_line() -> None:
    there = shipped(1, HOME.start_utc, "shipped", "waiting")
    other = shipped(2, "2026-11-30T11:00:00.000Z", "shipped")
    second, first = (
        listing.joined([HOME], {"gate-1": [there, other]})[0],
        listing.joined([HOME], {"gate-1": [there, other]})[1],
    )
    assert (first.clip_home, first.stored, first.key, first.clip_stored, first.clip_key) == (
        HOME.clip_home,
        "shipped",
        "k/1.event",
        "waiting",
        None,
    )
    assert first.shipped_bytes == 1
    assert (second.home, second.no_clip, second.clip_stored) == (None, "quarantined", "")


@pytest.mark.parametrize(
    "time_of_node",
    [
        "2026-11-30",
        "2026-11-30T12:00:00",
        "0001-01-01T00:00:00+23:59",
        "9999-12-31T23:59:59-23:59",
        "soon",
        "²",
        "²" * 200,
    ],
)
def test_a_time_that_a_node_made_up_ends_no_listing(time_of_node: str) -> None:
    odd = replace(HOME, start_utc=time_of_node, event="0" * 31 + "2")
    found = listing.joined([HOME, odd], {})
    assert HOME in listing.chosen(found, since=datetime(2026, 11, 30, 9, tzinfo=UTC), camera=None)


def test_a_pause_is_written_through_no_link(tmp_path: Path) -> None:
    """Its folder belongs to the shipper's user, and the mark is root's."""
    other, mark, program = tmp_path / "other", tmp_path / "paused", tmp_path / "outbox.pyz"
    program.touch()
    script = nodes._PAUSE.replace(nodes.PAUSED, str(mark)).replace(nodes.PROGRAM, str(program))
    other.write_text("as it was")
    mark.symlink_to(other)
    subprocess.run(["sh", "-c", script, "pause", "on"], check=True, timeout=30)
    assert other.read_text() == "as it was"
    assert mark.is_file()
    assert not mark.is_symlink()
    subprocess.run(["sh", "-c", script, "pause", "off"], check=True, timeout=30)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["other", "outbox.pyz"]


def test_only_what_was_asked_for() -> None:
    events = [HOME, replace(HOME, camera="gate", start_utc="2026-11-29T10:00:00.000Z")]
    assert [*listing.chosen(events, since=listing.since_of("3h", NOW), camera=None)] == events[:1]
    assert [*listing.chosen(events, since=listing.since_of("2026-11-29"), camera="gate")] == events[1:]
    with pytest.raises(UsageError, match="since"):
        listing.since_of("yesterday")


@pytest.mark.parametrize(
    ("to", "kind", "path"),
    [
        ("s3:bucket", "s3", "bucket"),
        ("gs:my-bucket/site/a", "gs", "my-bucket/site/a"),
        ("folder:/mnt/usb", "folder", "/mnt/usb"),
        ("sftp:gate@store.example:2222/srv/events", "sftp", "/srv/events"),
        ("sftp:gate@[2001:db8::1]/srv", "sftp", "/srv"),
        ("rclone:store:path/x", "rclone", "path/x"),
    ],
)
def test_stores(to: str, kind: str, path: str) -> None:
    found = stores.target(to)
    assert (found.kind, found.path) == (kind, path)


@pytest.mark.parametrize(
    "to",
    [
        *(
            "bucket",
            "s3:",
            "s3:Bucket",
            "s3:bucket/../x",
            "s3:b\nendpoint = x",
            "gs:bucket/",
            "folder:usb",
            "folder:/a/../b",
        ),
        *("folder:/", "sftp:host/path", "sftp:u@h:99999/p", "sftp:u@h/p\nx", "rclone:x", "ftp:x", "folder:/a b"),
    ],
)
def test_what_names_no_store_is_refused(to: str) -> None:
    with pytest.raises(ValueError, match=r"wanted|names no store"):
        stores.target(to)


def test_all_faults_come_in_one_list(tmp_path: Path) -> None:
    loose = SiteOutbox.model_construct(
        to="sftp:u@h/p", endpoint="ftp://x", timetable="8:00,1M 09:00,fast", credential_file=None, known_hosts_file=None
    )
    assert {fault.where for fault in stores.faults(loose)} == {
        "endpoint",
        "credential_file",
        "known_hosts_file",
        "timetable",
    }
    key = tmp_path / "key"
    key.write_text("x")
    key.chmod(0o644)
    wanted = SiteOutbox(to="s3:bucket", credential_file=key)
    with pytest.raises(UsageError) as told:
        stores.checked(wanted)
    assert "chmod 600" in str(told.value)
    key.chmod(0o600)
    assert stores.checked(wanted) is wanted


def test_the_nodes_configuration_holds_no_secret_and_one_line_a_setting(tmp_path: Path) -> None:
    key = tmp_path / "key"
    key.write_text("[default]\naws_secret_access_key = VERYSECRET\n")
    key.chmod(0o600)
    data = stores.deploy_data(SiteOutbox(to="s3:bucket/x", endpoint="http://192.0.2.1:9000", credential_file=key))
    assert "VERYSECRET" not in str(data)
    assert data["outbox_remote"] == "store:bucket/x"
    assert "endpoint = http://192.0.2.1:9000" in data["outbox_config"].splitlines()
    assert "no_check_bucket = true" in data["outbox_config"]
    google = stores.deploy_data(SiteOutbox(to="gs:bucket"))
    assert "env_auth = true" in google["outbox_config"]
    assert google["outbox_credential_file"] is None
    folder = stores.deploy_data(SiteOutbox(to="folder:/mnt/usb"))
    assert (folder["outbox_two_steps"], folder["outbox_folder"]) == (True, "/mnt/usb")
    assert stores.deploy_data(None) == {}


def test_a_clusters_own_bucket_is_the_target_unless_another_store_was_set() -> None:
    plain = Cluster(name="depot", substrate="onprem", nodes=(ONE,))
    bucket = plain.model_copy(update={"events_bucket": "project-shoal-lab"})
    own = stores.of_cluster(None, bucket)
    assert own is not None
    assert (own.to, own.credential_file) == ("gs:project-shoal-lab", None)
    wanted = SiteOutbox(to="folder:/mnt/usb")
    assert stores.of_cluster(wanted, bucket) is wanted
    assert stores.of_cluster(None, plain) is None


def test_a_store_of_the_clusters_own_that_speaks_s3_is_the_target(tmp_path: Path) -> None:
    store = EventsStore(to="s3:events/lab", endpoint="http://10.0.0.5:9000", credential_file=tmp_path / "key")
    own = stores.of_cluster(None, Cluster(name="depot", substrate="lab", nodes=(ONE,), events_store=store))
    assert own is not None
    assert (own.to, own.endpoint, own.credential_file) == (store.to, store.endpoint, store.credential_file)


@pytest.mark.parametrize("to", ["s3:events/../other", "s3:Events", "gs:events", "s3:events/"])
def test_a_store_that_the_outbox_could_not_use_is_refused_in_the_document(to: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="to"):
        EventsStore(to=to, endpoint="http://10.0.0.5:9000", credential_file=tmp_path / "key")


def _record(run: str, cluster: str = "depot") -> RunRecord:
    return RunRecord(
        run=run,
        created_at=NOW,
        cluster=cluster,
        substrate="lab",
        engine="ssh",
        image=Image(reference="detector:1"),
        weights=Weights(name="yolov5s", sha256="0" * 64),
        nodes={"gate-1": NodeRecord(), "gate-2": NodeRecord()},
    )


def test_what_was_shipped_is_kept_in_the_runs_record(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHOAL_RUNS", str(tmp_path))
    record.save(_record("run-1"))
    record.save(_record("run-2", cluster="other"))
    events = [shipped(1, None, "shipped", "waiting"), shipped(2, None, "shipped", "shipped")]
    unknown = events[0].model_copy(update={"run": "run-9"})
    others = events[0].model_copy(update={"run": "run-2"})
    listing.note_shipped("depot", {"gate-1": [*events, unknown, others]}, NOW)
    nodes = record.load("run-1").nodes
    assert nodes["gate-1"].shipped == Shipped(size_bytes=3, asked_at=NOW)
    assert nodes["gate-2"].shipped is None
    assert record.load("run-2").nodes["gate-1"].shipped is None
    assert not (tmp_path / "run-9").exists()
    before = record.record_path("run-1").stat().st_mtime_ns
    listing.note_shipped("depot", {"gate-1": events}, NOW + timedelta(hours=1))
    assert record.record_path("run-1").stat().st_mtime_ns == before
    listing.note_shipped("depot", {"gate-1": [*events, shipped(3, None, "shipped")]}, NOW + timedelta(hours=1))
    assert record.load("run-1").nodes["gate-1"].shipped == Shipped(size_bytes=4, asked_at=NOW + timedelta(hours=1))


def test_a_run_in_hand_is_left_for_later(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHOAL_RUNS", str(tmp_path))
    record.save(_record("run-1"))
    with locked("run-1"):
        listing.note_shipped("depot", {"gate-1": [shipped(1, None, "shipped")]}, NOW)
    assert record.load("run-1").nodes["gate-1"].shipped is None
