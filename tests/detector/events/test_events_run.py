"""Events and clips of whole runs: what lies in the folder, across files, after kills, and what never leaves."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import av
import jsonschema
import numpy as np
import pytest
from shoal_detect.errors import DetectorError, Exit
from shoal_detect.events.rules import FILE as RULES
from shoal_detect.run import run
from shoal_detect.state.settings import Settings
from shoal_detect.stop import Stop

from tests.detector import detector_making as making

MakeSettings = Callable[..., Settings]
SCHEMA = json.loads((making.DETECTOR / "schemas" / "event.schema.json").read_text())


def wanderer(frames: int, first: int = 0) -> list[Any]:
    """Somebody who goes to and fro in a picture of 4 x 2 squares; gone for a while in the middle of 40 frames."""
    pictures = []
    for number in range(first, first + frames):
        column = abs(number // 3 % 6 - 3)
        pictures.append(making.picture({} if 16 <= number % 40 < 20 else {(column, 1): making.RED}, 128, 64))
    return pictures


def events_of(state: Path) -> list[dict[str, Any]]:
    found = [json.loads(line) for line in (state / "events.jsonl").read_bytes().splitlines()]
    for one in found:
        jsonschema.validate(one, SCHEMA, cls=jsonschema.Draft202012Validator)
    return found


def red(path: Path) -> int:
    """Pixels of a clip or picture that show the red of a person."""
    with av.open(str(path)) as container:
        count = 0
        for image in container.decode(video=0):
            picture = image.to_ndarray(format="rgb24").astype(int)
            count += int((picture[..., 0] - picture[..., 1] > 90).sum())
    return count


def red_in_row(path: Path, row: int) -> int:
    """Of a picture: pixels in one row that are red; a person would be 32."""
    with av.open(str(path)) as container:
        picture = next(container.decode(video=0)).to_ndarray(format="rgb24").astype(int)
    return int((picture[row, :, 0] - picture[row, :, 1] > 90).sum())


def test_a_run_leaves_events_with_verified_clips_and_pictures_in_which_nobody_is_seen(
    settings: MakeSettings, videos: Path, state: Path
) -> None:
    making.write_video(videos / "gate-20261130-120000.mp4", wanderer(40), codec="libx264")
    assert run(settings("--img", "128"), Stop()) == Exit.DONE
    (event,) = events_of(state)
    assert (event["camera"], event["severity"], event["privacy"]) == ("gate", "alert", "people")
    assert event["start_utc"] == "2026-11-30T12:00:00.000Z"
    clip = event["clip"]
    assert (clip["state"], clip["frames"]) == ("verified", 40)
    assert red(state / clip["file"]) == 0
    assert red(state / event["key_frame"]) == 0
    for picture in state.glob("videos/*/frames/*.jpg"):
        # Boxes and labels are drawn after the fill: between the lines and below the label nothing is red.
        assert red_in_row(picture, 54) <= 8
    listed = {one["path"]: one for one in making.document(state / "manifest.json")["files"]}
    assert listed[clip["file"]]["sha256"] == clip["sha256"]
    assert listed[clip["file"]]["size_bytes"] == clip["size_bytes"]
    summary = making.document(state / "summary.json")["events"]
    assert (summary["alerts"], summary["clips_verified"], summary["bytes"]["clips"]) == (1, 1, clip["size_bytes"])
    assert summary["cameras"] == [{"name": "gate", "videos": ["gate-20261130-120000.mp4"]}]
    assert summary["bytes"]["footage"] == (videos / "gate-20261130-120000.mp4").stat().st_size
    assert not [path for path in state.rglob("*") if path.name.startswith(".")]


def test_privacy_off_is_asked_for_by_name_and_recorded(settings: MakeSettings, videos: Path, state: Path) -> None:
    making.write_video(videos / "gate.mp4", wanderer(20), codec="libx264")
    run(settings("--img", "128", "--privacy", "off"), Stop())
    (event,) = events_of(state)
    assert event["privacy"] == "off"
    assert red(state / event["clip"]["file"]) > 1000
    assert making.document(state / "settings.json")["privacy"] == "off"


def test_one_file_and_the_same_footage_in_segments_give_the_same_events(
    settings: MakeSettings, videos: Path, state: Path, tmp_path: Path
) -> None:
    making.write_video(videos / "gate-20261130-120000.mp4", wanderer(120))
    run(settings("--img", "128"), Stop())
    whole = events_of(state)
    (videos / "gate-20261130-120000.mp4").rename(tmp_path / "whole.mp4")
    with av.open(str(tmp_path / "whole.mp4")) as container:
        packets = [packet for packet in container.demux(video=0) if packet.size]
        for number in range(3):
            name = videos / f"gate-20261130-12000{number * 4}.mp4"
            with av.open(str(name), "w") as out:
                stream = out.add_stream_from_template(container.streams.video[0])
                part = packets[number * 40 : number * 40 + 40]
                base = part[0].pts or 0
                for packet in part:
                    packet.pts, packet.dts = (packet.pts or 0) - base, (packet.dts or 0) - base
                    packet.stream = stream
                    out.mux(packet)
    again = settings("--img", "128", "--state", str(tmp_path / "segments"))
    run(again, Stop())
    pieces = events_of(tmp_path / "segments")
    assert [one["videos"] for one in pieces] == [[f"gate-20261130-12000{n}.mp4" for n in (0, 4, 8)]]

    def bare(found: list[dict[str, Any]]) -> bytes:
        return json.dumps([{**one, "videos": None, "clip": None} for one in found]).encode()

    assert bare(pieces) == bare(whole)
    assert pieces[0]["clip"]["frames"] == whole[0]["clip"]["frames"] == 120


def test_a_run_without_events_has_an_empty_file(settings: MakeSettings, videos: Path, state: Path) -> None:
    making.write_video(videos / "gate.mp4", [making.picture({})] * 10)
    run(settings(), Stop())
    assert (state / "events.jsonl").read_bytes() == b""
    assert making.document(state / "summary.json")["events"]["alerts"] == 0


def in_children(folder: Path, monkeypatch: pytest.MonkeyPatch, *lines: str) -> None:
    """Reach into the processes that make clips: these lines are run in them, with `clip` the module."""
    begin = ["import os, signal", "import shoal_detect.events.clip as clip"]
    inner = "".join(f"    {line}\n" for line in (*begin, *lines))
    guard = "import sys\nif sys.argv[:1] == ['-m'] and 'shoal_detect.child' in sys.orig_argv:\n"
    (folder / "sitecustomize.py").write_text(guard + inner)
    monkeypatch.syspath_prepend(str(folder))


def test_a_clip_that_fails_stays_in_quarantine_and_its_event_goes_without_it(
    settings: MakeSettings, videos: Path, state: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    making.write_video(videos / "gate.mp4", wanderer(20), codec="libx264")
    in_children(tmp_path, monkeypatch, "clip.cover = lambda picture, rects: None")
    assert run(settings("--img", "128"), Stop()) == Exit.DONE
    (event,) = events_of(state)
    assert event["clip"]["state"] == "quarantined"
    assert event["clip"]["file"] is None
    assert event["key_frame"] is None
    kept = state / "quarantine" / f"{event['id']}.mp4"
    assert kept.stat().st_mode & 0o777 == 0o600
    assert kept.parent.stat().st_mode & 0o777 == 0o700
    listed = [one["path"] for one in making.document(state / "manifest.json")["files"]]
    assert not [name for name in listed if "quarantine" in name or name.startswith("clips/")]
    assert making.document(state / "summary.json")["events"]["clips_quarantined"] == 1


def test_a_decoder_that_dies_of_a_clip_costs_the_clip_and_not_the_run(
    settings: MakeSettings, videos: Path, state: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    making.write_video(videos / "a.mp4", wanderer(20), codec="libx264")
    making.write_video(videos / "b.mp4", wanderer(20), codec="libx264")
    in_children(
        tmp_path,
        monkeypatch,
        "usual = clip._encode",
        "def encode(footage, times, boxes, path, *rest):",
        "    if footage.frames.camera.name == 'a':",
        "        os.kill(os.getpid(), signal.SIGSEGV)",
        "    return usual(footage, times, boxes, path, *rest)",
        "clip._encode = encode",
    )
    assert run(settings("--img", "128"), Stop()) == Exit.DONE
    first, second = events_of(state)
    assert first["clip"]["state"] == "none"
    assert "SIGSEGV" in first["clip"]["reason"]
    assert second["clip"]["state"] == "verified"


def test_a_clip_that_the_disk_does_not_take_is_made_when_it_does(
    settings: MakeSettings, videos: Path, state: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    making.write_video(videos / "gate-20261130-120000.mp4", wanderer(40), codec="libx264")
    with monkeypatch.context() as patch:
        in_children(
            tmp_path,
            patch,
            "at = clip._Writer.at.__func__",
            "full = clip.Path('/dev/full')",
            "clip._Writer.at = classmethod(lambda of, path, first, quality: at(of, full, first, quality))",
        )
        with pytest.raises(DetectorError, match="No space left on device") as caught:
            run(settings("--img", "128"), Stop())
        assert caught.value.exit_code == Exit.STATE
    assert run(settings("--img", "128"), Stop()) == Exit.DONE
    (event,) = events_of(state)
    assert event["clip"]["state"] == "verified"


def test_any_number_of_processes_makes_the_same_events_and_clips(
    settings: MakeSettings, videos: Path, state: Path, tmp_path: Path
) -> None:
    for name in ("a", "b", "c", "d"):
        making.write_video(videos / f"{name}.mp4", wanderer(20), codec="libx264")
    run(settings("--img", "128"), Stop())
    run(settings("--img", "128", "--threads", "3", "--state", str(tmp_path / "three")), Stop())
    assert len(events_of(state)) == 4
    for name in ("events.jsonl", *(f"clips/{path.name}" for path in (state / "clips").iterdir())):
        assert (tmp_path / "three" / name).read_bytes() == (state / name).read_bytes(), name


def test_clips_are_made_by_several_processes_at_once(
    settings: MakeSettings, videos: Path, state: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Each of two clips waits until the other is begun."""
    for name in ("a", "b"):
        making.write_video(videos / f"{name}.mp4", wanderer(20), codec="libx264")
    in_children(
        tmp_path,
        monkeypatch,
        "import pathlib, time",
        f"folder = pathlib.Path({str(tmp_path)!r})",
        "usual = clip._encode",
        "def encode(footage, times, boxes, path, *rest):",
        "    (folder / f'{footage.frames.camera.name}.begun').touch()",
        "    while len(list(folder.glob('*.begun'))) < 2:",
        "        footage.alive(); time.sleep(0.01)",
        "    return usual(footage, times, boxes, path, *rest)",
        "clip._encode = encode",
    )
    run(settings("--img", "128", "--threads", "2"), Stop())
    assert [one["clip"]["state"] for one in events_of(state)] == ["verified", "verified"]


def test_a_run_that_is_killed_while_clips_are_made_goes_on_with_the_same_result(
    settings: MakeSettings, arguments: Callable[..., list[str]], videos: Path, state: Path, tmp_path: Path
) -> None:
    for name in ("a", "b", "c"):
        making.write_video(videos / f"{name}.mp4", wanderer(20), codec="libx264")
    run(settings("--img", "128", "--state", str(tmp_path / "whole")), Stop())
    process = making.shoal_detect(arguments("--img", "128"), start_new_session=True)
    try:
        while process.poll() is None and not list(state.glob("clips/*.mp4")):
            pass
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
    assert not (state / "manifest.json").exists()
    run(settings("--img", "128"), Stop())
    assert (state / "events.jsonl").read_bytes() == (tmp_path / "whole" / "events.jsonl").read_bytes()
    assert sorted(path.name for path in (state / "clips").iterdir()) == sorted(
        path.name for path in (tmp_path / "whole" / "clips").iterdir()
    )


def test_a_run_may_do_without_clips(
    settings: MakeSettings, videos: Path, state: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    making.write_video(videos / "gate.mp4", wanderer(20), codec="libx264")
    run(settings("--img", "128", "--clips", "off"), Stop())
    (event,) = events_of(state)
    assert (event["clip"]["state"], event["clip"]["reason"]) == ("none", "the run asked for none")
    assert not (state / "clips").exists()
    assert "making the clip" not in capsys.readouterr().out


def test_who_asks_the_archive_for_a_class_has_its_events_though_no_rule_is_about_it(
    settings: MakeSettings, videos: Path, state: Path, tmp_path: Path
) -> None:
    (videos / "gate").mkdir()
    (videos / ".shoal").mkdir()
    making.write_video(videos / "gate" / "gate-20261130-120000.mp4", wanderer(20), codec="libx264")
    rule = {"name": "cars", "severity": "alert", "classes": ["car"]}
    (videos / RULES).write_text(json.dumps({"version": 1, "rule": [rule]}))
    more = ("--img", "128", "--clips", "off", "--classes", "person")
    run(settings(*more, "--cameras", "gate"), Stop())
    (event,) = events_of(state)
    assert (event["rule"], event["severity"]) == ("asked for", "record")
    run(settings(*more, "--state", str(tmp_path / "other")), Stop())
    assert events_of(tmp_path / "other") == []


def test_where_pictures_are_limited_no_clips_are_made(settings: MakeSettings, videos: Path, state: Path) -> None:
    making.write_video(videos / "gate.mp4", wanderer(20), codec="libx264")
    (videos / ".shoal").mkdir()
    (videos / ".shoal" / "privacy.json").write_text('{"version": 1, "key_frames": 0}')
    run(settings("--img", "128"), Stop())
    (event,) = events_of(state)
    assert (event["clip"]["state"], event["key_frame"]) == ("none", None)
    assert not list(state.rglob("*.jpg")) + list(state.rglob("*.mp4"))


def test_a_policy_can_cover_more_than_the_run_asks_for(settings: MakeSettings, videos: Path) -> None:
    (videos / ".shoal").mkdir()
    policy = videos / ".shoal" / "privacy.json"
    policy.write_text('{"version": 1, "covered": "people"}')
    assert settings("--privacy", "off").privacy == "people"
    assert settings("--privacy", "people-and-vehicles").privacy == "people-and-vehicles"
    assert settings("--privacy", "off").clips is None
    policy.write_text('{"version": 1, "covered": "people", "clips": false}')
    assert settings().clips == "this node's privacy policy allows none"
    policy.write_text('{"version": 1, "key_frames": 1, "clips": true}')
    assert settings().clips is None


def test_rules_beside_the_footage_hold_and_damaged_ones_end_the_run(
    settings: MakeSettings, videos: Path, state: Path
) -> None:
    making.write_video(videos / "gate.mp4", wanderer(20), codec="libx264")
    path = videos / RULES
    path.parent.mkdir()
    path.write_text(json.dumps({"version": 1, "rule": [{"name": "cars", "severity": "alert", "classes": ["car"]}]}))
    run(settings("--img", "128"), Stop())
    assert events_of(state) == []
    rule = {"name": "x", "severity": "loud", "classes": ["unicorn"], "more": 1}
    path.write_text(json.dumps({"version": 1, "quiet_s": -1, "rule": [rule]}))
    with pytest.raises(
        DetectorError, match=r"quiet_s is -1.*'more' is not known|'more' is not known.*quiet_s"
    ) as raised:
        run(settings("--img", "128", "--state", str(state.parent / "other")), Stop())
    assert "unicorn" in raised.value.message
    assert raised.value.exit_code == Exit.USAGE


def test_the_same_file_is_read_from_a_key_frame_in_its_middle(
    settings: MakeSettings, videos: Path, state: Path
) -> None:
    """A late event does not cost the decoding of all that was before it; the frames are the same."""
    quiet = [making.picture({}, 128, 64)] * 450
    making.write_video(videos / "gate.mp4", [*quiet, *wanderer(12)], codec="libx264")
    run(settings("--img", "128"), Stop())
    (event,) = events_of(state)
    assert event["start_s"] == 45.0
    assert event["clip"]["start_s"] == 40.0
    assert event["clip"]["frames"] == 62
    assert red(state / event["clip"]["file"]) == 0
    assert np.isclose(event["clip"]["end_s"], 46.1)
