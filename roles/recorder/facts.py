"""Facts of role `recorder`."""

from __future__ import annotations

import shlex

from roles.common.facts import NodeFact, PathList


class Foreign(PathList):
    """Which of the cameras' folders hold something and were not made by a recorder."""

    def command(self, folder: str, cameras: tuple[str, ...]) -> str:
        """One look at each."""
        paths = shlex.join(f"{folder}/{name}" for name in cameras)
        return (
            f'for p in {paths}; do [ ! -d "$p" ] || [ -d "$p/.recording" ] || [ -z "$(ls -A "$p")" ] || echo "$p"; done'
        )


class CameraFolders(NodeFact[dict[str, str]]):
    """`user mode` of each of the paths that is there."""

    def command(self, paths: tuple[str, ...]) -> str:
        """One `stat` for all."""
        return f"stat -c '%U %a %n' {shlex.join(paths)} 2>/dev/null || true"

    @staticmethod
    def default() -> dict[str, str]:
        """None is there."""
        return {}

    def read(self, output: list[str]) -> dict[str, str]:
        """Lines `user mode path`."""
        rows = (line.split(" ", 2) for line in output)
        return {path: f"{user} {mode}" for user, mode, path in rows}


class Names(NodeFact[list[str]]):
    """Names in a folder, which the command of a derived fact prints, one a line."""

    @staticmethod
    def default() -> list[str]:
        """None."""
        return []

    def read(self, output: list[str]) -> list[str]:
        """Raises ValueError for what is no name of one thing in a folder: it is to be stopped or given away by it."""
        if others := [line for line in output if "/" in line or line in {"", ".", ".."}]:
            raise ValueError(f"no name: {others[0]}")
        return output


class Configured(Names):
    """The cameras that have settings on the machine."""

    def command(self, folder: str) -> str:
        """The folder's names."""
        return f"ls {shlex.quote(folder)} 2>/dev/null || true"

    def read(self, output: list[str]) -> list[str]:
        """`CAMERA.json` each, beside secrets."""
        return [line.removesuffix(".json") for line in super().read(output) if line.endswith(".json")]


class FilmOf(Names):
    """What directly in the folder belongs to the user."""

    def command(self, folder: str, user: str) -> str:
        """Its names."""
        return f"find {shlex.quote(folder)} -mindepth 1 -maxdepth 1 -user {user} -printf '%f\\n' 2>/dev/null || true"
