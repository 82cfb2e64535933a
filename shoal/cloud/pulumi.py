"""Drives the Pulumi CLI: finds it, gives it a local backend and a passphrase of its own, and reads what it says."""

from __future__ import annotations

import importlib.util
import io
import os
import secrets
import shutil
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, cast

import yaml
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from shoal.cluster import document as clusters
from shoal.cluster.document import Cluster
from shoal.errors import Exit, ShoalError, UsageError
from shoal.files import private_folder, write_atomic
from shoal.paths import repository, state_dir
from shoal.telling import to_stderr
from shoal.untrusted import Bounds, DamagedDocumentError, json_value

Kind = Literal["gcp", "edge"]
BOUNDS = Bounds(size_bytes=64 << 20, marks=4_000_000, depth=64, text_chars=16 << 20, digits=20)
"""Of what Pulumi answers: whoever may write to the stack's backend wrote it, and a large stack has thousands of
resources."""
PASSPHRASE_BYTES = 32
LONG_LINE = 1 << 16
"""No line of the settings is broken that the person did not break."""
KEPT_LINES = 400
UP = ("up", "--yes", "--refresh", "--skip-preview", "--continue-on-error")
"""How a stack is made or changed: what fails stops nothing else. The plan has been looked at before."""
DESTROY = ("destroy", "--yes", "--skip-preview", "--continue-on-error")
"""How a stack is taken down: what refuses to go stops nothing else."""
TIMEOUT_S = 3600.0
"""A cloud that has not answered after an hour will not."""


@dataclass(frozen=True, slots=True)
class Stack:
    """One stack of one of the two programs."""

    kind: Kind
    name: str
    folder: Path
    """Where its Pulumi.yaml lies, and its settings beside it."""
    program: str
    """The `pulumi` that drives it."""

    @property
    def project(self) -> str:
        """The program's name in Pulumi's eyes."""
        return f"shoal-{self.kind}"

    @property
    def settings_file(self) -> Path:
        """The stack's settings."""
        return self.folder / f"Pulumi.{self.name}.yaml"


def stacks_dir() -> Path:
    """Folder of the two programs. `SHOAL_STACKS` overrides."""
    return Path(os.environ.get("SHOAL_STACKS") or repository() / "stacks").expanduser().resolve()


def find(kind: Kind, name: str | None = None) -> Stack:
    """The stack `name` (its kind's where left out). Raises ShoalError where pulumi is not there."""
    program = shutil.which("pulumi")
    if program is None:
        raise ShoalError(
            "Pulumi is needed, and there is no `pulumi` on this machine",
            hint="install it: https://www.pulumi.com/docs/install/ (no account is needed)",
            exit_code=Exit.MISSING,
        )
    return Stack(kind, name or kind, stacks_dir() / kind, program)


def environment() -> dict[str, str]:
    """What Pulumi runs with. What the user has set (backend, passphrase) is kept; else everything stays local."""
    values = {"PULUMI_SKIP_UPDATE_CHECK": "1", **os.environ}
    if "PULUMI_BACKEND_URL" not in values:
        backend = state_dir() / "pulumi"
        private_folder(backend)
        values["PULUMI_BACKEND_URL"] = backend.as_uri()
    if "PULUMI_CONFIG_PASSPHRASE" not in values and "PULUMI_CONFIG_PASSPHRASE_FILE" not in values:
        values["PULUMI_CONFIG_PASSPHRASE_FILE"] = str(passphrase_file())
    # The language host takes the first python3 that it finds.
    values["PATH"] = f"{_python_home() / 'bin'}{os.pathsep}{values.get('PATH', '')}"
    return values


def passphrase_file() -> Path:
    """The file that holds the passphrase of the local backend's secrets; made at first use, for this user alone."""
    path = state_dir() / "pulumi-passphrase"
    if not path.exists():
        write_atomic(path, secrets.token_urlsafe(PASSPHRASE_BYTES), mode=0o600)
    return path


def call(
    stack: Stack, *arguments: str, stdin: str | None = None, check: bool = True
) -> subprocess.CompletedProcess[str]:
    """Run pulumi and keep what it says. Raises ShoalError with its last words where it fails and `check` is set."""
    done = subprocess.run(
        [stack.program, *arguments, "--non-interactive", "--color", "never"],
        cwd=_folder(stack),
        env=environment(),
        input=stdin or "",
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )
    if check and done.returncode != 0:
        raise failure(arguments[0], done.returncode, done.stderr or done.stdout)
    return done


@dataclass(frozen=True, slots=True)
class Shown:
    """How a pulumi ended whose lines went to the terminal, and these lines."""

    code: int
    lines: tuple[str, ...]


def show(stack: Stack, *arguments: str) -> Shown:
    """Run pulumi with its progress on this command's stderr, to its end, however it ends. Raises ShoalError when it
    has not ended after an hour.
    """
    lines = deque[str](maxlen=KEPT_LINES)
    with subprocess.Popen(
        [
            stack.program,
            *arguments,
            "--non-interactive",
            "--color",
            "never",
            "--suppress-outputs",
            "--suppress-progress",
        ],
        cwd=_folder(stack),
        env=environment(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
    ) as process:
        late = threading.Timer(TIMEOUT_S, process.kill)
        late.start()
        try:
            for line in process.stdout or ():
                to_stderr(line.rstrip("\n"))
                lines.append(line.rstrip("\n"))
            code = process.wait()
        finally:
            overdue = not late.is_alive()
            late.cancel()
    if overdue and code != 0:
        raise ShoalError(f"`pulumi {arguments[0]}` had not ended after {TIMEOUT_S / 3600:.0f} h and was killed")
    return Shown(code, tuple(lines))


def plan(stack: Stack) -> tuple[int, dict[str, Any]]:
    """What `pulumi up` would do now, seen against the cloud as it is, and pulumi's exit code. Changes nothing.

    Raises ShoalError where no plan came.
    """
    done = call(stack, *selected(stack, ["preview", "--refresh", "--json"]), check=False)
    try:
        found = json_value(done.stdout, source="the preview", bounds=BOUNDS)
    except DamagedDocumentError:
        raise failure("preview", done.returncode, done.stderr or done.stdout) from None
    return done.returncode, cast("dict[str, Any]", found)


def plan_failure(code: int, planned: Mapping[str, Any]) -> ShoalError:
    """The error for a plan that could not be made: the program's own words."""
    said = "\n".join(
        str(entry.get("message", ""))
        for entry in planned.get("diagnostics", [])
        if entry.get("severity") not in ("info", "warning")
    )
    return failure("preview", code, said)


def remarks(planned: Mapping[str, Any]) -> list[str]:
    """What the program says by the way: the cost, and what it advises against."""
    return [
        line
        for entry in planned.get("diagnostics", [])
        if entry.get("severity") in ("info", "warning")
        for line in str(entry.get("message", "")).splitlines()
        if line.strip()
    ]


def failure(verb: str, code: int, said: str) -> ShoalError:
    """The error for a pulumi that ended with `code`."""
    last = [line for line in said.splitlines() if line.strip()][-12:]
    text = "".join(f"\n    {line}" for line in last)
    return ShoalError(
        f"`pulumi {verb}` ended with exit code {code}{':' if last else '; its own lines above say why'}{text}",
        hint="mend what is named and type the command again: what was made is not made twice",
    )


def exists(stack: Stack) -> bool:
    """Whether the backend knows the stack."""
    listed = json_value(call(stack, "stack", "ls", "--json").stdout or "[]", source="the list of stacks", bounds=BOUNDS)
    return any(entry["name"].rpartition("/")[2] == stack.name for entry in listed)


def ensure(stack: Stack) -> None:
    """Make the stack where the backend does not know it."""
    if not exists(stack):
        call(stack, "stack", "init", stack.name)


def settings(stack: Stack) -> dict[str, Any]:
    """What is set for the stack, by full key (`shoal-gcp:zones`). Raises UsageError where the file is no YAML."""
    try:
        content = yaml.safe_load(stack.settings_file.read_text(encoding="utf-8")) or {}
    except FileNotFoundError:
        return {}
    except yaml.YAMLError as error:
        raise UsageError(f"{stack.settings_file} is not YAML: {error}") from None
    return dict(content.get("config") or {})


def change_settings(stack: Stack, changes: Mapping[str, Any]) -> None:
    """Set these full keys; the rest of the file stays, the person's comments and order too.

    A value may be a list or a table. Raises UsageError where the file is no YAML, or would not say what it is to say.
    """
    try:
        text = stack.settings_file.read_text(encoding="utf-8")
    except FileNotFoundError:
        text = ""
    editor = YAML()
    editor.preserve_quotes = True
    editor.width = LONG_LINE
    # As Pulumi writes it: entries of lists are not moved.
    editor.indent(mapping=2, sequence=4, offset=2)
    try:
        content = editor.load(text) or {}
    except YAMLError as error:
        raise UsageError(f"{stack.settings_file} is not YAML: {error}") from None
    before = yaml.safe_load(text) or {}
    wanted = {**before, "config": {**(before.get("config") or {}), **changes}}
    if content.get("config") is None:
        content["config"] = {}
    for key, value in changes.items():
        content["config"][key] = value
    written = io.StringIO()
    editor.dump(content, written)
    if yaml.safe_load(written.getvalue()) != wanted:
        raise UsageError(
            f"{stack.settings_file} is written in a way that shoal does not edit; it was left as it is",
            hint=f"set these yourself: {', '.join(sorted(changes))}",
        )
    write_atomic(stack.settings_file, written.getvalue())


def outputs(stack: Stack, *, secret: bool = False) -> dict[str, Any]:
    """The stack's outputs; secrets in clear only where asked for."""
    done = call(stack, "stack", "output", "--json", "--stack", stack.name, *(["--show-secrets"] if secret else []))
    return cast("dict[str, Any]", json_value(done.stdout or "{}", source="the stack's outputs", bounds=BOUNDS))


def state(stack: Stack) -> dict[str, Any]:
    """The stack's state as Pulumi exports it, secrets encrypted."""
    exported = call(stack, "stack", "export", "--stack", stack.name).stdout
    return cast("dict[str, Any]", json_value(exported, source="the stack's state", bounds=BOUNDS))


def selected(stack: Stack, arguments: Sequence[str]) -> list[str]:
    """`arguments` with the stack named."""
    return [*arguments, "--stack", stack.name]


def _folder(stack: Stack) -> Path:
    if not (stack.folder / "Pulumi.yaml").is_file():
        raise UsageError(
            f"there is no Pulumi project in {stack.folder}", hint="run it from the checkout, or set SHOAL_STACKS"
        )
    return stack.folder


def _python_home() -> Path:
    """The environment that has Pulumi's SDK: this one, else the one that `./just up` makes."""
    if importlib.util.find_spec("pulumi") is not None:
        return Path(sys.prefix)
    beside = repository() / ".venv-stacks"
    if (beside / "bin" / "python3").exists():
        return beside
    raise ShoalError(
        "the environment of the stacks is not there",
        hint="make it with `SHOAL_ENVIRONMENT=stacks ./just --version`, or use `./just up gcp`, which does",
        exit_code=Exit.MISSING,
    )


def document(stack: Stack) -> Cluster:
    """The cluster document that the stack exports. Raises UsageError where it exports none."""
    exported = outputs(stack).get("cluster")
    if exported is None:
        raise UsageError(f"stack {stack.name!r} has no cluster", hint=f"make it with `shoal up {stack.kind}`")
    return clusters.parse(exported, source=f"the output of stack {stack.name}")
