"""Runs a deploy file with pyinfra in a process of its own: shows progress, reads the outcome, reports failures."""

from __future__ import annotations

import json
import os
import queue
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from shoal.cluster.reach import Reach
from shoal.deploys import handover, inventory, lock
from shoal.deploys.handover import Handover
from shoal.deploys.lock import Lock
from shoal.deploys.log import Log
from shoal.engines import choice as engines
from shoal.engines.choice import Choice
from shoal.errors import Exit, Fault, ShoalError, UsageError
from shoal.locks import locked
from shoal.paths import repository, state_dir
from shoal.telling import Say, quiet

DEFAULT_TIMEOUT_S = 3600.0
"""A site's first deploy over a slow line takes minutes; an hour without an end means that something hangs."""
STILL_AFTER_S = 10.0
"""An operation that takes longer is named again in this interval."""
LINE_BYTES = 64 << 10
"""A longer line of pyinfra's comes in pieces."""
END_TIMEOUT_S = 10.0
"""The time that pyinfra gets to end after a signal."""


@dataclass(frozen=True, slots=True)
class OperationResult:
    """What one operation did, by host."""

    name: str
    changed: tuple[str, ...]
    failed: tuple[str, ...]
    unchanged: tuple[str, ...]
    duration_s: float = 0.0
    conditional: tuple[str, ...] = ()
    """With `dry`: hosts (of `changed`) where only the run itself can tell whether it changes anything."""


@dataclass(frozen=True, slots=True)
class DeployResult:
    """The outcome of one deploy that reached its end on every host."""

    deploy: str
    hosts: tuple[str, ...]
    changed: int
    """Changes over all hosts; with `dry` the ones that would be made."""
    unchanged: int
    failed_hosts: tuple[str, ...]
    duration_s: float
    operations: tuple[OperationResult, ...] = field(default_factory=tuple)
    will: tuple[tuple[str, str], ...] = ()
    """Host and consequence: packages, restarts, files, as far as they are known before the first change."""
    left: tuple[tuple[str, str], ...] = ()
    """Host and what a teardown left on it, with the reason."""


def run_deploy(
    reach: Reach,
    deploy: str,
    *,
    limit: Sequence[str] = (),
    data: Mapping[str, Any] | None = None,
    engine: Choice | None = None,
    dry: bool = False,
    break_lock: bool = False,
    say: Say = quiet,
    timeout_s: float = DEFAULT_TIMEOUT_S,
) -> DeployResult:
    """Run `deploy/<deploy>.py` (or a deploy at a path) on a cluster.

    `data` overrides host data. `engine` is the one that was chosen for this command; without it, what the cache has is
    chosen here. The machines' deploy locks are held meanwhile, but for a `dry` run. Raises UsageError before anything
    is started (limit, no such deploy), and ShoalError where another deploy is at work on a machine, a host
    failed (every one with the operation and its last words), or the time was up.
    """
    names = inventory.refuse_empty(reach.now, reach.now.substrate, limit)
    file = deploy_file(deploy)
    command = command_line(reach.now.substrate, file, limit=limit, data=data or {}, dry=dry)
    choice = engine or engines.choose("auto", reach.now)
    log = Log(say)
    started = time.monotonic()
    deadline = started + timeout_s
    lost = threading.Event()
    what = f"deploy {file.stem!r} on {reach.now.name!r}"
    with (
        _alone(reach.now.name, say, deadline) as local_lock,
        nullcontext(Lock({}))
        if dry
        else lock.held(
            reach.now, sorted(names), what, break_lock=break_lock, say=say, on_loss=lambda _: lost.set()
        ) as held,
    ):
        handed = Handover(
            cluster=reach.now,
            overlay=reach.note,
            engine=engines.deploy_data(choice),
            unreached=dict(held.unreached),
            sudo_password=password.get_secret_value() if (password := reach.now.sudo_password) else None,
        )
        with handover.given(handed) as descriptor:
            environment = {
                **os.environ,
                handover.VARIABLE: str(descriptor),
                # For what a deploy runs on this machine; the process itself reads no document.
                "SHOAL_CLUSTER": str(reach.path.resolve()),
                "PYINFRA_PROGRESS": "off",
                "PYTHONUNBUFFERED": "1",
                "NO_COLOR": "1",
            }
            exit_code, output = _run(
                command, environment, log, inherit=(local_lock, descriptor), deadline=deadline, stop=lost
            )
    duration_s = time.monotonic() - started
    if held.lost:
        raise ShoalError(
            f"{what} was ended: its lock was broken",
            faults=tuple(Fault(host, who) for host, who in sorted(held.lost.items())),
            hint="see who is at work there; what was done is not done twice",
        )
    if exit_code is None:
        raise ShoalError(
            f"deploy {file.stem!r} was not done within {timeout_s:.0f} s; ended in {log.operation or 'its start'!r}",
            hint="type the command again: what is done is not done twice; see whether the machines are still reachable",
        )
    operations = read_operations(output, dry=dry, durations_s=log.durations_s)
    failed = failed_hosts(output) | set(log.errors)
    if exit_code != 0 or failed:
        raise failure(what, exit_code, log, failed, names)
    return DeployResult(
        deploy=file.stem,
        hosts=tuple(sorted(names)),
        changed=sum(len(operation.changed) for operation in operations),
        unchanged=sum(len(operation.unchanged) for operation in operations),
        failed_hosts=(),
        duration_s=duration_s,
        operations=operations,
        will=tuple(log.will),
        left=tuple(log.left),
    )


def deploy_file(deploy: str) -> Path:
    """The file of a deploy's name. Raises UsageError that lists those there are."""
    path = Path(deploy) if deploy.endswith(".py") else repository() / "deploy" / f"{deploy}.py"
    path = path if path.is_absolute() else repository() / path
    if not path.is_file():
        there = ", ".join(sorted(entry.stem for entry in (repository() / "deploy").glob("*.py")))
        raise UsageError(f"there is no deploy {deploy!r}", hint=f"there are {there}")
    return path


def command_line(substrate: str, file: Path, *, limit: Sequence[str], data: Mapping[str, Any], dry: bool) -> list[str]:
    """pyinfra's command line. Values are handed over as JSON: bare words would be guessed at (`1.10` is no number)."""
    command = [sys.executable, "-m", "shoal.deploys.process", f"inventories/{substrate}.py", str(file), "--json"]
    command.append("--dry" if dry else "-y")
    for pattern in limit:
        command += ["--limit", pattern]
    for key, value in data.items():
        command += ["--data", f"{key}={json.dumps(value)}"]
    return command


def read_operations(
    output: str, *, dry: bool, durations_s: Mapping[str, float] | None = None
) -> tuple[OperationResult, ...]:
    """The operations in pyinfra's JSON; none where there is none, as when every host failed."""
    document = _document(output)
    times = durations_s or {}
    if dry:
        return tuple(
            OperationResult(
                entry["name"],
                changed=tuple(sorted({*entry["hosts_with_change"], *entry["hosts_with_conditional_change"]})),
                failed=(),
                unchanged=(),
                conditional=tuple(sorted({*entry["hosts_with_conditional_change"]} - {*entry["hosts_with_change"]})),
            )
            for entry in document.get("plan") or []
        )
    results = document.get("results") or {}
    return tuple(
        OperationResult(
            entry["name"],
            changed=tuple(entry["success"]),
            failed=tuple(entry["error"]),
            unchanged=tuple(entry["no_change"]),
            duration_s=times.get(entry["name"], 0.0),
        )
        for entry in results.get("operations") or []
    )


def failed_hosts(output: str) -> set[str]:
    """The hosts that pyinfra's JSON names as failed."""
    return set((_document(output).get("results") or {}).get("failed_hosts") or [])


def failure(what: str, exit_code: int, log: Log, failed: set[str], names: set[str]) -> ShoalError:
    """The error for a deploy that did not end well."""
    if log.refusal and not failed:
        # By the deploy's own checks or its inventory, before the first change.
        return ShoalError(f"{what}: {log.refusal}", exit_code=Exit.USAGE)
    if not failed:
        return ShoalError(
            f"{what} ended with exit code {exit_code}; its last lines:\n"
            + "\n".join(f"    {line}" for line in log.tail)
        )
    return ShoalError(
        f"{what} failed on {'all hosts' if failed >= names else ', '.join(sorted(failed))}",
        faults=tuple(Fault(host, log.errors.get(host) or "failed; see the lines above") for host in sorted(failed)),
        hint="mend what is named and type the command again: what is done is not done twice",
    )


def lock_path(cluster: str) -> Path:
    """Held while a deploy of this cluster runs."""
    return state_dir() / "deploys" / f"{cluster}.lock"


@contextmanager
def _alone(cluster: str, say: Say, deadline: float) -> Iterator[int]:
    """One deploy at a time per cluster. Gives the lock's descriptor, which the deploy's process inherits: if this one
    is killed, the next command still waits until that one has ended."""
    left_s = max(deadline - time.monotonic(), 0.0)
    with locked(lock_path(cluster), what=f"a deploy of cluster {cluster!r}", say=say, timeout_s=left_s) as descriptor:
        yield descriptor


def _document(output: str) -> dict[str, Any]:
    try:
        document = json.loads(output)
    except json.JSONDecodeError:
        return {}
    return document if isinstance(document, dict) else {}


def _run(
    command: Sequence[str],
    environment: Mapping[str, str],
    log: Log,
    *,
    inherit: Sequence[int],
    deadline: float,
    stop: threading.Event,
) -> tuple[int | None, str]:
    """Exit code (None: the deadline passed, or `stop` was set) and standard output; the log is fed as lines come."""
    # pyinfra ends with this process, however that ends: one that is left alone would be in the next one's way.
    tied = ["setpriv", "--pdeathsig", "TERM", "--"] if shutil.which("setpriv") else []
    process = subprocess.Popen(
        [*tied, *command],
        pass_fds=tuple(inherit),
        cwd=repository(),
        env=dict(environment),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        # A group of its own: pyinfra and what it started are ended together.
        start_new_session=True,
    )
    lines: queue.Queue[str | None] = queue.Queue()
    output: list[str] = []
    threads = [
        threading.Thread(target=_pump, args=(process.stderr, lines), daemon=True),
        threading.Thread(target=lambda: output.append(_all(process.stdout)), daemon=True),
    ]
    try:
        for thread in threads:
            thread.start()
        ended = _follow(lines, log, deadline, stop)
        for thread in threads:
            thread.join(timeout=END_TIMEOUT_S if ended else 0)
        code = process.wait(timeout=END_TIMEOUT_S) if ended else None
        return code, "".join(output)
    finally:
        _end(process)


def _follow(lines: queue.Queue[str | None], log: Log, deadline: float, stop: threading.Event) -> bool:
    """Feed the log until the end (True), the deadline or `stop` (False); a long operation is named again and again."""
    named = time.monotonic()
    while True:
        now = time.monotonic()
        if now >= deadline or stop.is_set():
            return False
        try:
            line = lines.get(timeout=min(1.0, deadline - now))
        except queue.Empty:
            running_s = time.monotonic() - log.started_s
            if log.operation and running_s >= STILL_AFTER_S and time.monotonic() - named >= STILL_AFTER_S:
                log.say(f"  still at {log.operation} ({running_s:.0f} s)")
                named = time.monotonic()
            continue
        if line is None:
            return True
        log.feed(line)


def _pump(stream: IO[bytes] | None, lines: queue.Queue[str | None]) -> None:
    # By line feeds alone: a carriage return in a machine's words would begin a line that is not that machine's.
    for line in iter(lambda: stream.readline(LINE_BYTES) if stream else b"", b""):
        lines.put(line.decode(errors="replace").rstrip("\n"))
    lines.put(None)


def _all(stream: IO[bytes] | None) -> str:
    return stream.read().decode(errors="replace") if stream else ""


def _end(process: subprocess.Popen[bytes]) -> None:
    """End the process group if it is still there: first asked, then made to."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        if process.poll() is not None:
            return
        os.killpg(process.pid, number)
        try:
            process.wait(timeout=END_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            continue
