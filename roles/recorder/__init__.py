"""Role `recorder`: the machine's cameras, recorded all the time, each by a systemd unit with Debian's ffmpeg.

The node's own systemd keeps them: they need no control machine, no requester and no internet, also after a boot.
"""

from __future__ import annotations

import json
from pathlib import Path

from pyinfra.api.deploy import deploy
from pyinfra.api.host import Host
from pyinfra.context import host

from roles.common import knobs
from roles.common.accounts import system_user, system_user_absent
from roles.common.facts import Existing
from roles.common.operations import (
    absent,
    empty_folders_absent,
    folders,
    packages,
    packages_refused,
    recorded_files_absent,
    recorded_packages_absent,
    service,
    text_file,
)
from roles.common.programs import archive, file_of
from roles.recorder import secret
from roles.recorder.defaults import Recorder
from roles.recorder.facts import Foreign
from roles.recorder.operations import CONFIG_FOLDER, USER, film_given_back, footage, others_absent
from shoal.cluster.document import Camera
from shoal.errors import Fault
from shoal.paths import NODE_PROGRAMS, NODE_STATE, NODE_VIDEOS

FILES = Path(__file__).parent / "files"
PROGRAM = str(NODE_PROGRAMS / "recorder.pyz")
STATE = str(NODE_STATE / "recorder")
UNIT_FILE = "/etc/systemd/system/shoal-recorder@.service"
PACKAGES = ["ffmpeg", "python3"]
SEEN_AT = "/run/shoal-footage"
"""Where a recorder's unit shows its camera's folder; it sees nothing else of the footage."""


def settings_text(recorder: Recorder, camera: Camera) -> str:
    """The settings of one camera's recorder, without a secret."""
    document = {
        "version": 1,
        "camera": camera.name,
        "source": camera.source,
        "footage": SEEN_AT,
        "state": STATE,
        "segment_s": recorder.recorder_segment_s,
        "silence_s": recorder.recorder_silence_s,
        "keep_days": camera.keep_days,
        "keep_days_with_events": camera.keep_days_with_events,
        "disk_floor_bytes": recorder.recorder_disk_floor_bytes,
    }
    return json.dumps(document, indent=2) + "\n"


def unit_text(recorder: Recorder) -> str:
    """The unit of every camera of the machine."""
    text = (FILES / "shoal-recorder@.service").read_text(encoding="utf-8")
    return text.replace("@FOOTAGE@", recorder.recorder_footage).replace("@VIDEOS@", str(NODE_VIDEOS))


def machine_faults(target: Host) -> list[Fault]:
    """Secrets that are missing here and packages that cannot be installed there; before the first change."""
    recorder = knobs.read(Recorder, target)
    if not recorder.recorder_cameras:
        return []
    cluster = knobs.cluster_of(target).name
    found = [Fault(f"{target.name}: recorder", text) for text in packages_refused(target, PACKAGES)]
    names = tuple(camera.name for camera in recorder.recorder_cameras)
    found += [
        Fault(f"{target.name}: recorder", f"{path} holds files that no recorder made: give the camera another name")
        for path in target.get_fact(Foreign, folder=recorder.recorder_footage, cameras=names)
    ]
    for camera in recorder.recorder_cameras:
        if camera.secret is not None:
            try:
                secret.find(cluster, camera.secret)
            except secret.SecretFaultError as error:
                found.append(Fault(f"{target.name}: camera {camera.name}", str(error)))
    return found


def is_there() -> bool:
    """Whether the role was installed on this machine."""
    return bool(host.get_fact(Existing, paths=(PROGRAM,)))


@deploy("recorder")
def install() -> None:
    """ffmpeg, the program and its user, then one unit for each camera; those no longer listed are stopped."""
    recorder = knobs.read(Recorder, host)
    names = [camera.name for camera in recorder.recorder_cameras]
    if not names:
        if is_there():
            _removed(recorder)
        return
    packages(name="Install ffmpeg", names=PACKAGES, role="recorder", _timeout=recorder.recorder_apt_timeout_s)
    system_user(name="Make the recorder's user", user=USER, role="recorder")
    folders(
        name="Make its folders",
        paths={STATE: ("750", f"{USER}:{USER}"), CONFIG_FOLDER: ("755", "root:root")},
        role="recorder",
        trees=(STATE,),
    )
    footage(name="Make a folder for each camera", folder=recorder.recorder_footage, cameras=names)
    file_of(name="Place the program", path=PROGRAM, content=archive("recorder"), role="recorder")
    text_file(name="Describe it to systemd", path=UNIT_FILE, content=unit_text(recorder), role="recorder")
    others_absent(name="Stop recorders of cameras that are no longer listed", cameras=names)
    cluster = knobs.cluster_of(host).name
    for camera in recorder.recorder_cameras:
        settings, credential = f"{CONFIG_FOLDER}/{camera.name}.json", f"{CONFIG_FOLDER}/{camera.name}.secret"
        text_file(
            name=f"Write the settings of camera {camera.name}",
            path=settings,
            content=settings_text(recorder, camera),
            role="recorder",
        )
        signed = secret.find(cluster, camera.secret) + "\n" if camera.secret else ""
        file_of(
            name=f"Place the secret of camera {camera.name}",
            path=credential,
            content=signed.encode(),
            role="recorder",
            owner=USER,
            mode="600",
        )
        service(
            name=f"Record camera {camera.name}",
            unit=f"shoal-recorder@{camera.name}.service",
            config_files=[settings, credential, UNIT_FILE, PROGRAM],
            _timeout=60,
        )


@deploy("recorder")
def remove() -> None:
    """Take away what `install` put. Film stays."""
    _removed(knobs.read(Recorder, host))


def _removed(recorder: Recorder) -> None:
    others_absent(name="Stop the recorders", cameras=())
    recorded_files_absent(name="Remove their settings", role="recorder")
    absent(name="Remove the program and what it remembers", paths=[PROGRAM, STATE])
    film_given_back(name="Leave the film", folder=recorder.recorder_footage)
    recorded_packages_absent(
        name="Remove ffmpeg", role="recorder", keep_needed=True, _timeout=recorder.recorder_apt_timeout_s
    )
    system_user_absent(name="Remove the recorder's user", user=USER, role="recorder")
    empty_folders_absent(name="Remove empty folders", paths=[CONFIG_FOLDER, "/etc/shoal", str(NODE_PROGRAMS)])
