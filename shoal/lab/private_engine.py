"""An engine of the lab's own, for machines that have none: the distribution's packages, and a daemon started here.

Where systemd is PID 1 the packaged service runs; elsewhere `dockerd` is started with a socket and a data root of its
own under the state folder. What was installed and how the host's network was set before is recorded, for `remove`.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
from dataclasses import asdict, dataclass, field
from pathlib import Path

from shoal.errors import Exit, ShoalError
from shoal.files import private_folder, write_atomic
from shoal.lab import firewall, mounts
from shoal.lab.client import connect
from shoal.lab.names import short_hash
from shoal.locks import locked
from shoal.paths import state_dir
from shoal.telling import Say, stage
from shoal.waiting import looks, until

SOCKET_PATH_MAX = 100
"""The kernel refuses socket paths of 108 characters and more; the daemon's own are some longer than ours."""
DAEMON_PLACES = "/usr/sbin:/usr/bin:/usr/local/sbin:/usr/local/bin"
START_TIMEOUT_S = 60.0
STOP_TIMEOUT_S = 60.0
POLL_INTERVAL_S = 0.1
CONTROL_GROUPS = Path("/sys/fs/cgroup")
SHARED_RUNTIME = Path("/run/docker")


@dataclass(frozen=True, slots=True)
class Record:
    """The engine the lab brought: `state_dir()/engine/engine.json`."""

    url: str
    private: bool
    """Whether the daemon is ours; otherwise the packaged service runs it."""
    installed_packages: tuple[str, ...] = ()
    """Packages that were not there before; `down --purge` takes them away again."""
    host_before: dict[str, str] = field(default_factory=dict)
    """Settings of the host that a first start of the daemon changes, as they were (see `firewall.snapshot`)."""


def folder() -> Path:
    """Everything of the lab's own engine but, where the path would be too long, its sockets."""
    return state_dir() / "engine"


def runtime_folder() -> Path:
    """Sockets and pid file."""
    inside = folder() / "run"
    longest = inside / "exec" / "containerd" / "containerd-debug.sock"
    return inside if len(str(longest)) < SOCKET_PATH_MAX else Path(f"/run/shoal-{short_hash(str(folder()))}")


def lock_path() -> Path:
    """One start, stop, installation or removal at a time."""
    return state_dir() / "engine.lock"


def load() -> Record | None:
    """The recorded engine, if a former `up` brought one. Raises ShoalError where the record is damaged."""
    path = folder() / "engine.json"
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
        return Record(raw["url"], raw["private"], tuple(raw["installed_packages"]), dict(raw["host_before"]))
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError) as error:
        raise ShoalError(
            f"{path} is damaged: {error!r}; it says what the lab brought to this machine",
            hint="mend it; or remove it, and with it what `lab down --purge` knows to take away",
        ) from None


def save(record: Record) -> None:
    """Write the record atomically."""
    write_atomic(folder() / "engine.json", json.dumps(asdict(record), indent=2) + "\n", mode=0o600)


def pid() -> int | None:
    """The process id of our daemon if it runs."""
    return _process_of(runtime_folder() / "pid", marker=str(runtime_folder() / "pid"))


def _process_of(pid_file: Path, *, marker: str) -> int | None:
    """The live process in `pid_file` if `marker` is in its arguments.

    A number that meanwhile belongs to another program is not it, nor is a dead one that was not waited for: on
    machines without a proper PID 1 those stay for ever, and have no arguments any more.
    """
    try:
        number = int(pid_file.read_text(encoding="ascii"))
        arguments = Path(f"/proc/{number}/cmdline").read_bytes().decode(errors="replace")
    except (FileNotFoundError, ProcessLookupError, ValueError):
        return None
    return number if marker in arguments else None


def start(say: Say) -> None:
    """Start the recorded daemon again. Raises ShoalError with the end of its log where it does not come up."""
    with locked(lock_path(), what="the lab's engine", say=say):
        start_locked(say)


def stop(say: Say) -> None:
    """End our daemon with SIGTERM and wait for it; it stops its containers itself. No daemon: nothing to do."""
    number = pid()
    if number is None:
        return
    say(f"lab: stopping the lab's own engine (process {number})")
    os.kill(number, signal.SIGTERM)
    if not until(lambda: pid() is None, every_s=POLL_INTERVAL_S, timeout_s=STOP_TIMEOUT_S):
        raise ShoalError(
            f"the lab's own engine (process {number}) did not end within {STOP_TIMEOUT_S:.0f} s",
            hint=f"look at {folder() / 'log'}, end it with kill -9 {number}, then type the command again",
        )


def daemon_program() -> str | None:
    """The installed dockerd, wherever its package puts it."""
    return shutil.which("dockerd", path=DAEMON_PLACES)


def control_group_parent() -> str:
    """A parent of our own for the containers' control groups, so that it can be taken away again."""
    return f"shoal-{short_hash(str(folder()))}"


def leftovers() -> list[str]:
    """What is still there of our own engine, for the proof of `down --purge`."""
    found = [str(path) for path in (folder(), runtime_folder(), lock_path()) if path.exists()]
    if (number := pid()) is not None:
        found.append(f"process {number}")
    return found + [str(path) for path in [*mounts.below(folder()), *control_groups()]]


def start_locked(say: Say) -> None:
    """As `start`, for a caller that holds the engine's lock."""
    if pid() is not None:
        return
    program = daemon_program()
    if program is None:
        raise ShoalError(
            "the lab's own engine cannot be started: dockerd is not installed any more",
            hint="type `shoal lab down --purge`, then `shoal lab up` again",
            exit_code=Exit.MISSING,
        )
    runtime = runtime_folder()
    private_folder(runtime)
    # Pid files of killed daemons would be believed while any process has that number, even a dead one.
    (runtime / "pid").unlink(missing_ok=True)
    containerd = runtime / "exec" / "containerd"
    if _process_of(containerd / "containerd.pid", marker=str(containerd)) is None:
        (containerd / "containerd.pid").unlink(missing_ok=True)
    log = folder() / "log"
    command = [
        program,
        "--data-root", str(folder() / "data"),
        "--exec-root", str(runtime / "exec"),
        "--host", f"unix://{runtime / 'docker.sock'}",
        "--pidfile", str(runtime / "pid"),
        "--cgroup-parent", control_group_parent(),
        # No default bridge: the lab makes its own network, and docker0 may be another engine's.
        "--bridge", "none",
    ]  # fmt: skip
    with stage(say, "starting the lab's own engine", "engine started"), log.open("ab") as output:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True, cwd="/"
        )
        _wait_until_it_answers(process, log, runtime / "docker.sock")


def _wait_until_it_answers(process: subprocess.Popen[bytes], log: Path, socket: Path) -> None:
    for look in looks(POLL_INTERVAL_S, timeout_s=START_TIMEOUT_S):
        if not isinstance(reason := connect(f"unix://{socket}"), str):
            return
        if process.poll() is not None:
            raise ShoalError(
                f"the lab's own engine ended at once (exit {process.returncode}); its last lines:\n{_tail(log)}",
                exit_code=Exit.MISSING,
            )
        if look.last:
            raise ShoalError(
                f"the lab's own engine does not answer after {START_TIMEOUT_S:.0f} s ({reason}); "
                f"its last lines:\n{_tail(log)}",
                exit_code=Exit.MISSING,
            )


def control_groups(root: Path = CONTROL_GROUPS) -> list[Path]:
    """Our parent of control groups in every hierarchy, and all below it, deepest first."""
    parent = control_group_parent()
    # Resolved: hierarchies that are mounted together are linked under each of their names.
    tops = {path.resolve() for path in [*root.glob(f"*/{parent}"), root / parent] if path.is_dir()}
    below = [path for top in tops for path in top.rglob("*") if path.is_dir()]
    return sorted([*tops, *below], key=lambda path: len(path.parts), reverse=True)


def remove_control_groups(root: Path = CONTROL_GROUPS) -> None:
    """Take our control groups away: the daemon leaves the parent behind, one that was killed its containers' too.

    Raises ShoalError where one still has processes.
    """
    for path in control_groups(root):
        try:
            path.rmdir()
        except OSError as error:
            raise ShoalError(
                f"the control group {path} of the lab's own engine cannot be removed: {error.strerror}",
                hint=f"see which processes {path / 'cgroup.procs'} names, end them, then type the command again",
            ) from None


def remove_empty_runtime() -> None:
    """Remove the empty folders that every daemon makes outside of its data folder."""
    for path in (SHARED_RUNTIME / "plugins", SHARED_RUNTIME):
        if path.is_dir() and not any(path.iterdir()) and not firewall.another_engine_runs():
            path.rmdir()


def _tail(log: Path, lines: int = 15) -> str:
    text = log.read_text(encoding="utf-8", errors="replace") if log.exists() else ""
    return "\n".join(f"    {line}" for line in text.splitlines()[-lines:])
