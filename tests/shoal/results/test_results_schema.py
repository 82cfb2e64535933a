"""The detector's JSON Schemas and the control side's models take and refuse the same documents."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from pydantic import BaseModel, ValidationError
from referencing import Registry, Resource
from shoal_detect.read.faults import Kind

from shoal.results.documents import Detection, Manifest, RunSummary, VideoSummary
from shoal.results.events import Event

SCHEMAS = {
    path.name: json.loads(path.read_text())
    for path in (Path(__file__).parents[3] / "detector" / "schemas").glob("*.schema.json")
}
REGISTRY: Registry = Registry().with_resources(
    [(name, Resource.from_contents(schema)) for name, schema in SCHEMAS.items()]
)
MODELS: dict[str, type[BaseModel]] = {
    "detection.schema.json": Detection,
    "event.schema.json": Event,
    "manifest.schema.json": Manifest,
    "summary.schema.json": RunSummary,
    "video_summary.schema.json": VideoSummary,
}

DETECTION = {
    "video": "cam 1/ä.mp4",
    "frame": 12,
    "time_s": 0.48,
    "class": "traffic light",
    "class_id": 9,
    "confidence": 0.8123,
    "box": [1.0, 2.5, 30.1, 40.9],
}
VIDEO = {
    "schema_version": 1,
    "video": "cam 1/ä.mp4",
    "video_id": "cam-1-a-mp4-0a1b2c3d",
    "size_bytes": 1000,
    "width": 1280,
    "height": 720,
    "fps": 25.0,
    "frames": 100,
    "frames_inferred": 50,
    "duration_s": 4.0,
    "decode_and_infer_s": 8.1,
    "frames_per_s": 12.3,
    "detections": 3,
    "counts": {"person": 2, "car": 1},
    "frames_with": {"person": 2, "car": 1},
    "fault": None,
    "decode_errors": 0,
    "missing_frames": 7,
    "gaps": [{"frame": 20, "time_s": 0.8, "frames": 7}],
    "clock_jumps": 1,
    "jumps": [{"frame": 50, "time_s": 2.0, "from_s": 11.4, "to_s": 50001.4}],
    "recorded_at": "2026-11-25T08:00:00.000+00:00",
    "parts": 2,
    "sizes": [
        {"frame": 0, "time_s": 0.0, "width": 1280, "height": 720},
        {"frame": 50, "time_s": 2.0, "width": 640, "height": 360},
    ],
    "rotation_deg": 90,
    "mirrored": False,
    "pixel_aspect": 1.3333,
    "interlaced": True,
    "streams_not_read": [
        {"stream": 1, "codec": "mjpeg", "width": 160, "height": 120, "why": "a still picture"},
        {"stream": 2, "codec": None, "width": None, "height": None, "why": "a second recording in the same file"},
    ],
    "timeline": [{"time_s": 0, "counts": {"person": 2}}],
    "key_frames": [
        {"file": "frames/000012.jpg", "frame": 12, "time_s": 0.48, "detections": 2, "width": 640, "height": 360}
    ],
}
EVENT = {
    "version": 1,
    "id": "0a1b2c3d" * 4,
    "camera": "cameras/gate",
    "videos": ["cameras/gate/20261130T120000Z.mp4"],
    "start_utc": "2026-11-30T12:00:03.200Z",
    "end_utc": "2026-11-30T12:00:09.000Z",
    "start_s": 3.2,
    "end_s": 9.0,
    "severity": "alert",
    "rule": "people",
    "reason": "1 person",
    "privacy": "people",
    "objects": [
        {
            "track": 4,
            "class": "person",
            "confidence": 0.8123,
            "severity": "alert",
            "rule": "people",
            "start_s": 3.2,
            "end_s": 9.0,
            "box": [0.1, 0.2, 0.3, 0.9],
            "path": [[3.2, 0.2, 0.9], [4.2, 0.3, 0.9]],
        }
    ],
    "key_frame": f"clips/{'0a1b2c3d' * 4}.jpg",
    "clip": {
        "file": f"clips/{'0a1b2c3d' * 4}.mp4",
        "sha256": "a" * 64,
        "size_bytes": 1000,
        "frames": 158,
        "start_s": 0.0,
        "end_s": 15.8,
        "state": "verified",
        "reason": None,
    },
}
BROKEN_VIDEO = {
    **VIDEO,
    "width": None,
    "height": None,
    "fps": None,
    "duration_s": None,
    "frames": 0,
    "counts": {},
    "frames_with": {},
    "missing_frames": 0,
    "gaps": [],
    "clock_jumps": 0,
    "jumps": [],
    "recorded_at": None,
    "parts": 0,
    "sizes": [],
    "streams_not_read": [],
    "timeline": [],
    "key_frames": [],
    "fault": {"kind": "empty", "message": "the file is empty"},
}
SUMMARY = {
    "schema_version": 1,
    "run": "r1",
    "started_at": "2026-11-25T09:00:00+00:00",
    "finished_at": "2026-11-25T09:01:00+00:00",
    "detector_version": "0.1.0",
    "weights": {"name": "yolov5s", "sha256": "b" * 64},
    "settings": {
        "conf": 0.35,
        "iou": 0.45,
        "classes": None,
        "img": 640,
        "stride": 1,
        "key_frames": 3,
        "max_det": 300,
        "privacy": "people",
    },
    "precision": {
        "used": "bfloat16",
        "why": "F1 0.9988",
        "trial": {"frames": 24, "boxes": 120, "f1": 0.9988, "float32_ms": 130.0, "bfloat16_ms": 80.0},
    },
    "runtime": {"onnxruntime": "1", "numpy": "2", "av": "3", "python": "3.11", "threads": 2},
    "videos": [VIDEO, BROKEN_VIDEO],
    "not_read": {"pictures": 2, "sound": 0, "other": 1, "hidden": 0, "names": ["a.jpg", "b.jpg", "notes.txt"]},
    "totals": {"videos": 2, "faulty": 1, "frames": 100, "frames_inferred": 50, "detections": 3, "counts": {"car": 1}},
    "events": {
        "alerts": 1,
        "records": 2,
        "clips_verified": 2,
        "clips_quarantined": 1,
        "clips_not_made": 0,
        "bytes": {"footage": 1000, "detections": 100, "events": 50, "clips": 200, "pictures": 30},
    },
    "exit_code": 3,
}
MANIFEST = {
    "schema_version": 1,
    "run": "r1",
    "finished_at": "2026-11-25T09:01:00+00:00",
    "exit_code": 0,
    "files": [{"path": "videos/x/summary.json", "size_bytes": 3, "sha256": "a" * 64}],
}
GOOD = [
    ("detection.schema.json", DETECTION),
    ("event.schema.json", EVENT),
    ("event.schema.json", {**EVENT, "clip": None, "key_frame": None, "start_utc": None, "end_utc": None}),
    ("video_summary.schema.json", VIDEO),
    ("video_summary.schema.json", BROKEN_VIDEO),
    ("summary.schema.json", SUMMARY),
    ("manifest.schema.json", MANIFEST),
]

# name of the schema, the place to change, the wrong value
BAD: list[tuple[str, dict[str, Any], str, Any]] = [
    ("detection.schema.json", DETECTION, "confidence", 1.2),
    ("detection.schema.json", DETECTION, "frame", -1),
    ("event.schema.json", EVENT, "version", 2),
    ("event.schema.json", EVENT, "id", "../../etc/passwd"),
    ("event.schema.json", EVENT, "severity", "loud"),
    ("event.schema.json", EVENT, "privacy", "blurred"),
    ("event.schema.json", EVENT, "objects", []),
    ("event.schema.json", EVENT, "objects/0/box", [0.1, 0.2, 0.3, 1.9]),
    ("event.schema.json", EVENT, "key_frame", "../clip.jpg"),
    ("event.schema.json", EVENT, "clip/file", "quarantine/x.mp4"),
    ("event.schema.json", EVENT, "clip/sha256", "A" * 64),
    ("event.schema.json", EVENT, "clip/state", "perhaps"),
    ("detection.schema.json", DETECTION, "class_id", "car"),
    ("detection.schema.json", DETECTION, "box", [1, 2, 3]),
    ("video_summary.schema.json", VIDEO, "schema_version", 2),
    ("video_summary.schema.json", VIDEO, "fault/kind", "Not a word"),
    ("video_summary.schema.json", VIDEO, "gaps/0/frames", None),
    ("video_summary.schema.json", VIDEO, "missing_frames", -1),
    ("video_summary.schema.json", VIDEO, "rotation_deg", 45),
    ("video_summary.schema.json", VIDEO, "pixel_aspect", 0),
    ("summary.schema.json", SUMMARY, "not_read/pictures", -1),
    ("summary.schema.json", SUMMARY, "events/alerts", -1),
    ("summary.schema.json", SUMMARY, "events/bytes/clips", "many"),
    ("video_summary.schema.json", VIDEO, "detections", -1),
    ("video_summary.schema.json", VIDEO, "counts/person", "two"),
    ("video_summary.schema.json", VIDEO, "key_frames/0/file", None),
    ("video_summary.schema.json", VIDEO, "timeline/0/counts", None),
    ("summary.schema.json", SUMMARY, "weights/sha256", "short"),
    ("summary.schema.json", SUMMARY, "run", "Not A Run"),
    ("summary.schema.json", SUMMARY, "exit_code", 1),
    ("summary.schema.json", SUMMARY, "totals/faulty", None),
    ("summary.schema.json", SUMMARY, "videos/0/frames", None),
    ("summary.schema.json", SUMMARY, "videos", []),
    ("manifest.schema.json", MANIFEST, "exit_code", 4),
    ("manifest.schema.json", MANIFEST, "files", []),
    ("manifest.schema.json", MANIFEST, "run", "Not A Run"),
    *(
        ("manifest.schema.json", MANIFEST, "files/0/path", path)
        for path in ("/abs", "../up", "a/../b", "a/./b", ".hidden", "back\\slash", "")
    ),
    ("manifest.schema.json", MANIFEST, "files/0/sha256", "A" * 64),
    ("manifest.schema.json", MANIFEST, "files/0/size_bytes", -1),
]


def accepted_by_schema(name: str, document: Any) -> bool:
    validator = jsonschema.Draft202012Validator(SCHEMAS[name], registry=REGISTRY)
    return bool(validator.is_valid(document))


def accepted_by_model(name: str, document: Any) -> bool:
    try:
        MODELS[name].model_validate_json(json.dumps(document))
    except ValidationError:
        return False
    return True


def test_every_schema_of_the_detector_has_a_model() -> None:
    # Progress is read by `shoal.run.detector_lines`, the watch's status by `shoal.watch.documents`; tests of their own
    # hold both to their schemas.
    assert SCHEMAS.keys() - {"progress.schema.json", "watch_status.schema.json"} == MODELS.keys()


@pytest.mark.parametrize(("name", "document"), GOOD)
def test_both_take_what_the_detector_writes(name: str, document: dict[str, Any]) -> None:
    assert accepted_by_schema(name, document)
    assert accepted_by_model(name, document)


@pytest.mark.parametrize(("name", "document"), GOOD)
def test_both_refuse_a_document_that_lacks_a_field(name: str, document: dict[str, Any]) -> None:
    for field in SCHEMAS[name]["required"]:
        less = {key: value for key, value in document.items() if key != field}
        assert not accepted_by_schema(name, less), field
        assert not accepted_by_model(name, less), field


@pytest.mark.parametrize(("name", "document", "place", "value"), BAD)
def test_both_refuse_the_same_wrong_values(name: str, document: dict[str, Any], place: str, value: Any) -> None:
    wrong = copy.deepcopy(document)
    *parents, last = place.split("/")
    at: Any = wrong
    for part in parents:
        if at.get(part) is None if isinstance(at, dict) else False:
            at[part] = {"message": "x"}
        at = at[int(part) if part.isdigit() else part]
    at[last] = value
    assert not accepted_by_schema(name, wrong)
    assert not accepted_by_model(name, wrong)


def test_the_detectors_faults_are_those_of_the_schema() -> None:
    listed = SCHEMAS["video_summary.schema.json"]["properties"]["fault"]["oneOf"][1]["properties"]["kind"]["enum"]
    assert listed == [kind.value for kind in Kind]


def test_a_newer_detector_may_know_more_faults() -> None:
    newer = {**BROKEN_VIDEO, "fault": {"kind": "haunted", "message": "x"}}
    assert not accepted_by_schema("video_summary.schema.json", newer)
    assert accepted_by_model("video_summary.schema.json", newer)


def test_results_of_an_older_detector_are_read() -> None:
    asked = SCHEMAS["video_summary.schema.json"]["required"]
    older = VideoSummary.model_validate({name: VIDEO[name] for name in asked})
    assert (older.missing_frames, older.parts, older.sizes, older.rotation_deg) == (0, 1, (), 0)


@pytest.mark.parametrize("name", MODELS)
def test_models_ask_for_the_fields_that_the_schema_promises(name: str) -> None:
    generated = MODELS[name].model_json_schema(by_alias=True)
    assert set(generated["required"]) == set(SCHEMAS[name]["required"])
    assert set(generated["properties"]) == set(SCHEMAS[name]["properties"])


@pytest.mark.parametrize(("name", "document"), GOOD)
def test_a_newer_detector_may_say_more(name: str, document: dict[str, Any]) -> None:
    assert accepted_by_model(name, {**document, "new_field": 1})
