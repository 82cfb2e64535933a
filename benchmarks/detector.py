"""detect.py and shoal-detect side by side: what a frame costs, and how well the boxes agree.

    python benchmarks/detector.py --output benchmarks/detector.json

Both work on the same clips with the same weights, each pinned to one core, in turn, and with `--all-cores` then each
on all of them; the reference is set up from PyPI in an environment of its own (`--reference` keeps it). Times are CPU
times of the whole process, start and loading included, so other work on the machine disturbs them little; wall times
mean something on a quiet machine only. Synthetic scenes are labelled so. What is not measured now stays in the file.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

HERE = Path(__file__).resolve().parent
REPOSITORY = HERE.parent
sys.path[:0] = [str(REPOSITORY), str(REPOSITORY / "detector")]

import av  # noqa: E402 - the checkout's own packages come first
import onnx  # noqa: E402
from onnx import numpy_helper  # noqa: E402

from benchmarks.scenes import Scene, in_4k, scenes  # noqa: E402
from benchmarks.score import Detection, score  # noqa: E402
from benchmarks.stamp import machine, stamp  # noqa: E402
from shoal.site import sample_clips, weights  # noqa: E402

REFERENCE = ("yolov5==7.0.14", "setuptools<81")
CONF, IOU = 0.35, 0.45
STRIDES_4K = (1, 10, 50)
DETECT = """
import sys, torch
torch.set_num_threads({threads})
from yolov5 import detect
weights, project, *clips = sys.argv[1:]
for clip in clips:
    detect.run(weights=weights, source=clip, imgsz=640, conf_thres={conf}, iou_thres={iou}, save_txt=True,
               save_conf=True, nosave=True, project=project, name="all", exist_ok=True, device="cpu")
"""

Found = dict[str, list[Detection]]


def environment(folder: Path) -> Path:
    """The Python of the reference's environment, made where it is not there yet."""
    python = folder / "env" / "bin" / "python"
    if not python.exists():
        subprocess.run([sys.executable, "-m", "venv", str(folder / "env")], check=True)
        subprocess.run([str(python), "-m", "pip", "install", "-q", *REFERENCE], check=True)
    return python


def reference_weights(python: Path, folder: Path, model: Path) -> Path:
    """`yolov5s.pt` made of the very weights that shoal-detect gets."""
    made = folder / "yolov5s.pt"
    if not made.exists():
        graph = onnx.load(str(model)).graph
        values = {one.name: numpy_helper.to_array(one) for one in graph.initializer}
        layers: dict[str, Any] = {}
        convolutions = [node for node in graph.node if node.op_type == "Conv"]
        for number, node in enumerate(convolutions):
            layers[f"kernel_{number}"], layers[f"bias_{number}"] = (values[name] for name in node.input[1:3])
        np.savez(folder / "layers.npz", **layers)
        command = [str(python), str(HERE / "detector_reference.py"), str(folder / "layers.npz"), str(made)]
        subprocess.run(command, check=True)
    return made


WATCHER = """
import ctypes, json, os, resource, subprocess, sys, time
ctypes.CDLL(None).prctl(36, 1)  # PR_SET_CHILD_SUBREAPER: what the program leaves behind is waited for here
begun = time.monotonic()
code = subprocess.run(sys.argv[2:], stdout=subprocess.DEVNULL).returncode
wall_s = time.monotonic() - begun
try:
    while True:
        os.wait()
except ChildProcessError:
    pass
used = resource.getrusage(resource.RUSAGE_CHILDREN)
cpu_s = used.ru_utime + used.ru_stime
with open(sys.argv[1], "w") as stream:
    json.dump({"code": code, "cpu_s": cpu_s, "wall_s": wall_s, "peak_kb": used.ru_maxrss}, stream)
"""
"""Runs a program in a small process: of its parent's size a child would inherit its peak memory (getrusage(2))."""


def measured(command: Sequence[str], cores: Sequence[int], extra: dict[str, str]) -> dict[str, float]:
    """CPU and wall seconds of a program and all its children, and the largest one's peak memory, pinned to these cores.

    Children that the program did not wait for, as it killed them, count too.
    """
    with tempfile.NamedTemporaryFile("r") as answer, tempfile.TemporaryFile("w+") as err:
        watcher = [sys.executable, "-S", "-E", "-c", WATCHER, answer.name]
        subprocess.run(
            [*watcher, "taskset", "-c", ",".join(map(str, cores)), *command],
            env={**os.environ, **extra}, stderr=err, check=True,
        )  # fmt: skip
        used = json.load(answer)
        if used["code"] not in {0, 3}:
            err.seek(0)
            raise SystemExit(f"{command[0]} ended with {used['code']}:\n{err.read()[-2000:]}")
    return {
        "cpu_s": round(used["cpu_s"], 2),
        "wall_s": round(used["wall_s"], 2),
        "peak_memory_mb": round(used["peak_kb"] / 1000),
    }


def of_reference(folder: Path, clips: Sequence[Path]) -> Found:
    """The reference's boxes by clip, from its text files."""
    found: Found = {}
    for clip in clips:
        with av.open(str(clip)) as container:
            context = container.streams.video[0].codec_context
            width, height = context.width, context.height
        found[clip.stem] = []
        for path in (folder / "all" / "labels").glob(f"{clip.stem}_*.txt"):
            frame = int(path.stem.rpartition("_")[2]) - 1
            for line in path.read_text().splitlines():
                kind, x, y, w, h, confidence = map(float, line.split())
                box = ((x - w / 2) * width, (y - h / 2) * height, (x + w / 2) * width, (y + h / 2) * height)
                found[clip.stem].append(Detection(frame, int(kind), confidence, box))
    return found


def of_shoal(state: Path) -> tuple[Found, dict[str, Any]]:
    """shoal-detect's boxes by clip, and its summary."""
    summary = json.loads((state / "summary.json").read_text())
    found: Found = {}
    for video in summary["videos"]:
        lines = (state / "videos" / video["video_id"] / "detections.jsonl").read_text().splitlines()
        rows = [json.loads(line) for line in lines]
        found[Path(video["video"]).stem] = [
            Detection(one["frame"], one["class_id"], one["confidence"], tuple(one["box"])) for one in rows
        ]
    return found, summary


def agreement(found: Found, expected: Found) -> dict[str, Any]:
    """F1 against the reference: micro, worst clip, worst class, at both overlaps."""
    figures: dict[str, Any] = {}
    for iou in (0.5, 0.75):
        one = score(found, expected, iou=iou)
        figures[f"iou_{iou}"] = {
            "f1": round(one.total.f1, 4),
            "boxes": one.total.expected,
            "worst_clip": [one.worst_clip()[0], round(one.worst_clip()[1], 4)],
            "worst_class": None if (worst := one.worst_class()) is None else [worst[0], round(worst[1], 4)],
        }
    return figures


def shoal_command(clips: Path, state: Path, model: Path, *more: str) -> list[str]:
    """The program as the image runs it; events need no clips here."""
    return [
        sys.executable, "-P", "-m", "shoal_detect", "--input", str(clips), "--state", str(state), "--run", "bench",
        "--weights", str(model), "--weights-name", "yolov5s", "--conf", str(CONF), "--iou", str(IOU),
        "--key-frames", "0", "--clips", "off", *more,
    ]  # fmt: skip


def _named(path: Path, wanted: Sequence[str] | None) -> bool:
    return not wanted or any(part in path.stem for part in wanted)


def one_kind(kind: str, clips: Sequence[Scene], given: argparse.Namespace, programs: tuple[Path, Path, Path]) -> Any:
    """One scene class: the reference, then shoal-detect in every mode, on one core each, then on all of them."""
    paths = [one.path for one in clips]
    stretch = sum(_frames(path) for path in paths), sum(_seconds(path) for path in paths)
    most = given.reference_frames if all(one.synthetic for one in clips) else None
    rows: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        (folder / "clips").mkdir()
        for path in paths:
            (folder / "clips" / path.name).symlink_to(path)
        # detect.py takes the same time for every frame: a part of a long clip says what all of it takes.
        shown = paths if most is None else [_shortened(path, folder / path.name, most) for path in paths]
        shown_stretch = sum(_frames(path) for path in shown), sum(_seconds(path) for path in shown)
        every_core = sorted(os.sched_getaffinity(0))
        for suffix, cores in (("", given.core), (", all cores", every_core))[: 1 + given.all_cores]:
            cost, expected = _reference(folder, shown, cores, programs)
            reference = {**_per_frame(cost, *shown_stretch, None), "frames": shown_stretch[0]}
            rows[f"detect.py{suffix}"] = reference
            for name, more in MODES.items():
                if given.mode and name not in given.mode:
                    continue
                state = folder / (name + suffix)
                own = {"PYTHONPATH": str(REPOSITORY / "detector")}
                command = shoal_command(folder / "clips", state, programs[2], "--threads", str(len(cores)), *more)
                cost = measured(command, cores, own)
                found, summary = of_shoal(state)
                if most is not None:
                    found = {name: [one for one in boxes if one.frame < most] for name, boxes in found.items()}
                rows[name + suffix] = {
                    **_per_frame(cost, *stretch, reference), "agreement": agreement(found, expected),
                    "precision": summary["precision"], "reuse": summary["reuse"],
                    "frames_inferred": summary["totals"]["frames_inferred"],
                }  # fmt: skip
                print(kind, name + suffix, json.dumps(rows[name + suffix]), flush=True)
    label = "synthetic" if all(one.synthetic for one in clips) else "recorded"
    return {"clips": [path.name for path in paths], "label": label, "frames": stretch[0], "rows": rows}


def _shortened(path: Path, to: Path, frames: int) -> Path:
    """The first frames of a clip, its packets copied."""
    with av.open(str(path)) as clip, av.open(str(to), "w") as made:
        stream = made.add_stream_from_template(clip.streams.video[0])
        packets = (packet for packet in clip.demux(video=0) if packet.dts is not None)
        for packet in itertools.islice(packets, frames):
            packet.stream = stream
            made.mux(packet)
    return to


def _reference(
    folder: Path, paths: Sequence[Path], cores: Sequence[int], programs: tuple[Path, Path, Path]
) -> tuple[dict[str, float], Found]:
    """What detect.py costs on these clips, and its boxes."""
    python, pt, _ = programs
    project, threads = folder / f"reference-{len(cores)}", len(cores)
    detect = DETECT.format(conf=CONF, iou=IOU, threads=threads)
    command = [str(python), "-W", "ignore", "-c", detect, str(pt), str(project), *map(str, paths)]
    extra = {"TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD": "1", "OMP_NUM_THREADS": str(threads)}
    return measured(command, cores, extra), of_reference(project, paths)


MODES = {
    "float32": ("--precision", "float32"),
    "bfloat16": ("--precision", "bfloat16"),
    "auto with reuse": ("--precision", "auto", "--reuse", "on"),
}


def _per_frame(cost: dict[str, float], frames: int, seconds: float, reference: dict[str, Any] | None) -> dict[str, Any]:
    figures: dict[str, Any] = {**cost, "cpu_ms_per_frame": round(1000 * cost["cpu_s"] / frames, 1)}
    figures["cpu_s_per_hour_of_footage"] = round(3600 * cost["cpu_s"] / seconds)
    if reference is not None:
        part = frames / reference["frames"]
        figures["times_as_fast"] = round(part * reference["cpu_s"] / cost["cpu_s"], 2)
        figures["times_as_fast_by_wall"] = round(part * reference["wall_s"] / cost["wall_s"], 2)
    return figures


def _frames(path: Path) -> int:
    with av.open(str(path)) as container:
        return sum(1 for packet in container.demux(video=0) if packet.size)


def _seconds(path: Path) -> float:
    with av.open(str(path)) as container:
        return (container.duration or 0) / av.time_base


def in_4k_rows(folder: Path, samples: Path, model: Path, cores: Sequence[int]) -> dict[str, Any]:
    """4K at 60 frames a second: every frame, and some; no reference, which takes minutes for a second of it."""
    rows: dict[str, Any] = {"label": "synthetic"}
    for clip in in_4k(samples, folder):
        frames = _frames(clip)
        for stride in STRIDES_4K:
            with tempfile.TemporaryDirectory() as scratch:
                place = Path(scratch)
                (place / "clips").mkdir()
                (place / "clips" / clip.name).symlink_to(clip)
                command = shoal_command(
                    place / "clips", place / "state", model, "--threads", "1", "--stride", str(stride),
                    "--precision", "float32",
                )  # fmt: skip
                cost = measured(command, cores, {"PYTHONPATH": str(REPOSITORY / "detector")})
            rows[f"{clip.stem}, stride {stride}"] = {"frames": frames, **_per_frame(cost, frames, _seconds(clip), None)}
            print(clip.stem, stride, json.dumps(cost), flush=True)
    return rows


def main() -> None:
    """Measure and write the results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--reference", type=Path, help="folder of the reference's environment; else a temporary one")
    parser.add_argument("--core", type=int, nargs="+", default=[0], help="the core or cores to pin to")
    parser.add_argument("--reference-frames", type=int, help="of each synthetic clip, what detect.py gets to see")
    parser.add_argument("--all-cores", action="store_true", help="measure on all cores, too")
    parser.add_argument("--frames", type=int, default=3600, help="of a synthetic scene")
    parser.add_argument("--clips", nargs="*", help="only samples with these in their names")
    parser.add_argument("--kind", nargs="*", default=["empty", "parked", "sparse", "busy", "4k"])
    parser.add_argument("--mode", nargs="*", choices=tuple(MODES))
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = (given.reference or Path(scratch)).resolve()
        folder.mkdir(parents=True, exist_ok=True)
        model = weights.yolov5s(say=print).path
        samples = sample_clips.clips_folder()
        python = environment(folder)
        pt = reference_weights(python, folder, model)
        results: dict[str, Any] = json.loads(given.output.read_text()) if given.output.exists() else {"scenes": {}}
        results.update(machine=machine(), reference=REFERENCE[0])
        every = scenes(samples, folder / "scenes", given.frames)
        for kind in given.kind:
            begun = stamp()
            if kind == "4k":
                results["4k60"] = {**begun, **in_4k_rows(folder / "scenes", samples, model, given.core)}
            else:
                wanted = [one for one in every if one.kind == kind and (one.synthetic or _named(one.path, given.clips))]
                results["scenes"][kind] = {**begun, **one_kind(kind, wanted, given, (python, pt, model))}
            given.output.write_text(json.dumps(results, indent=2) + "\n")


if __name__ == "__main__":
    main()
