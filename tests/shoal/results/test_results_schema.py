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

from shoal.results.documents import Detection, Manifest, RunSummary, VideoSummary

SCHEMAS = {
    path.name: json.loads(path.read_text())
    for path in (Path(__file__).parents[3] / "detector" / "schemas").glob("*.schema.json")
}
REGISTRY: Registry = Registry().with_resources(
    [(name, Resource.from_contents(schema)) for name, schema in SCHEMAS.items()]
)
MODELS: dict[str, type[BaseModel]] = {
    "detection.schema.json": Detection,
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
    "timeline": [{"time_s": 0, "counts": {"person": 2}}],
    "key_frames": [
        {"file": "frames/000012.jpg", "frame": 12, "time_s": 0.48, "detections": 2, "width": 640, "height": 360}
    ],
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
    "settings": {"conf": 0.35, "iou": 0.45, "classes": None, "img": 640, "stride": 1, "key_frames": 3, "max_det": 300},
    "runtime": {"onnxruntime": "1", "numpy": "2", "av": "3", "python": "3.11", "threads": 2},
    "videos": [VIDEO, BROKEN_VIDEO],
    "totals": {"videos": 2, "faulty": 1, "frames": 100, "frames_inferred": 50, "detections": 3, "counts": {"car": 1}},
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
    ("video_summary.schema.json", VIDEO),
    ("video_summary.schema.json", BROKEN_VIDEO),
    ("summary.schema.json", SUMMARY),
    ("manifest.schema.json", MANIFEST),
]

# name of the schema, the place to change, the wrong value
BAD: list[tuple[str, dict[str, Any], str, Any]] = [
    ("detection.schema.json", DETECTION, "confidence", 1.2),
    ("detection.schema.json", DETECTION, "frame", -1),
    ("detection.schema.json", DETECTION, "class_id", "car"),
    ("detection.schema.json", DETECTION, "box", [1, 2, 3]),
    ("video_summary.schema.json", VIDEO, "schema_version", 2),
    ("video_summary.schema.json", VIDEO, "fault/kind", "sleepy"),
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
    # Progress is read by `shoal.run.detector_lines`, whose own tests hold it to its schema.
    assert SCHEMAS.keys() - {"progress.schema.json"} == MODELS.keys()


@pytest.mark.parametrize(("name", "document"), GOOD)
def test_both_take_what_the_detector_writes(name: str, document: dict[str, Any]) -> None:
    assert accepted_by_schema(name, document)
    assert accepted_by_model(name, document)


@pytest.mark.parametrize(("name", "document"), GOOD)
def test_both_refuse_a_document_that_lacks_a_field(name: str, document: dict[str, Any]) -> None:
    for field in document:
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


@pytest.mark.parametrize("name", MODELS)
def test_models_ask_for_the_fields_that_the_schema_promises(name: str) -> None:
    generated = MODELS[name].model_json_schema(by_alias=True)
    assert set(generated["required"]) == set(SCHEMAS[name]["required"])
    assert set(generated["properties"]) == set(SCHEMAS[name]["properties"])


@pytest.mark.parametrize(("name", "document"), GOOD)
def test_a_newer_detector_may_say_more(name: str, document: dict[str, Any]) -> None:
    assert accepted_by_model(name, {**document, "new_field": 1})
