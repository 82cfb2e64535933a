"""Operations of role `recorder`."""

from __future__ import annotations

import shlex
from collections.abc import Sequence

from pyinfra.api.operation import operation
from pyinfra.context import host

from roles.common.facts import Lines, NodeFact
from roles.common.notes import left, will
from roles.common.operations import Commands

USER = "shoal-recorder"
CONFIG_FOLDER = "/etc/shoal/recorder"


class Foreign(NodeFact[list[str]]):
    """Which of the cameras' folders hold something and were not made by a recorder."""

    def command(self, folder: str, cameras: tuple[str, ...]) -> str:
        """One look at each."""
        paths = shlex.join(f"{folder}/{name}" for name in cameras)
        return (
            f'for p in {paths}; do [ ! -d "$p" ] || [ -d "$p/.recording" ] || [ -z "$(ls -A "$p")" ] || echo "$p"; done'
        )

    @staticmethod
    def default() -> list[str]:
        """None."""
        return []

    def read(self, output: list[str]) -> list[str]:
        """A folder a line. Raises ValueError for any other line."""
        if any(not line.startswith("/") for line in output):
            raise ValueError("not a path")
        return output


@operation()
def footage(folder: str, cameras: Sequence[str]) -> Commands:
    """A folder for each camera; one that holds somebody else's files was refused before (`Foreign`)."""
    paths = [f"{folder}/{name}" for name in cameras]
    script = f'for p in {shlex.join(paths)}; do stat -c \'%U %a %n\' "$p" 2>/dev/null || echo "missing $p"; done'
    lines: list[str] = host.get_fact(Lines, script=script)
    for line, path in zip(lines, paths, strict=True):
        if line != f"{USER} 750 {path}":
            quoted = shlex.quote(path)
            yield f"mkdir -p {quoted} && chown -R {USER}:{USER} {quoted} && chmod 750 {quoted}"


@operation()
def others_absent(cameras: Sequence[str]) -> Commands:
    """Cameras that are no longer listed: their recorders end, their settings go. Their film stays."""
    gone = [name for name in _configured() if name not in set(cameras)]
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
    script = f"find {shlex.quote(folder)} -mindepth 1 -maxdepth 1 -user {USER} -printf '%f\\n' 2>/dev/null || true"
    names = host.get_fact(Lines, script=script)
    for name in names:
        quoted = shlex.quote(f"{folder}/{name}")
        # `.recording` stays: it says that the film is a recorder's.
        yield f"chown -R root:root {quoted}"
    if names:
        left(f"{folder}: the film of {', '.join(names)} stays")


def _configured() -> list[str]:
    script = f"ls {shlex.quote(CONFIG_FOLDER)} 2>/dev/null || true"
    return [line.removesuffix(".json") for line in host.get_fact(Lines, script=script) if line.endswith(".json")]
