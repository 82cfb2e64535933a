"""A long script of this role whose progress is shown while it runs: follow.sh reads its logs."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING

from pyinfra.api.command import StringCommand

from shoal.paths import NODE_STATE

if TYPE_CHECKING:
    from pyinfra.api.arguments import ConnectorArguments
    from pyinfra.api.host import Host
    from pyinfra.api.state import State
    from pyinfra.connectors.util import CommandOutput

BUILD = str(NODE_STATE / "build")
"""Where builds keep their logs."""
_FOLLOW = (Path(__file__).parent / "files" / "follow.sh").read_text(encoding="utf-8")


class FollowedCommand(StringCommand):
    """A command whose output is shown as it comes; `shoal.deploys.log` reports the lines `progress: ...`."""

    def execute(self, state: State, host: Host, connector_arguments: ConnectorArguments) -> tuple[bool, CommandOutput]:
        """As pyinfra's own, but never silent."""
        connector_arguments.update(self.connector_arguments)
        return host.run_shell_command(self, print_output=True, print_input=state.print_input, **connector_arguments)


def followed(script: str, folder: str = BUILD) -> FollowedCommand:
    """`script` with its progress, and with its exit code. It runs in a shell of its own, so that its traps are its."""
    lines = [
        f"FOLDER={shlex.quote(folder)}",
        _FOLLOW,
        "(",
        script,
        ")",
        "code=$?",
        # Gone before the end: nothing of it may come in between what follows.
        'kill "$follower" 2>/dev/null; wait "$follower" 2>/dev/null',
        "exit $code",
    ]
    return FollowedCommand("\n".join(lines))
