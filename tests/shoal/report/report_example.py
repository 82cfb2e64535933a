"""Makes run folders as the detector and the runner leave them, for the tests of the report."""

from __future__ import annotations

import functools
import hashlib
import io
import json
import math
from datetime import UTC, datetime, timedelta
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np

from shoal.results import record as runs
from shoal.results.record import Attempt, Fetched, Image, NodeRecord, Outcome, RunRecord, Weights

START = datetime(2026, 11, 25, 9, 30, 12, tzinfo=UTC)
DIGEST = "sha256:" + "5e" * 32
WEIGHTS = Weights(name="yolov5s", sha256="ab" * 32, licence="AGPL-3.0")
CLASSES = ["person", "car", "truck", "bicycle", "bus", "tie", "dog", "backpack", "umbrella", "handbag"]


@functools.cache
def picture(seed: int, width: int = 640, height: int = 480) -> bytes:
    """A JPEG that looks like a street from far away: shaded ground, a few boxes with frames."""
    generator = np.random.default_rng(seed)
    ground = np.linspace(90, 190, height)[:, None, None] * np.array([0.95, 1.0, 0.9])  # grows to three channels
    image = np.clip(ground + generator.normal(0, 5, (height, width, 1)), 0, 255).astype(np.uint8)
    for _ in range(6):
        x, y = int(generator.integers(10, width - 90)), int(generator.integers(60, height - 150))
        w, h = int(generator.integers(25, 75)), int(generator.integers(60, 130))
        image[y : y + h, x : x + w] = generator.integers(30, 200, 3)
        colour = [(11, 107, 181), (201, 81, 12), (12, 132, 99)][int(generator.integers(3))]
        for inner in range(3):
            image[y + inner, x : x + w] = image[y + h - inner, x : x + w] = colour
            image[y : y + h, x + inner] = image[y : y + h, x + w - inner] = colour
        image[y - 14 : y, x : x + 52] = colour
    codec = av.CodecContext.create("mjpeg", "w")
    codec.width, codec.height, codec.pix_fmt = width, height, "yuvj420p"
    codec.time_base = Fraction(1, 25)
    frame = av.VideoFrame.from_ndarray(image, format="rgb24").reformat(format="yuvj420p")
    return b"".join(bytes(packet) for packet in [*codec.encode(frame), *codec.encode(None)])


def video_id(name: str) -> str:
    """As the detector names a video's folder."""
    slug = "".join(char if char.isascii() and char.isalnum() else "-" for char in name.lower())[:40].strip("-")
    return f"{slug}-{hashlib.sha256(name.encode()).hexdigest()[:8]}"


def write_json(path: Path, document: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(document, indent=1), encoding="utf-8")


def add_video(
    node: Path,
    name: str,
    *,
    classes: tuple[str, ...] = ("person", "car"),
    seconds: int = 10,
    fault: dict[str, str] | None = None,
    key_frames: int = 3,
    seed: int = 1,
    **changes: Any,
) -> dict[str, Any]:
    """Write one video's folder; the detections of a class rise and fall over the clip."""
    folder = node / "videos" / video_id(name)
    timeline, counts = [], dict.fromkeys(classes, 0)
    for second in range(seconds):
        found = {
            label: round(10 * (3 - min(2, index)) * (1 + math.sin(second / 3 + index + seed)) / 2)
            for index, label in enumerate(classes)
        }
        found = {label: n for label, n in found.items() if n}
        for label, n in found.items():
            counts[label] += n
        if found:
            timeline.append({"time_s": second, "counts": found})
    frames = seconds * 10
    files = []
    for index in range(key_frames if seconds else 0):
        number = index * max(1, frames // 3)
        file = folder / "frames" / f"{number:06d}.jpg"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(picture(seed * 10 + index))
        files.append(
            {
                "file": f"frames/{number:06d}.jpg",
                "frame": number,
                "time_s": number / 10,
                "detections": 3 + index,
                "width": 640,
                "height": 480,
            }
        )
    work_s = frames / (13.5 + seed % 4 * 0.4)
    summary = {
        "schema_version": 1,
        "video": name,
        "video_id": video_id(name),
        "size_bytes": 612_345 + seed * 1000,
        "width": 640,
        "height": 480,
        "fps": 10.0,
        "frames": frames,
        "frames_inferred": frames,
        "duration_s": float(seconds),
        "decode_and_infer_s": round(work_s, 3),
        "frames_per_s": round(frames / work_s, 1) if frames else 0.0,
        "detections": sum(counts.values()),
        "counts": counts,
        "frames_with": {label: min(frames, n) for label, n in counts.items() if n},
        "fault": fault,
        "decode_errors": 0,
        "timeline": timeline,
        "key_frames": files,
        **changes,
    }
    folder.mkdir(parents=True, exist_ok=True)
    lines = [json.dumps({"video": name, "frame": n, "class": classes[0]}) for n in range(frames)] if classes else []
    (folder / "detections.jsonl").write_text("".join(line + "\n" for line in lines), encoding="utf-8")
    write_json(folder / "summary.json", summary)
    return summary


@functools.cache
def film(frames: int = 20, width: int = 160, height: int = 120) -> bytes:
    """A short clip as the detector writes them: H.264 in an MP4 file."""
    stream_of = io.BytesIO()
    with av.open(stream_of, "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=10)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        for number in range(frames):
            image = np.full((height, width, 3), 60 + number, np.uint8)
            image[20:80, 10 + number : 50 + number] = 30
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode(None))
    return stream_of.getvalue()


def add_event(node: Path, camera: str, number: int, start_s: float, end_s: float, **changes: Any) -> dict[str, Any]:
    """Write an event's clip and picture, and its line."""
    event_id = hashlib.sha256(f"{camera} {number}".encode()).hexdigest()[:32]
    (node / "clips").mkdir(parents=True, exist_ok=True)
    (node / "clips" / f"{event_id}.mp4").write_bytes(film())
    (node / "clips" / f"{event_id}.jpg").write_bytes(picture(number, 320, 240))
    event = {
        "version": 1,
        "id": event_id,
        "camera": camera,
        "videos": [f"{camera}.mp4"],
        "start_utc": None,
        "end_utc": None,
        "start_s": start_s,
        "end_s": end_s,
        "severity": "alert",
        "rule": "people",
        "reason": "2 person (rule people)",
        "privacy": "people",
        "objects": [
            {
                "track": 1,
                "class": "person",
                "confidence": 0.9,
                "severity": "alert",
                "rule": "people",
                "start_s": start_s,
                "end_s": end_s,
                "box": [0.1, 0.2, 0.3, 0.9],
                "path": [[start_s, 0.2, 0.9]],
            }
        ],
        "key_frame": f"clips/{event_id}.jpg",
        "clip": {
            "file": f"clips/{event_id}.mp4",
            "sha256": hashlib.sha256(film()).hexdigest(),
            "size_bytes": len(film()),
            "frames": 20,
            "start_s": start_s,
            "end_s": end_s,
            "state": "verified",
            "reason": None,
        },
        **changes,
    }
    with (node / "events.jsonl").open("a", encoding="utf-8") as stream:
        stream.write(json.dumps(event) + "\n")
    return event


NO_CLIP = {"file": None, "sha256": None, "size_bytes": None, "frames": None, "start_s": 0.0, "end_s": 1.0}
EVENT_COUNTS = {
    "alerts": 3,
    "records": 1,
    "clips_verified": 3,
    "clips_quarantined": 1,
    "clips_not_made": 0,
    "bytes": {"footage": 1_000_000, "detections": 50_000, "events": 2_000, "clips": 30_000, "pictures": 4_000},
}


def events_run(run: str = "20261125-150000-eeee", cameras: list[dict[str, Any]] | None = None) -> str:
    """Two cameras with events, one of whose clips is in quarantine."""
    folder = runs.run_dir(run) / "compute-1"
    videos = [add_video(folder, "gate.mp4", seconds=60), add_video(folder, "yard <b>.mp4", seconds=30)]
    (folder / "events.jsonl").touch()
    add_event(folder, "gate", 1, 2.0, 9.5)
    add_event(folder, "gate", 2, 45.0, 58.0, start_utc="2026-11-25T08:00:45.000Z", end_utc="2026-11-25T08:00:58.000Z")
    add_event(folder, "yard <b>", 3, 1.0, 4.0, severity="record", rule="vehicles", reason="1 car (rule vehicles)")
    add_event(
        folder, "yard <b>", 4, 20.0, 24.0,
        key_frame=None,
        clip={**NO_CLIP, "state": "quarantined", "reason": "somebody is still seen in 2 of its frames (at 1.0 s)"},
    )  # fmt: skip
    counts = EVENT_COUNTS if cameras is None else {**EVENT_COUNTS, "cameras": cameras}
    fetched = finish(folder, run, videos, events=counts)
    record(
        run,
        {
            "compute-1": NodeRecord(
                outcome=Outcome.FINISHED, attempts=[attempt(1, Outcome.FINISHED, 0)], fetched=fetched
            )
        },
    )
    return run


def finish(
    node: Path, run: str, videos: list[dict[str, Any]], *, weights: str = WEIGHTS.sha256, **more: Any
) -> Fetched:
    """Write the node's summary and manifest; what a checked fetch would record."""
    faulty = sum(video["fault"] is not None for video in videos)
    settings = {"conf": 0.35, "iou": 0.45, "classes": None, "img": 640, "stride": 1, "key_frames": 3, "max_det": 300}
    write_json(node / "settings.json", settings)
    write_json(
        node / "summary.json",
        {
            "schema_version": 1,
            "run": run,
            "started_at": START.isoformat(),
            "finished_at": (START + timedelta(seconds=60)).isoformat(),
            "detector_version": "0.1.0",
            "weights": {"name": "yolov5s", "sha256": weights},
            "settings": settings,
            "runtime": {"onnxruntime": "1.32.0", "numpy": "2.4.6", "av": "18.1.0", "python": "3.11.9", "threads": 2},
            "videos": videos,
            "totals": {
                "videos": len(videos),
                "faulty": faulty,
                **{key: sum(video[key] for video in videos) for key in ("frames", "frames_inferred", "detections")},
                "counts": {},
            },
            "exit_code": 3 if faulty else 0,
            **more,
        },
    )
    files = [path for path in sorted(node.rglob("*")) if path.is_file()]
    write_json(
        node / "manifest.json",
        {
            "schema_version": 1,
            "run": run,
            "finished_at": START.isoformat(),
            "exit_code": 3 if faulty else 0,
            "files": [
                {
                    "path": path.relative_to(node).as_posix(),
                    "size_bytes": path.stat().st_size,
                    "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
                }
                for path in files
            ],
        },
    )
    return Fetched(
        files=len(files),
        size_bytes=sum(path.stat().st_size for path in files),
        verified_at=START + timedelta(seconds=70),
    )


def attempt(
    number: int, outcome: Outcome, exit_code: int | None, *, length_s: float = 62, message: str = ""
) -> Attempt:
    started = START + timedelta(seconds=100 * (number - 1))
    return Attempt(
        number=number,
        started_at=started,
        ended_at=started + timedelta(seconds=length_s),
        outcome=outcome,
        exit_code=exit_code,
        message=message,
        execution=f"shoal-run-a{number}",
    )


def record(run: str, nodes: dict[str, NodeRecord], **changes: Any) -> RunRecord:
    """Save and return a run's record."""
    fields: dict[str, Any] = {
        "run": run,
        "created_at": START,
        "finished_at": START + timedelta(seconds=74),
        "cluster": "lab",
        "substrate": "lab",
        "engine": "ssh",
        "engine_reason": "no Bacalhau artefact can be had here",
        "options": {"conf": 0.35, "iou": 0.45, "classes": ["person", "car"], "img": 640, "stride": 1, "timeout_s": 900},
        "image": Image(reference="registry.lab:5000/shoal-detect:0.1.0", digest=DIGEST),
        "weights": WEIGHTS,
        "job": {
            "Name": f"shoal-{run}-a1",
            "Type": "ops",
            "Tasks": [
                {
                    "Name": "main",
                    "Engine": {"Type": "docker", "Params": {"Image": "registry.lab:5000/shoal-detect@" + DIGEST}},
                    "InputSources": [{"Source": {"Type": "localDirectory", "Params": {"SourcePath": "/videos"}}}],
                    "Network": {"Type": "None"},
                }
            ],
        },
        "nodes": nodes,
        **changes,
    }
    run_record = RunRecord(**fields)
    runs.save(run_record)
    return run_record


def whole_run(run: str = "20261125-093012-aaaa", price: float | None = 0.0675) -> str:
    """Two nodes with six videos each, everything in order."""
    nodes = {}
    for index, node in enumerate(["compute-1", "compute-2"]):
        folder = runs.run_dir(run) / node
        videos = []
        for clip in range(6):
            number = index * 6 + clip
            names = {
                9: "cam09-junction-truck.mp4",
                10: "cam10-still-photo-bus.mp4",
                11: "cam11-still-photo-two-men.mp4",
            }
            kinds = [("person",), ("person", "car", "truck"), ("car", "truck", "bicycle", "person"), tuple(CLASSES)]
            videos.append(
                add_video(
                    folder,
                    names.get(number, f"cam{number:02d}-campus.mp4"),
                    classes=kinds[number % 4],
                    seconds=10 + clip % 3,
                    seed=number + 1,
                )
            )
        nodes[node] = NodeRecord(
            outcome=Outcome.FINISHED,
            attempts=[attempt(1, Outcome.FINISHED, 0)],
            fetched=finish(folder, run, videos),
            price_usd_per_hour=price,
            spot=index == 1,
        )
    record(run, nodes)
    return run


def partly_failed_run(run: str = "20261125-101500-bbbb") -> str:
    """One node with faulty videos, one killed twice with half of its results fetched, one never reached."""
    first = runs.run_dir(run) / "compute-1"
    videos = [add_video(first, f"cam{n:02d}-campus.mp4", seed=n + 1) for n in range(4)]
    videos.append(
        add_video(
            first,
            "cam04-broken.mp4",
            seconds=4,
            key_frames=1,
            decode_errors=2,
            fault={"kind": "truncated", "message": "the file ends inside frame 41 of about 99"},
        )
    )
    videos.append(
        add_video(
            first,
            "cam05-notes.mp4",
            classes=(),
            seconds=0,
            width=None,
            height=None,
            fps=None,
            duration_s=None,
            fault={"kind": "unreadable", "message": "Invalid data found when processing input"},
        )
    )
    fetched = finish(first, run, videos)
    second = runs.run_dir(run) / "compute-2"
    for n in range(3):
        add_video(second, f"cam{n + 6:02d}-campus.mp4", seed=n + 6)
    cut = second / "videos" / video_id("cam08-campus.mp4") / "frames" / "000033.jpg"
    cut.write_bytes(cut.read_bytes()[:2000])
    (second / "videos" / ".cam09.part").mkdir()
    record(
        run,
        {
            "compute-1": NodeRecord(
                outcome=Outcome.FAULTY_VIDEOS,
                attempts=[attempt(1, Outcome.FAULTY_VIDEOS, 3)],
                fetched=fetched,
                price_usd_per_hour=0.0675,
            ),
            "compute-2": NodeRecord(
                outcome=Outcome.OUT_OF_MEMORY,
                attempts=[
                    attempt(1, Outcome.UNREACHABLE, None, message="connection reset by peer"),
                    attempt(2, Outcome.OUT_OF_MEMORY, 137, message="the container was killed at its limit of 512 MB"),
                ],
            ),
            "compute-3": NodeRecord(outcome=Outcome.UNREACHABLE, arch="arm64"),
        },
        finished_at=None,
    )
    return run


def empty_run(run: str = "20261125-120000-cccc") -> str:
    """One node without videos."""
    record(
        run,
        {
            "compute-1": NodeRecord(
                outcome=Outcome.NO_VIDEOS,
                attempts=[attempt(1, Outcome.NO_VIDEOS, 4, length_s=2, message="no videos under /videos")],
            )
        },
    )
    return run
