"""Runs on a node: reads a configuration file back with the engine's own `config list` and prints what differs.

The engine ignores a key that it does not know without a word. Values that are secret are never printed.
Needs Python 3.8 and nothing else: it is sent to machines as it is.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

SECRET = ("token", "key", "password", "api.auth")


def plain(value: Any) -> Any:
    """`value` as it compares: the engine lower-cases keys and may give numbers as text."""
    if isinstance(value, dict):
        return {str(key).lower(): plain(one) for key, one in value.items()}
    if isinstance(value, list):
        return [plain(one) for one in value]
    return value if isinstance(value, bool) else str(value)


def compare(path: str, wanted: Any, known: dict[str, Any]) -> Iterator[str]:
    """A line for each setting that the engine does not read as `wanted`."""
    if path in known:
        if plain(wanted) != plain(known[path]):
            hidden = any(word in path.lower() for word in SECRET)
            shown = "something else" if hidden else f"{json.dumps(known[path])}, wanted {json.dumps(wanted)}"
            yield f"{path}: the engine reads {shown}"
    elif isinstance(wanted, dict):
        for key, value in wanted.items():
            yield from compare(f"{path}.{key}" if path else key, value, known)
    else:
        yield f"{path}: the engine knows no such key"


def faults(program: Path, config: Path) -> Iterator[str]:
    """What the engine makes of `config`, against what stands in it; nothing while either file is missing."""
    if not (program.exists() and config.exists()):
        return
    text = config.read_text(encoding="utf-8")
    wanted = json.loads("".join(line for line in text.splitlines(True) if not line.startswith("#")))
    with tempfile.TemporaryDirectory() as folder:
        done = subprocess.run(
            [str(program), "config", "list", "--config", str(config), "--output", "json"],
            env={"BACALHAU_DIR": folder, "HOME": folder, "PATH": os.defpath},
            capture_output=True,
            timeout=60,
            check=False,
        )
    if done.returncode != 0:
        yield f"it is not read at all: {done.stderr.decode(errors='replace').strip()[-300:]}"
        return
    known = {entry["Key"]: entry["Value"] for entry in json.loads(done.stdout)}
    yield from compare("", wanted, known)


if __name__ == "__main__":
    sys.stdout.writelines(f"{fault}\n" for fault in faults(Path(sys.argv[1]), Path(sys.argv[2])))
