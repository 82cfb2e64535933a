"""Operations of role `recorder`."""

from __future__ import annotations

import shlex
from collections.abc import Sequence

from pyinfra.api.operation import operation
from pyinfra.context import host

from roles.common.notes import left, will
from roles.common.operations import Commands
from roles.recorder.facts import CameraFolders, Configured, FilmOf

USER = "shoal-recorder"
CONFIG_FOLDER = "/etc/shoal/recorder"


@operation()
def footage(folder: str, cameras: Sequence[str]) -> Commands:
    """A folder for each camera; one that holds somebody else's files was refused before (`Foreign`)."""
    paths = [f"{folder}/{name}" for name in cameras]
    there = host.get_fact(CameraFolders, paths=tuple(paths))
    for path in paths:
        if there.get(path) != f"{USER} 750":
            quoted = shlex.quote(path)
            yield f"mkdir -p {quoted} && chown -R {USER}:{USER} {quoted} && chmod 750 {quoted}"


@operation()
def others_absent(cameras: Sequence[str]) -> Commands:
    """Cameras that are no longer listed: their recorders end, their settings go. Their film stays."""
    gone = [name for name in host.get_fact(Configured, folder=CONFIG_FOLDER) if name not in set(cameras)]
    for name in gone:
        will(f"stop recording camera {name}; its film stays")
        unit = shlex.quote(f"shoal-recorder@{name}.service")
        folder = shlex.quote(CONFIG_FOLDER)
        yield (
            f"systemctl disable --quiet --now {unit}; "
            f"rm -f {folder}/{shlex.quote(name)}.json {folder}/{shlex.quote(name)}.secret"
        )


@operation()
def film_given_back(folder: str) -> Commands:
    """Film stays where it was recorded; it becomes root's, since its user goes."""
    names = host.get_fact(FilmOf, folder=folder, user=USER)
    for name in names:
        quoted = shlex.quote(f"{folder}/{name}")
        # `.recording` stays: it says that the film is a recorder's.
        yield f"chown -R root:root {quoted}"
    if names:
        left(f"{folder}: the film of {', '.join(names)} stays")
