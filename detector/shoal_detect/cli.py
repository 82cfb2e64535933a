"""The command line: arguments are all checked before anything is touched, and every fault is named at once."""

from __future__ import annotations

import argparse
import os
import re
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from shoal_detect import __version__
from shoal_detect.cpus import available_cpus
from shoal_detect.errors import DetectorError, Exit, Interrupted
from shoal_detect.model.classes import parse as parse_classes
from shoal_detect.model.precision import ASKED, AUTO
from shoal_detect.model.stride import GRID
from shoal_detect.privacy import PRIVACY, read_policy
from shoal_detect.progress import report_error, say
from shoal_detect.read.archive import Wanted
from shoal_detect.state.settings import Settings
from shoal_detect.stop import Stop

RUN_ID = re.compile(r"[a-z0-9][a-z0-9-]{0,47}")
SHA256 = re.compile(r"[0-9a-f]{64}")
MAX_IMG = 4096
CAMERA = re.compile(r"[^/\s,][^/,]{0,127}(/[^/,]{1,128}){0,16}")

EPILOG = """exit codes: 0 done; 2 bad arguments, or other settings than the run was begun with; 3 done, but at least one
video was faulty; 4 no videos found; 5 weights unusable; 6 no space left or the state folder cannot be written;
130, 143 interrupted. Started again on the same state folder it goes on where it was; on a finished one it ends at
once with that run's code.

example: shoal-detect --input /videos --state /state --run night-1 --weights /weights/yolov5s.onnx
         --weights-name yolov5s --classes person,car --img 320 --stride 2"""


def build_parser() -> argparse.ArgumentParser:
    """All arguments, with their defaults."""
    parser = argparse.ArgumentParser(
        prog="shoal-detect",
        description="Find objects in every video under a folder with a YOLOv5 model.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"shoal-detect {__version__}")
    parser.add_argument("--input", required=True, help="folder of videos, only read")
    parser.add_argument("--state", required=True, type=Path, help="folder of this run's results, made if missing")
    parser.add_argument("--run", required=True, help="run id: lower-case letters, digits, dashes")
    parser.add_argument("--weights", required=True, type=Path, help="YOLOv5 as ONNX, 80 COCO classes")
    parser.add_argument("--weights-name", required=True, help="what the results call these weights")
    parser.add_argument("--weights-sha256", help="refuse other weights than these")
    parser.add_argument("--conf", type=float, default=0.35, help="least confidence, 0 to 1 (default %(default)s)")
    parser.add_argument(
        "--iou", type=float, default=0.45, help="overlap above which two boxes are one, 0 to 1 (default %(default)s)"
    )
    parser.add_argument(
        "--classes", nargs="+", action="extend", metavar="CLASS", help="names or ids to keep (default all)"
    )
    parser.add_argument(
        "--img", type=int, default=640, help="longer side of the model's input, a multiple of 32 (default %(default)s)"
    )
    parser.add_argument("--stride", type=int, default=1, help="infer every n-th frame (default %(default)s)")
    parser.add_argument(
        "--key-frames",
        type=int,
        default=3,
        help="most annotated pictures a video (default %(default)s); a node's policy may allow fewer",
    )
    parser.add_argument(
        "--privacy",
        choices=PRIVACY,
        default=PRIVACY[0],
        help="what is covered in pictures and clips; `off` is for footage of one's own (default %(default)s)",
    )
    parser.add_argument(
        "--clips", choices=("on", "off"), default="on", help="off: events without clips (default %(default)s)"
    )
    parser.add_argument("--threads", type=int, help="default: the CPUs this process may use")
    parser.add_argument("--since", metavar="TIME", help="only footage that ended later: 2026-11-30T08:00:00Z")
    parser.add_argument("--cameras", metavar="A,B", help="only footage of these cameras, by name or folder")
    parser.add_argument(
        "--reuse",
        choices=("off", "on"),
        default="off",
        help="on: where a fixed camera's frame did not change, what was found before is said again; what that costs in "
        "truth is measured and stands in summary.json (default %(default)s)",
    )
    parser.add_argument(
        "--precision",
        choices=ASKED,
        default=AUTO,
        help="numbers the model computes in; auto: bfloat16 where a trial on the first frames finds it as good and "
        "faster (default %(default)s)",
    )
    parser.add_argument("--max-det", type=int, default=300, help="most detections a frame (default %(default)s)")
    return parser


def parse_settings(arguments: Sequence[str] | None) -> Settings:
    """Checked settings. Raises DetectorError(USAGE) that names every fault; argparse itself exits with 2 too."""
    given = build_parser().parse_args(arguments)
    ids, faults = parse_classes(given.classes or ())
    wanted, wrong = _wanted(given.since, given.cameras)
    faults += wrong
    if given.classes is not None and not ids and not faults:
        faults.append("--classes: no class is named")
    sha256 = given.weights_sha256 and given.weights_sha256.lower()
    threads = available_cpus() if given.threads is None else given.threads
    checks = {
        f"--run {given.run!r}: lower-case letters, digits and dashes, at most 48": RUN_ID.fullmatch(given.run),
        f"--weights-sha256 {sha256!r}: 64 hexadecimal digits": sha256 is None or SHA256.fullmatch(sha256),
        f"--conf {given.conf}: must be from 0 to 1": 0 <= given.conf <= 1,
        f"--iou {given.iou}: must be from 0 to 1": 0 <= given.iou <= 1,
        f"--img {given.img}: must be a multiple of {GRID} from {GRID} to {MAX_IMG}{_nearest(given.img)}": (
            GRID <= given.img <= MAX_IMG and given.img % GRID == 0
        ),
        f"--stride {given.stride}: must be at least 1": given.stride >= 1,
        f"--key-frames {given.key_frames}: must be from 0 to 1000": 0 <= given.key_frames <= 1000,
        f"--threads {threads}: must be at least 1": threads >= 1,
        f"--max-det {given.max_det}: must be at least 1": given.max_det >= 1,
        f"--input {given.input}: there is no such folder": os.path.isdir(given.input),  # noqa: PTH112
    }
    faults += [text for text, good in checks.items() if not good]
    if faults:
        raise DetectorError("; ".join(faults), Exit.USAGE)
    policy = read_policy(given.input)
    allowed = policy.key_frames_of(given.key_frames)
    if allowed < given.key_frames:
        say(f"this node's privacy policy keeps pictures to {allowed} a video")
    privacy = policy.privacy_of(given.privacy)
    if privacy != given.privacy:
        say(f"this node's privacy policy covers {privacy}")
    no_clips = "the run asked for none" if given.clips == "off" else policy.no_clips()
    return Settings(
        input=given.input,
        state=given.state,
        run=given.run,
        weights=given.weights,
        weights_name=given.weights_name,
        weights_sha256=sha256,
        conf=given.conf,
        iou=given.iou,
        classes=tuple(ids) if given.classes is not None else None,
        img=given.img,
        stride=given.stride,
        key_frames=allowed,
        threads=threads,
        max_det=given.max_det,
        privacy=privacy,
        clips=no_clips,
        precision=given.precision,
        reuse=given.reuse == "on",
        wanted=wanted,
    )


def _wanted(since: str | None, cameras: str | None) -> tuple[Wanted, list[str]]:
    """Which footage is asked for, and what is wrong with the asking."""
    moment, faults = None, []
    if since is not None:
        try:
            moment = datetime.fromisoformat(since)
        except ValueError:
            faults.append(f"--since {since!r}: a time such as 2026-11-30T08:00:00Z")
        else:
            moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    names = None if cameras is None else tuple(name.strip() for name in cameras.split(","))
    if names is not None and not all(CAMERA.fullmatch(name) for name in names):
        faults.append(f"--cameras {cameras!r}: names of cameras, or folders, with commas between")
    return Wanted(moment, names), faults


def _nearest(img: int) -> str:
    if not GRID <= img <= MAX_IMG:
        return ""
    below = img // GRID * GRID
    return f", e.g. {below} or {below + GRID}"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the program and return its exit code."""
    stop = Stop()
    stop.install()
    try:
        settings = parse_settings(arguments)
        # Late: until here a wrong argument is reported at once.
        from shoal_detect.run import run  # noqa: PLC0415

        return run(settings, stop)
    except DetectorError as error:
        report_error(error.message, error.exit_code)
        return error.exit_code
    except Interrupted as interrupted:
        say(f"interrupted by signal {interrupted.signal_number}; start it again to go on")
        return interrupted.exit_code
