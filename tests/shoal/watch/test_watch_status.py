"""What nodes say of their cameras, as people see it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from typer.testing import CliRunner

from shoal.cli import watch as verb
from shoal.cluster import document
from shoal.cluster.cameras import watched_folders
from shoal.errors import ShoalError, UsageError
from shoal.paths import repository
from shoal.site import document as site
from shoal.site.watch import SiteWatch, deploy_data
from shoal.untrusted import DamagedDocumentError
from shoal.watch.documents import look_of
from shoal.watch.status import LOOK, cameras_of

NODE = document.Node.model_validate(
    {
        "name": "gate-1",
        "roles": ["compute"],
        "address": "10.0.0.1",
        "cameras": [{"name": "north", "source": "rtsp://10.0.0.9/north"}],
        "camera_folders": ["/srv/Cam 2".replace(" ", "_"), "/videos/dock"],
    }
)
NOW_S = 1_796_000_000.0


def recorded(**more: Any) -> dict[str, Any]:
    return {
        "unit": True, "trouble": None, "detail": None, "since_s": None, "segments": 60,
        "last_segment": "2026-11-30/20261130T081500Z.mp4", "last_end_s": NOW_S - 3, "film_bytes": 10**9,
        "day_seconds": 3600.0, "day_bytes": 10**9, "day_gaps": 1, "day_gap_seconds": 12.0,
        "last_gaps": [{"start": 1.0, "end": 13.0, "reason": "camera_lost"}], "removed_early": 0, **more,
    }  # fmt: skip


def watched(**more: Any) -> dict[str, Any]:
    return {
        "last_segment": "cameras/north/x.mp4", "last_closed_s": NOW_S - 30, "last_lag_s": 6.5, "behind_s": 0.0,
        "backlog_segments": 0, "segments": 59, "frames": 1000, "seconds": 3540.0, "faulty": 0, "gone": 0,
        "events": 4, **more,
    }  # fmt: skip


def disk(**more: Any) -> dict[str, Any]:
    return {"free_bytes": 53 * 10**9, "files_left": None, "read_only": False, **more}


def look(**more: Any) -> dict[str, Any]:
    status = {"version": 1, "at_s": NOW_S, "stride": 2, "stride_wanted": 2, "processes": 2, "clips_to_make": 0}
    return {
        "version": 1, "at_s": NOW_S + 2, "free_bytes": 53 * 10**9, "floor_bytes": 5 * 10**9, "watching": True,
        "watch": {**status, "cameras": {"north": watched()}}, "recorded": {"north": recorded()},
        "waiting": {"north": 2}, **more,
    }  # fmt: skip


def test_the_answers_here_are_as_the_watch_writes_them() -> None:
    schema = json.loads((repository() / "detector" / "schemas" / "watch_status.schema.json").read_text())
    jsonschema.validate(look()["watch"], schema, cls=jsonschema.Draft202012Validator)


def of(raw: dict[str, Any]) -> dict[str, Any]:
    return {one.camera: one for one in cameras_of(NODE, look_of(json.dumps(raw).encode(), source="the test"))}


def test_every_camera_of_a_node_is_named_with_its_figures() -> None:
    found = of(look())
    assert list(found) == ["north", "srv_cam_2", "dock"]
    north = found["north"]
    assert (north.recording, north.lag_s, north.gaps, north.events, north.outbox_waiting) == ("yes", 6.5, 1, 4, 2)
    assert north.disk_days_left == 2.0  # 24 GB a day, 48 GB above the floor
    assert north.alarms == ()
    assert found["dock"].recording == "elsewhere"


@pytest.mark.parametrize(
    ("raw", "words"),
    [
        (look(recorded={"north": recorded(trouble="camera_lost", detail="no answer")}), "camera_lost (no answer)"),
        (look(recorded={"north": recorded(unit=False)}), "recorder does not run"),
        (look(recorded={"north": recorded(removed_early=3)}), "at its floor"),
        (look(at_s=NOW_S + 500), "says nothing"),
        (look(recorded={"north": recorded(disk=disk(read_only=True))}), "/videos/cameras/north is read-only"),
        (look(recorded={"north": recorded(disk=disk(free_bytes=100_000))}), "/videos/cameras/north is full (0 MiB"),
        (look(recorded={"north": recorded(disk=disk(files_left=3))}), "make room on it"),
        (look(recorded={"north": recorded(slow_s=14.2)}), "is slow: it took 14 s for the last file"),
        (look(state_disk=disk(free_bytes=0)), "the disk of /var/lib/shoal is full"),
        (look(state_disk=disk(read_only=True)), "mount it for writing"),
        (look(watching=False), "does not run"),
        (look(watch={**look()["watch"], "cameras": {"north": watched(behind_s=900.0)}}), "900 s of footage wait"),
        (look(watch={**look()["watch"], "stride": 8}), "every 8. frame"),
        (look(watch={**look()["watch"], "cameras": {"north": watched(gone=2)}}), "2 segments went"),
    ],
)
def test_what_needs_a_person_is_said(raw: dict[str, Any], words: str) -> None:
    assert any(words in alarm for alarm in of(raw)["north"].alarms)


def test_no_words_of_a_node_begin_another_line() -> None:
    spoof = "lost\ngate-2 yard: not recorded\x1b[2J"
    raw = look(recorded={"north": recorded(trouble=spoof, detail=spoof, last_segment=spoof), spoof: recorded()})
    for one in of(raw).values():
        for text in (one.camera, one.recording, one.last_segment, *one.alarms):
            assert (text or "").isprintable()


def test_a_node_that_lies_is_refused() -> None:
    for raw in (b"", b"[]", json.dumps(look(free_bytes=-1)).encode(), json.dumps(look(recorded={"x": 1})).encode()):
        with pytest.raises(DamagedDocumentError):
            look_of(raw, source="gate-1's word")


def test_the_program_reads_what_recorder_watch_and_outbox_wrote(tmp_path: Path) -> None:
    """The node's side, over a folder that looks like a node's."""
    now_s = time.time()
    state, settings = tmp_path / "state", tmp_path / "etc"
    folder = state / "recorder" / "north"
    folder.mkdir(parents=True)
    settings.mkdir()
    (settings / "north.json").write_text(json.dumps({"disk_floor_bytes": 7}))
    segment = {"file": "d/a.mp4", "start": now_s - 70, "end": now_s - 10, "size_bytes": 600, "inode": 1}
    (folder / "segments.jsonl").write_text(json.dumps(segment) + "\n" + '{"cut o')
    gap = {"start": now_s - 90, "end": now_s - 70, "reason": "killed", "detail": ""}
    (folder / "gaps.jsonl").write_text(json.dumps(gap) + "\n")
    (state / "watch").mkdir()
    (state / "watch" / "status.json").write_text(json.dumps(look()["watch"]))
    (state / "outbox" / "open").mkdir(parents=True)
    (state / "outbox" / "open" / "e.json").write_text(json.dumps({"camera": "north"}))
    text = LOOK.read_text().replace('"/var/lib/shoal"', repr(str(state)))
    text = text.replace('"/etc/shoal/recorder"', repr(str(settings))).replace('VIDEOS = "/videos"', 'VIDEOS = "/"')
    text = text.replace(
        'subprocess.run(["systemctl", "is-active", "--quiet", unit], check=False).returncode == 0', "True"
    )
    unit = tmp_path / "shoal-watch.service"
    unit.touch()
    text = text.replace('"/etc/systemd/system/shoal-watch.service"', repr(str(unit)))

    def answer() -> dict[str, Any]:
        done = subprocess.run([sys.executable, "-c", text], capture_output=True, check=True, timeout=60)
        return of(json.loads(done.stdout))

    one = answer()["north"]
    assert (one.recording, one.gaps, one.gap_seconds, one.outbox_waiting, one.events) == ("yes", 1, 20.0, 1, 4)
    assert [alarm for alarm in one.alarms if "disk" in alarm] == []
    # The clock was set back: the last file is not the latest one, and no gap of a day is longer than it.
    earlier = {**segment, "file": "d/b.mp4", "start": now_s - 4000, "end": now_s - 3900}
    with (folder / "segments.jsonl").open("a") as ledger:
        ledger.write("\n" + json.dumps(earlier) + "\n")
    with (folder / "gaps.jsonl").open("a") as ledger:
        ledger.write(json.dumps({"start": 0.0, "end": now_s - 3900, "reason": "clock_changed"}) + "\n")
    one = answer()["north"]
    assert one.last_segment == "d/b.mp4"
    assert one.gap_seconds is not None
    assert one.gap_seconds < 86_400
    (folder / "segments.jsonl").write_text(json.dumps(segment) + "\n")
    unit.unlink()  # `shoal watch off`
    assert (answer()["north"].events, answer()["north"].alarms) == (None, ())
    # A recorder speaks with a camera, and has a user of its own: what it leaves does not lead root astray.
    odd = ["7", "[]", "[" * 100_000, '{"end": "x"}', '{"end": 1}', "null"]
    with (folder / "segments.jsonl").open("a") as ledger:
        ledger.write("\n" + "\n".join(odd) + "\n")
    (folder / "gaps.jsonl").unlink()
    (folder / "gaps.jsonl").symlink_to("/dev/zero")
    os.mkfifo(folder / "now.json")
    (folder / "removed.jsonl").symlink_to("/dev/zero")
    (state / "outbox" / "open" / "f.json").write_text("[" * 100_000)
    (state / "outbox" / "open" / "g.json").write_text("[1]")
    one = answer()["north"]
    assert (one.recording, one.gaps, one.outbox_waiting, one.last_segment) == ("yes", 0, 1, "d/a.mp4")


def test_a_machine_without_cameras_is_not_watched() -> None:
    bare = NODE.model_copy(update={"cameras": (), "camera_folders": ()})
    assert deploy_data(SiteWatch(), bare, ("5" * 64, "s")) == {}
    assert deploy_data(None, NODE, ("5" * 64, "s")) == {}
    given = deploy_data(SiteWatch(stride=4), NODE, ("5" * 64, "s"))
    assert [one["folder"] for one in given["watch_cameras"]] == [folder for _, folder in watched_folders(NODE)]
    assert given["watch_stride"] == 4


@pytest.mark.parametrize(
    ("words", "fault"),
    [
        (("--img", "650"), "img: Input should be a multiple of 32 (found 650)"),
        (("--stride", "0"), "stride: Input should be greater than or equal to 1 (found 0)"),
        (("--stride", "9"), "stride 9: must be from 1 to stride_most"),
        (("--stride", "200", "--stride-most", "300"), "stride: Input should be less than or equal to 100 (found 200)"),
    ],
)
def test_settings_that_no_watch_can_have_are_refused_before_anything_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...], fault: str
) -> None:
    monkeypatch.setenv("SHOAL_STATE", str(tmp_path / "state"))
    office = document.Node(name="office", roles=("requester",), address="192.0.2.10")
    document.save(document.Cluster(name="depot", substrate="onprem", nodes=(office, NODE)), tmp_path / "depot.json")
    monkeypatch.setattr(site, "set_watch", lambda *_: pytest.fail("it was written"))
    done = CliRunner().invoke(verb.app, ["on", "--cluster", str(tmp_path / "depot.json"), *words])
    assert isinstance(done.exception, UsageError)
    assert fault in str(done.exception)


@pytest.mark.parametrize("verb_of_watch", ["on", "off", "status"])
def test_two_cameras_of_one_name_are_refused_on_one_machine_or_on_two(tmp_path: Path, verb_of_watch: str) -> None:
    """Film, ledgers and events go by a camera's name, in the whole cluster."""
    office = document.Node(name="office", roles=("requester",), address="192.0.2.10")
    path = tmp_path / "depot.json"
    document.save(document.Cluster(name="depot", substrate="onprem", nodes=(office, NODE)), path)
    raw = json.loads(path.read_text())
    gate = next(node for node in raw["nodes"] if node["name"] == "gate-1")
    gate["cameras"] *= 2
    raw["nodes"].append({**gate, "name": "gate-2", "address": "192.0.2.12", "cameras": gate["cameras"][:1]})
    path.write_text(json.dumps(raw))
    done = CliRunner().invoke(verb.app, [verb_of_watch, "--cluster", str(path)])
    assert isinstance(done.exception, ShoalError)
    assert done.exception.exit_code == 2
    for place in ("nodes[1].cameras[1].name", "nodes[2].cameras[0].name"):
        assert f"{place}: the same camera name as nodes[1].cameras[0]" in str(done.exception)
