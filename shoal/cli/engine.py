"""`shoal engine`: the way to the engine itself, for its own command line."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
from pathlib import Path
from typing import Annotated

import typer

from shoal.cli.options import ClusterPath, cluster_of
from shoal.engines.bacalhau import connect, release, tunnel
from shoal.errors import Exit, ShoalError, UsageError

app = typer.Typer(add_completion=False, help="The way to the engine itself.", no_args_is_help=True)


@app.callback()
def _engine() -> None:
    """The way to the engine itself, for its own command line."""


@app.command("tunnel", context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False})
def tunnel_(
    command: Annotated[list[str], typer.Argument(metavar="-- COMMAND...", help="What to run, after --.")],
    cluster: ClusterPath = None,
    read_only: Annotated[bool, typer.Option("--read-only", help="With a key that can only look.")] = False,
) -> None:
    """Run a command that reaches the engine's API through SSH, with a key in its environment.

    BACALHAU_API_HOST, BACALHAU_API_PORT and BACALHAU_API_KEY are set for it. The key hands in and stops jobs and reads;
    it approves and removes no node. `bacalhau` is the artefact cache's where PATH has none. Ends with the command's own
    exit code.

    Examples:

        shoal engine tunnel -- bacalhau job list

        shoal engine tunnel -- bacalhau job run job.yaml
    """
    words = [word for index, word in enumerate(command) if index or word != "--"]
    if not words:
        raise UsageError("name the command to run, after --", hint="shoal engine tunnel -- bacalhau job list")
    document = cluster_of(cluster, claim=False)
    tokens = connect.tokens_of(document)
    key = tokens.reader_key if read_only else tokens.client_key
    with tunnel.on_loopback(document) as port, tempfile.TemporaryDirectory(prefix="shoal-engine-") as folder:
        environment = {
            # Its own notes (a client's id, defaults of other clusters) are neither read nor left in the home folder.
            "BACALHAU_DIR": f"{folder}/home",
            **os.environ,
            "PATH": _with_engines_program(Path(folder)),
            "BACALHAU_API_HOST": "127.0.0.1",
            "BACALHAU_API_PORT": str(port),
            "BACALHAU_API_KEY": key.get_secret_value(),
            # Nothing is reported to anybody, and no newer release is asked for.
            "BACALHAU_DISABLEANALYTICS": "true",
            "BACALHAU_UPDATECONFIG_INTERVAL": "0s",
        }
        code = _run(words, environment)
    raise typer.Exit(code)


def _run(words: list[str], environment: dict[str, str]) -> int:
    """The command's exit code; Ctrl-C is the command's to act on, and it is waited for."""
    program = shutil.which(words[0], path=environment["PATH"])
    if program is None:
        raise ShoalError(
            f"there is no program {words[0]!r}",
            hint="`shoal artifacts add bacalhau PATH` takes the engine's into the cache"
            if words[0] == "bacalhau"
            else None,
            exit_code=Exit.MISSING,
        )
    process = subprocess.Popen([program, *words[1:]], env=environment)
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        code = process.wait()
    finally:
        signal.signal(signal.SIGINT, before)
    return 128 - code if code < 0 else code


def _with_engines_program(folder: Path) -> str:
    """PATH, at its end `folder`, with the cache's `bacalhau` for this machine in it where there is one."""
    path = os.environ.get("PATH", os.defpath)
    if cached := release.cached(release.this_machine()):
        (folder / "bacalhau").symlink_to(cached.path)
        path = f"{path}{os.pathsep}{folder}"
    return path
