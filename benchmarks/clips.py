"""What events, covers and clips cost: CPU seconds per minute of footage and of clip, beside what detection costs.

    python benchmarks/clips.py --output benchmarks/clips.json

Works through the sample clips (or those named by `--clips`) on one thread with the detector's own code: detection with
its notes of people, the search for events, and each clip's encoding and verification. CPU times of this process, so
other work on the machine disturbs them little. `--kind 4k` adds footage of 3840 x 2160 at 60 frames a second, made of a
sample clip and labelled so.
"""

from __future__ import annotations

import argparse
import json
import resource
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
REPOSITORY = HERE.parent
sys.path[:0] = [str(REPOSITORY), str(REPOSITORY / "detector")]

from shoal_detect import pipeline  # noqa: E402 - the checkout's own packages come first
from shoal_detect.cli import parse_settings  # noqa: E402
from shoal_detect.events import clip, seen_file  # noqa: E402
from shoal_detect.events.rules import read_rules  # noqa: E402
from shoal_detect.events_child import EventsOf  # noqa: E402
from shoal_detect.messages import Beat, FindEvents, FoundEvents, MakeClip, WriteEvents  # noqa: E402
from shoal_detect.model.infer import load_model  # noqa: E402
from shoal_detect.model.precision import Precision  # noqa: E402
from shoal_detect.read.videos import find_videos  # noqa: E402
from shoal_detect.stop import Stop  # noqa: E402

from benchmarks.scenes import in_4k  # noqa: E402
from benchmarks.stamp import machine, stamp  # noqa: E402
from shoal.site import sample_clips, weights  # noqa: E402

Spent = Counter[str]


def timed(spent: Spent, name: str, work: Callable[..., Any], clock: Callable[[], float]) -> Callable[..., Any]:
    """The function, its time added up under a name, its calls under `name calls`."""

    def measured(*arguments: Any, **more: Any) -> Any:
        begun = clock()
        try:
            return work(*arguments, **more)
        finally:
            spent[name] += clock() - begun  # type: ignore[assignment]
            spent[f"{name} calls"] += 1

    return measured


def measure(clips: list[Path], model_path: Path, precision: Precision) -> dict[str, Any]:
    """Detect, find events and make clips; all figures of it."""
    spent: Spent = Counter()
    # Notes are made by the thread that infers, while another one decodes.
    pipeline.sighted = timed(spent, "noting", pipeline.sighted, time.thread_time)
    seen_file.to_line = timed(spent, "noting", seen_file.to_line, time.thread_time)
    clip._encode = timed(spent, "encoding", clip._encode, time.process_time)
    clip._verify = timed(spent, "verifying", clip._verify, time.process_time)
    clip._first_pass = timed(spent, "looking again", clip._first_pass, time.process_time)
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        (folder / "in").mkdir()
        (folder / "state" / "videos").mkdir(parents=True)
        for path in clips:
            (folder / "in" / path.name).symlink_to(path.resolve())
        settings = parse_settings(
            [
                *("--input", str(folder / "in"), "--state", str(folder / "state"), "--run", "clips"),
                *("--weights", str(model_path), "--weights-name", "yolov5s", "--key-frames", "0", "--threads", "1"),
            ]
        )
        data = model_path.read_bytes()
        model = load_model(data, size=settings.img, precision=precision)
        stop, videos, rules = Stop(), find_videos(settings.input).videos, read_rules(settings.input)
        work = pipeline.Work(settings, model, stop, lambda _: None)
        begun = time.process_time()
        summaries = [pipeline.detect_video(video, work) for video in videos]
        detecting_s = time.process_time() - begun
        asked = EventsOf(
            settings, model, lambda size: load_model(data, size=size, precision=precision), Beat.made(), stop
        )
        begun = time.process_time()
        found = asked.answer(FindEvents(rules, videos, summaries))
        finding_s = time.process_time() - begun
        assert isinstance(found, FoundEvents)
        begun = time.process_time()
        for event in found.events:
            asked.answer(MakeClip(rules, videos, event))
        making_s = time.process_time() - begun
        asked.answer(WriteEvents([one.event_id for one in found.events], []))
        lines = (settings.state / "events.jsonl").read_text().splitlines()
        documents = [json.loads(line) for line in lines]
    spent.update({"detecting": detecting_s, "finding": finding_s, "making": making_s})  # type: ignore[dict-item]
    return _figures(summaries, documents, spent)


def _figures(summaries: list[Any], documents: list[Any], spent: Spent) -> dict[str, Any]:
    made = [one["clip"] for one in documents if one["clip"]["state"] == "verified"]
    footage_min = sum(one["duration_s"] for one in summaries) / 60
    clip_min = sum(one["end_s"] - one["start_s"] for one in made) / 60
    footage_bytes = sum(one["size_bytes"] for one in summaries)
    noting_s = float(spent["noting"])
    events_s, detecting_s = spent["finding"] + noting_s, spent["detecting"] - noting_s
    return {
        "footage_min": round(footage_min, 2),
        "frames": sum(one["frames"] for one in summaries),
        "events": len(documents),
        "clips_verified": len(made),
        "clips_made_again": spent["encoding calls"] - len(documents),
        "clip_min": round(clip_min, 2),
        "detection_cpu_s_per_min": round(detecting_s / footage_min, 1),
        "events_cpu_s_per_min": round(events_s / footage_min, 2),
        "events_percent_of_detection": round(100 * events_s / detecting_s, 2),
        "clip_cpu_s_per_min_of_clip": round(spent["making"] / clip_min, 1) if made else None,
        "of_it_encoding": round(float(spent["encoding"]) / clip_min, 1) if made else None,
        "of_it_verifying": round(float(spent["verifying"]) / clip_min, 1) if made else None,
        "of_it_looking_again": round(float(spent["looking again"]) / clip_min, 1) if made else None,
        "clip_bytes_percent_of_footage": round(100 * sum(one["size_bytes"] for one in made) / footage_bytes, 1),
        "peak_memory_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000),
    }


def main() -> None:
    """Measure and write the results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--clips", nargs="*", help="only samples with these in their names")
    parser.add_argument("--kind", choices=("samples", "4k"), default="samples")
    parser.add_argument("--precision", type=Precision, choices=tuple(Precision), default=Precision.FLOAT32)
    given = parser.parse_args()
    begun = stamp()
    model = weights.yolov5s(say=print).path
    samples = sample_clips.clips_folder()
    with tempfile.TemporaryDirectory() as scratch:
        if given.kind == "4k":
            clips = in_4k(samples, Path(scratch))
        else:
            clips = sorted(samples.glob("*.mp4"))
            clips = [one for one in clips if not given.clips or any(part in one.name for part in given.clips)]
        figures = measure(clips, model, given.precision)
    results = json.loads(given.output.read_text()) if given.output.exists() else {}
    results[f"{given.kind}, {given.precision}"] = {
        **begun, "machine": machine(), "label": "synthetic" if given.kind == "4k" else "recorded",
        "clips": [one.name for one in clips], **figures,
    }  # fmt: skip
    given.output.write_text(json.dumps(results, indent=2) + "\n")
    print(json.dumps(figures, indent=2))


if __name__ == "__main__":
    main()
