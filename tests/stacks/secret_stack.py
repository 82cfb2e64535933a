"""A real stack with one secret output, for tests of what reads it: `python -m tests.stacks.secret_stack FOLDER`.

The secret comes on standard input. Tells as JSON the command that a person gives as `tailscale_authkey_command`, and
the environment it needs. A process of its own: gevent, which pyinfra brings, would hang Pulumi.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import pulumi

from tests.stacks.engine import Engine
from tests.stacks.pulumi_cli import NoEngineError, pulumi_root

PROJECT = "keys"
NO_ENGINE = 77


def program() -> None:
    """What a person writes to keep a key in a stack."""
    pulumi.export("authkey", pulumi.Config(PROJECT).require_secret("authkey"))


def main(folder: Path, secret: str) -> None:
    """Make the stack and tell how it is asked."""
    try:
        engine = Engine.at(folder, pulumi_root())
    except NoEngineError as missing:
        sys.stderr.write(f"{missing}\n")
        raise SystemExit(NO_ENGINE) from None
    engine.stack(PROJECT, program, {"authkey": secret}, secrets=("authkey",)).up()
    if traces := engine.traces(secret):
        raise SystemExit(f"the backend holds it in clear: {traces}")
    command = [str(engine.install / "bin" / "pulumi"), "stack", "output", "authkey", "--show-secrets"]
    command += ["--stack", "test", "--cwd", str(engine.root / "work")]
    path = f"{engine.install / 'bin'}{os.pathsep}{os.environ['PATH']}"
    json.dump({"command": command, "environment": {**engine.env, "PATH": path}}, sys.stdout)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.stdin.read().strip())
