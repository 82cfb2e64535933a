"""Role `watch`: the machine's footage looked at as it comes, by the inference image under systemd.

The node's own systemd keeps it: it needs no engine's orchestrator, no control machine and no internet, also after a
boot. Events go where the outbox finds them.
"""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

from pyinfra.api.deploy import deploy
from pyinfra.context import host

from roles.common import knobs
from roles.common.facts import Existing
from roles.common.operations import (
    absent,
    empty_folders_absent,
    folders,
    recorded_files_absent,
    service,
    service_absent,
    text_file,
)
from roles.watch.defaults import Watch
from roles.watch.operations import state_absent
from shoal.paths import NODE_PROGRAMS, NODE_STATE, NODE_WATCH, NODE_WEIGHTS

FILES = Path(__file__).parent / "files"
CONFIG_FOLDER = "/etc/shoal/watch"
SETTINGS = f"{CONFIG_FOLDER}/settings.json"
STARTER = str(NODE_PROGRAMS / "watch.sh")
UNIT = "shoal-watch.service"
UNIT_FILE = f"/etc/systemd/system/{UNIT}"
IMAGE = str(NODE_STATE / "image.json")
"""Which image the last deploy placed; role `yolov5` writes it."""


def settings_text(watch: Watch) -> str:
    """The settings of the watch, as its container sees them."""
    document = {
        "version": 1,
        "cameras": [asdict(camera) for camera in watch.watch_cameras],
        "weights": "/weights.onnx",
        "weights_name": watch.watch_weights_name,
        "weights_sha256": watch.watch_weights_sha256,
        "conf": watch.watch_conf,
        "img": watch.watch_img,
        "stride": watch.watch_stride,
        "stride_most": watch.watch_stride_most,
        "reuse": watch.watch_reuse,
        "privacy": watch.watch_privacy,
        "behind_s": watch.watch_behind_s,
        "look_back_s": watch.watch_look_back_s,
        "keep_events_days": watch.watch_keep_events_days,
        "processes": watch.watch_processes,
    }
    return json.dumps(document, indent=2) + "\n"


def program_text(watch: Watch) -> str:
    """What the unit runs."""
    text = (FILES / "watch.sh").read_text(encoding="utf-8")
    for name, value in {
        "CPU_SHARES": str(watch.watch_cpu_shares),
        "MEMORY_BYTES": str(watch.watch_memory_bytes),
        "WEIGHTS": str(NODE_WEIGHTS / f"{watch.watch_weights_sha256}.onnx"),
        "STATE": str(NODE_WATCH),
    }.items():
        text = text.replace(f"@{name}@", value)
    return text


def is_there() -> bool:
    """Whether the role was installed on this machine."""
    return bool(host.get_fact(Existing, paths=(STARTER,)))


@deploy("watch")
def install() -> None:
    """Settings, a starter and a unit; without cameras to watch it is taken away."""
    watch = knobs.read(Watch, host)
    if not watch.watch_cameras:
        if is_there():
            _removed(force=False)
        return
    folders(
        name="Make the watch's folders",
        paths={str(NODE_WATCH): ("755", "root:root"), CONFIG_FOLDER: ("755", "root:root")},
    )
    text_file(name="Write the watch's settings", path=SETTINGS, content=settings_text(watch), role="watch")
    text_file(name="Place the watch's starter", path=STARTER, content=program_text(watch), role="watch")
    text_file(
        name="Describe the watch to systemd",
        path=UNIT_FILE,
        content=(FILES / UNIT).read_text(encoding="utf-8"),
        role="watch",
    )
    service(
        name="Watch the cameras",
        unit=UNIT,
        config_files=[SETTINGS, STARTER, UNIT_FILE, IMAGE, *watch.watch_reads],
        _timeout=120,
    )


@deploy("watch")
def remove(force: bool = False) -> None:
    """Take away what `install` put. Its ledger and events stay, unless `force` is set."""
    _removed(force)


def _removed(force: bool) -> None:
    service_absent(name="Stop the watch", unit=UNIT)
    recorded_files_absent(name="Remove the watch's settings", role="watch")
    absent(name="Remove the watch's starter", paths=[STARTER])
    state_absent(name="Remove the watch's events", folder=str(NODE_WATCH), force=force)
    empty_folders_absent(name="Remove empty folders", paths=[CONFIG_FOLDER, "/etc/shoal", str(NODE_PROGRAMS)])
