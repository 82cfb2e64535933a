"""Stands in for the detector in its container: the same run folder, lock, lines and exit codes, without any inference.

A video's content says how it goes: `slow` takes half a second, `wait` waits for the file <video>.go, `faulty` is a
faulty video, `oom`, `oom-unseen` (the flag comes too late), `docker-kill`, `kill`, `exit N` end the process so,
once: the file is then replaced by `ok`.
"""

import fcntl
import hashlib
import json
import os
import signal
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

folder, mounts = Path(sys.argv[1]), json.loads(sys.argv[2])
words = sys.argv[3:]
flags = dict(zip(words[::2], words[1::2], strict=True))
videos, state = Path(mounts["/videos"]), Path(mounts["/state"])
EVENTS = {"oom-unseen": "oom", "docker-kill": "kill 9"}
log = (folder / "log").open("a", buffering=1)


def report(event, **fields):
    stamp = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.") + f"{time.time_ns() % 10**9:09d}Z"
    log.write(f"{stamp} {json.dumps({'shoal_detect': 1, 'event': event, **fields})}\n")


def leave(code):
    (folder / "exit.part").write_text(str(code))
    (folder / "exit.part").rename(folder / "exit")
    os._exit(0)


def once(video, code, *, oom=False):
    video.write_text("ok")
    if oom:
        (folder / "oom").touch()
    leave(code)


def take(lock):
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        report("waiting", text="waiting for another instance that holds the lock")
        fcntl.flock(lock, fcntl.LOCK_EX)


def report_end(video_of, *, faulty):
    if faulty:
        report("video_fault", **video_of, kind="truncated", message="cut off", frames=1, detections=1)
    else:
        report("video_done", **video_of, frames=2, detections=2, decode_errors=0)


def main():
    signal.signal(signal.SIGTERM, lambda *_: leave(143))
    lock = (state / "lock").open("a")
    take(lock)
    if (state / "manifest.json").exists():
        leave(json.loads((state / "manifest.json").read_text())["exit_code"])
    found = sorted(path for path in videos.rglob("*") if path.is_file() and path.suffix != ".go")
    if not found:
        leave(4)
    done = {path.name for path in (state / "videos").glob("*")} if (state / "videos").exists() else set()
    sizes = {"size_bytes": 100 * len(found), "done_size_bytes": 100 * len(done)}
    report("run", run=flags["--run"], videos=len(found), videos_done=len(done), **sizes)
    code = 0
    for number, video in enumerate(found, start=1):
        name = str(video.relative_to(videos))
        key = "v-" + hashlib.sha256(name.encode()).hexdigest()[:8]
        how = video.read_text().split()
        video_of = {"number": number, "videos": len(found), "video": name, "size_bytes": 100}
        if how[0] == "faulty":
            code = 3
        if key in done:
            continue
        report("frames", **video_of, frame=1, frames=2, frames_per_s=10.0, detections=1)
        if how[0] == "slow":
            time.sleep(0.5)
        while how[0] == "wait" and not video.with_suffix(".go").exists():
            time.sleep(0.02)
        if how[0] == "oom":
            once(video, 137, oom=True)
        if how[0] in EVENTS:
            (folder / "events").write_text(EVENTS[how[0]])
            once(video, 137)
        if how[0] == "kill":
            once(video, 137)
        if how[0] == "exit":
            once(video, int(how[1]))
        out = state / "videos" / key
        out.mkdir(parents=True)
        (out / "detections.jsonl").write_text(json.dumps({"video": name, "pid": 0}) + "\n")
        (out / "a 'quoted' \"näme\"\n.txt").write_text(name)
        report_end(video_of, faulty=how[0] == "faulty")
    files = [
        {
            "path": path.relative_to(state).as_posix(),
            "size_bytes": path.stat().st_size,
            "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
        }
        for path in sorted(state.rglob("*"))
        if path.is_file() and path.name != "lock"
    ]
    manifest = {"schema_version": 1, "run": flags["--run"], "finished_at": "2026-11-25T09:00:00+00:00"}
    (state / "manifest.json.part").write_text(json.dumps({**manifest, "exit_code": code, "files": files}))
    (state / "manifest.json.part").rename(state / "manifest.json")
    report("done", videos=len(found), faulty=int(code == 3), frames=2 * len(found), detections=2 * len(found))
    leave(code)


main()
