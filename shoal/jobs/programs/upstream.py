"""Runs inside the makers' image, around its detect.py: the run's lock, summaries that a report reads, and the manifest.

Arguments: the run's id, then those of detect.py. Needs Python 3.8 and what detect.py itself needs (OpenCV, PyYAML).
It goes into the job as it is, so nothing of shoal is imported here.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import cv2
import yaml

VIDEOS, STATE, APP = Path("/videos"), Path("/state"), Path("/usr/src/app")
SUFFIXES = (".asf", ".avi", ".gif", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".ts", ".wmv")
KEY_FRAMES = 3
REFUSED, FAULTY = 2, 3


def main(run: str, arguments: list[str]) -> int:
    """The exit code."""
    lock = (STATE / "lock").open("a")
    fcntl.flock(lock, fcntl.LOCK_EX)
    done = STATE / "manifest.json"
    if done.exists():
        return int(json.loads(done.read_text())["exit_code"])
    # As detect.py finds them: not below folders. It names its results by the stem alone.
    videos = sorted(path for path in VIDEOS.iterdir() if path.suffix.lower() in SUFFIXES)
    stems = Counter(path.stem for path in videos)
    if twins := [path.name for path in videos if stems[path.stem] > 1]:
        sys.stderr.write(f"detect.py would mix the results of {' and '.join(twins)}: name them otherwise\n")
        return REFUSED
    pictures, limited = picture_limit()
    # Left by an attempt that was cut off: detect.py would write behind what is there.
    for folder in (STATE / "detect", STATE / "videos"):
        shutil.rmtree(folder, ignore_errors=True)
    begun = closed = time.time()
    code = subprocess.call([sys.executable, "detect.py", *arguments], cwd=APP)
    if code:
        return code
    classes = yaml.safe_load((APP / "data" / "coco128.yaml").read_text(errors="ignore"))["names"]
    stride = int(after(arguments, "--vid-stride", "1"))
    summaries = []
    for path in videos:
        summary, closed = summarised(path, stride, classes, closed, pictures)
        summaries.append(summary)
    if limited:
        keep_to_key_frames()
    if summaries:
        write(STATE / "summary.json", of_run(run, arguments, summaries, begun))
    exit_code = FAULTY if any(summary["fault"] for summary in summaries) else 0
    manifest = {"schema_version": 1, "run": run, "finished_at": utc(time.time()), "exit_code": exit_code}
    write(done, {**manifest, "files": listed()})
    return exit_code


def picture_limit() -> tuple[int, bool]:
    """Most key frames of a video, and whether a run or the node's privacy policy limits pictures at all.

    A policy that cannot be read ends the program, as in shoal's own detector.
    """
    asked = os.environ.get("KEY_FRAMES")
    most = int(asked) if asked else KEY_FRAMES
    policy = VIDEOS / ".shoal" / "privacy.json"
    if not os.path.lexists(policy):
        return most, asked is not None
    document = json.loads(policy.read_text())
    if document["version"] != 1 or set(document) != {"version", "key_frames"}:
        raise SystemExit(f"this node's privacy policy {policy} is of another version: deploy the site again")
    return min(most, int(document["key_frames"])), True


def keep_to_key_frames() -> None:
    """Take away the annotated videos and the crops of detect.py, which hold more pictures than the key frames."""
    for path in sorted((STATE / "detect").glob("*")):
        if path.name == "crops":
            shutil.rmtree(path)
        elif path.is_file():
            path.unlink()


def summarised(
    path: Path, stride: int, classes: Any, before: float, most_pictures: int
) -> tuple[dict[str, Any], float]:
    """A video's summary.json, written, and when its results were closed, which gives how long it took."""
    slug = re.sub("[^a-z0-9]+", "-", path.stem.lower()).strip("-")
    folder = STATE / "videos" / f"{slug}-{sha256(os.fsencode(path.name))[:8]}"
    source = cv2.VideoCapture(str(path))
    frames = max(int(source.get(cv2.CAP_PROP_FRAME_COUNT)), 0)
    fps = source.get(cv2.CAP_PROP_FPS) or None
    width, height = int(source.get(cv2.CAP_PROP_FRAME_WIDTH)), int(source.get(cv2.CAP_PROP_FRAME_HEIGHT))
    source.release()
    annotated = STATE / "detect" / f"{path.stem}.mp4"
    closed = max(annotated.stat().st_mtime, before) if annotated.exists() else before
    inferred = count_frames(annotated) if annotated.exists() else 0
    found = labels(path.stem, classes)
    counts: Counter[str] = Counter()
    frames_with: Counter[str] = Counter()
    seconds: dict[int, Counter[str]] = {}
    for number, seen in found.items():
        counts.update(seen)
        frames_with.update(set(seen))
        if fps:
            seconds.setdefault(int(frame(number, stride) / fps), Counter()).update(seen)
    most = sorted(found, key=lambda number: (-len(found[number]), number))[:most_pictures]
    wanted = {}
    for number in sorted(most):
        at = frame(number, stride)
        wanted[number] = {"frame": at, "time_s": at / fps if fps else 0.0, "detections": len(found[number])}
    pictures = key_frames(annotated, folder, wanted) if wanted else []
    took_s = closed - before
    summary = {
        "schema_version": 1, "video": os.fsencode(path.name).decode("utf-8", "backslashreplace"),
        "video_id": folder.name, "size_bytes": path.stat().st_size, "width": width or None, "height": height or None,
        "fps": fps, "frames": frames, "frames_inferred": inferred, "duration_s": frames / fps if fps else None,
        "decode_and_infer_s": took_s, "frames_per_s": frames / took_s if took_s else 0.0,
        "detections": sum(counts.values()), "counts": dict(counts), "frames_with": dict(frames_with),
        "fault": None if inferred else {"kind": "no_frames", "message": "detect.py wrote no frame of it"},
        "decode_errors": 0,
        "timeline": [{"time_s": second, "counts": dict(seconds[second])} for second in sorted(seconds)],
        "key_frames": pictures,
    }  # fmt: skip
    write(folder / "summary.json", summary)
    return summary, closed


def labels(stem: str, classes: Any) -> dict[int, list[str]]:
    """Class names of what was found, by the number of the frame (from 1, of those that were looked at)."""
    found = {}
    for path in (STATE / "detect" / "labels").glob("*.txt"):
        name, _, number = path.stem.rpartition("_")
        if name == stem and number.isdecimal():
            ids = [int(line.split()[0]) for line in path.read_text().splitlines() if line.strip()]
            found[int(number)] = [str(classes[one]) for one in ids]
    return found


def key_frames(annotated: Path, folder: Path, wanted: dict[int, dict[str, Any]]) -> list[dict[str, Any]]:
    """The wanted frames, boxes drawn, as pictures out of the video that detect.py wrote."""
    (folder / "key_frames").mkdir(parents=True, exist_ok=True)
    pictures: list[dict[str, Any]] = []
    reader = cv2.VideoCapture(str(annotated))
    for number in range(1, max(wanted) + 1):
        good, image = reader.read()
        if not good:
            break
        if number in wanted:
            file = f"key_frames/frame-{wanted[number]['frame']:06d}.jpg"
            cv2.imwrite(str(folder / file), image)
            height, width = image.shape[:2]
            pictures.append({"file": file, **wanted[number], "width": width, "height": height})
    reader.release()
    return pictures


def count_frames(path: Path) -> int:
    """Frames of a video, as its own head says."""
    reader = cv2.VideoCapture(str(path))
    count = max(int(reader.get(cv2.CAP_PROP_FRAME_COUNT)), 0)
    reader.release()
    return count


def of_run(run: str, arguments: list[str], videos: list[dict[str, Any]], begun: float) -> dict[str, Any]:
    """The node's summary.json."""
    counts: Counter[str] = Counter()
    for video in videos:
        counts.update(video["counts"])
    faulty = sum(video["fault"] is not None for video in videos)
    totals = {key: sum(video[key] for video in videos) for key in ("frames", "frames_inferred", "detections")}
    sha256_of_weights = Path(after(arguments, "--weights", "")).stem
    return {
        "schema_version": 1, "run": run, "started_at": utc(begun), "finished_at": utc(time.time()),
        "detector_version": "the image's own detect.py",
        "weights": {"name": os.environ["WEIGHTS_NAME"], "sha256": sha256_of_weights},
        "settings": {"arguments": " ".join(arguments)}, "runtime": {"opencv": cv2.__version__}, "videos": videos,
        "totals": {"videos": len(videos), "faulty": faulty, "counts": dict(counts), **totals},
        "exit_code": FAULTY if faulty else 0,
    }  # fmt: skip


def listed() -> list[dict[str, Any]]:
    """The manifest's files."""
    files = []
    for path in STATE.rglob("*"):
        relative = path.relative_to(STATE).as_posix()
        if path.is_file() and relative not in ("lock", "manifest.json") and path.suffix != ".part":
            content = path.read_bytes()
            files.append({"path": relative, "size_bytes": len(content), "sha256": sha256(content)})
    return sorted(files, key=lambda file: str(file["path"]))


def write(path: Path, document: Any) -> None:
    """A document under a temporary name, then under its own."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"{path.name}.part")
    part.write_text(json.dumps(document))
    part.replace(path)


def frame(number: int, stride: int) -> int:
    """The frame of the video, from 0, that detect.py numbers so: it counts those that it looks at."""
    return number * stride - 1


def after(words: list[str], flag: str, otherwise: str) -> str:
    """The word behind a flag."""
    return words[words.index(flag) + 1] if flag in words else otherwise


def sha256(content: bytes) -> str:
    """In hex."""
    return hashlib.sha256(content).hexdigest()


def utc(moment: float) -> str:
    """As in every document of a run."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(moment))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2:]))
