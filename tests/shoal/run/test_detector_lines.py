"""The detector's output read: the real program's, and what a node may send instead."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from shoal.run.detector_lines import (
    MAX_EVENT,
    MAX_NAME,
    MAX_TEXT,
    ErrorEvent,
    Progress,
    VideoFaultEvent,
    WordsEvent,
    read,
)
from tests.detector import detector_making as making

SCHEMA = json.loads((Path(__file__).parents[3] / "detector" / "schemas" / "progress.schema.json").read_text())
VIDEO = {"number": 1, "videos": 3, "video": "a.mp4", "size_bytes": 100}
RUN = {"run": "r1", "videos": 3, "videos_done": 0, "size_bytes": 400, "done_size_bytes": 0}
FRAMES = {**VIDEO, "frame": 120, "frames": 300, "frames_per_s": 14.2, "detections": 37}
EXAMPLES = {
    "run": RUN,
    "frames": FRAMES,
    "video_done": {**VIDEO, "frames": 300, "detections": 99, "decode_errors": 2},
    "video_fault": {**VIDEO, "kind": "truncated", "message": "cut off", "frames": 10, "detections": 1},
    "waiting": {"text": "waiting for another instance that holds the lock"},
    "done": {"videos": 3, "faulty": 1, "frames": 600, "detections": 100},
    "note": {"text": "nothing found"},
    "error": {"text": "the weights are not ONNX", "exit_code": 5},
}


def line(event: str, **fields: Any) -> str:
    return json.dumps({"shoal_detect": 1, "event": event, **fields})


def test_every_event_of_the_contract_is_read() -> None:
    known = {branch["properties"]["event"]["const"] for branch in SCHEMA["oneOf"]}
    assert known == set(EXAMPLES)
    for event, fields in EXAMPLES.items():
        text = line(event, **fields)
        jsonschema.validate(json.loads(text), SCHEMA)
        assert read(text).event is not None, event
        # A newer detector's fields are left aside.
        assert read(line(event, **fields, newer=[1])).event is not None, event


@pytest.mark.parametrize(("event", "fields"), list(EXAMPLES.items()))
def test_an_event_that_is_not_quite_one_is_text(event: str, fields: dict[str, Any]) -> None:
    for name, value in fields.items():
        for wrong in (None, [value], {"a": 1}) if name != "frames" else ([value],):
            changed = {**fields, name: wrong}
            with pytest.raises(jsonschema.ValidationError):
                jsonschema.validate(json.loads(line(event, **changed)), SCHEMA)
            assert read(line(event, **changed)).event is None, (event, name, wrong)
        lacking = {key: value for key, value in fields.items() if key != name}
        assert read(line(event, **lacking)).event is None


def test_figures_that_are_none_are_refused() -> None:
    for wrong in ("NaN", "Infinity", "-1", "1e999", "true", str(10**30)):
        raw = line("frames", **FRAMES).replace("14.2", wrong)
        assert read(raw).event is None or wrong == str(10**30), wrong
        assert read(line("frames", **FRAMES).replace("120", wrong)).event is None, wrong


@pytest.mark.parametrize(
    "raw",
    [
        "Traceback (most recent call last):",
        "",
        "{",
        '{"shoal_detect"',
        '{"shoal_detect": 1}',
        '{"shoal_detect": 2, "event": "note", "text": "of a later version"}',
        line("unheard-of", text="x"),
        line("note", text="\ud800"),
        "[" * 100_000,
        '{"shoal_detect": 1, "event": "note", "text": ' + "[" * 5000,
    ],
)
def test_other_words_are_passed_through_as_they_are(raw: str) -> None:
    found = read(raw)
    assert found.event is None
    assert found.text == (raw if len(raw) <= MAX_TEXT else found.text)
    assert len(found.text) <= MAX_TEXT
    assert Progress().after(found) == (Progress(), True)


def test_no_line_steers_the_terminal_or_fills_it() -> None:
    bad = "a\x1b[31m\x9b\u202e\n\r\x00b"
    for raw in (
        bad,
        line("note", text=bad),
        line("video_done", **{**EXAMPLES["video_done"], "video": bad}),
        line("video_fault", **{**EXAMPLES["video_fault"], "message": bad, "kind": bad}),
        line("run", **{**RUN, "run": bad}),
    ):
        assert read(raw).text.isprintable(), raw
    long = "x" * 3000
    assert len(read(long * 1000).text) == MAX_TEXT
    assert read(long).text.endswith(" [cut]")
    assert len(read(line("note", text=long)).text) == MAX_TEXT
    done = read(line("video_done", **{**EXAMPLES["video_done"], "video": long}))
    assert done.text.endswith('[cut]" done: 300 frames, 99 detections, 2 decode errors')
    assert len(done.text) < MAX_NAME + 100
    assert read(line("note", text="x" * MAX_EVENT)).event is None


def test_videos_that_a_node_is_at_side_by_side_add_up() -> None:
    progress, _ = Progress().after(read(line("run", **{**RUN, "videos_done": 0, "done_size_bytes": 0})))
    whole = progress.size_bytes
    half = {**FRAMES, "frame": 50, "frames": 100, "size_bytes": whole // 4}
    for number, detections in ((1, 10), (2, 5), (1, 12)):
        progress, _ = progress.after(read(line("frames", **{**half, "number": number, "detections": detections})))
    assert progress.share == pytest.approx(0.25)
    assert progress.detections == 17
    done = {**EXAMPLES["video_done"], "number": 2, "size_bytes": whole // 4, "detections": 6}
    progress, _ = progress.after(read(line("video_done", **done)))
    assert progress.share == pytest.approx(0.375)
    assert progress.detections == 18


def test_progress_follows_the_events() -> None:
    steps = [
        (line("run", **RUN), True, 0.0),
        (line("frames", **{**FRAMES, "video": 'a "b" 1/2 frames.mp4'}), False, 0.1),
        (line("video_done", **EXAMPLES["video_done"]), True, 0.25),
        (line("video_fault", **{**EXAMPLES["video_fault"], "number": 2}), True, 0.5),
        (line("frames", **{**FRAMES, "number": 3, "size_bytes": 200, "frame": 5, "frames": None}), False, 0.5),
        (line("frames", **{**FRAMES, "number": 3, "size_bytes": 200, "frame": 900}), False, 1.0),
    ]
    progress = Progress()
    for raw, telling, share in steps:
        progress, told = progress.after(read(raw))
        assert told is telling, raw
        assert progress.share == pytest.approx(share), raw
    assert (progress.video, progress.videos, progress.videos_done, progress.faults) == (3, 3, 2, 1)
    assert progress.detections == 99 + 1 + 37
    assert read(steps[1][0]).text == r'video 1/3 "a \"b\" 1/2 frames.mp4" 120/300 frames 14.2 frames/s 37 detections'
    waiting, _ = progress.after(read(line("waiting", **EXAMPLES["waiting"])))
    assert waiting.waiting
    assert not waiting.after(read(steps[5][0]))[0].waiting


@pytest.fixture(scope="module")
def output(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[str], list[str]]:
    """What the real detector prints, twice: a run with a damaged video, and the same on a finished folder."""
    folder = tmp_path_factory.mktemp("real")
    weights = folder / "squares.onnx"
    weights.write_bytes(making.model())
    videos = folder / "in"
    videos.mkdir()
    making.write_video(videos / 'it\'s "ä"\n\x1b[31m.avi', making.moving(20))
    making.write_video(videos / "b.avi", making.moving(10))
    (videos / "empty.mp4").write_bytes(b"")
    words = ["--input", str(videos), "--state", str(folder / "state"), "--run", "run-1", "--weights", str(weights)]
    words += ["--weights-name", "squares", "--img", "64", "--threads", "1"]
    found = []
    for _ in range(2):
        out, err = making.shoal_detect(words).communicate(timeout=120)
        assert err == ""
        found.append(out.splitlines())
    return found[0], found[1]


def test_the_real_detectors_output_is_read(output: tuple[list[str], list[str]]) -> None:
    progress = Progress()
    texts = []
    for raw in output[0]:
        jsonschema.validate(json.loads(raw), SCHEMA)
        found = read(raw)
        assert found.event is not None, raw
        assert found.text.isprintable()
        progress, _ = progress.after(found)
        texts.append(found.text)
    assert texts[0] == "run run-1: 3 videos, 0 done already"
    assert 'video 1/3 "b.avi" done: 10 frames' in texts[1]
    assert any(text.startswith('video 2/3 "empty.mp4" FAULT empty: ') for text in texts)
    assert texts[-1].startswith("done: 3 videos, 1 faulty, 30 frames, ")
    assert (progress.videos_done, progress.faults, progress.share) == (3, 1, 1.0)
    again = [read(raw) for raw in output[1]]
    assert any("finished already" in one.text for one in again)
    assert all(isinstance(one.event, WordsEvent) for one in again)


def test_the_real_detectors_error_is_read(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "no.onnx").write_bytes(b"not a model")
    making.write_video(tmp_path / "in" / "a.avi", making.moving(2))
    words = ["--input", str(tmp_path / "in"), "--state", str(tmp_path / "state"), "--run", "run-1"]
    process = making.shoal_detect([*words, "--weights", str(tmp_path / "no.onnx"), "--weights-name", "no"])
    _, err = process.communicate(timeout=120)
    jsonschema.validate(json.loads(err), SCHEMA)
    found = read(err.rstrip("\n"))
    assert isinstance(found.event, ErrorEvent)
    assert found.text.startswith("error: ")
    assert found.event.exit_code == json.loads(err)["exit_code"] == process.returncode == 5


def test_a_fault_is_an_event_of_its_own() -> None:
    found = read(line("video_fault", **EXAMPLES["video_fault"]))
    assert isinstance(found.event, VideoFaultEvent)
    assert found.text == 'video 1/3 "a.mp4" FAULT truncated: cut off'
