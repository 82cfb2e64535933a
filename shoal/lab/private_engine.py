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
import sys
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path

import typer

from shoal.errors import Exit, ShoalError
from shoal.files import write_atomic
from shoal.lab import firewall, host, mounts
from shoal.lab.locks import held
from shoal.lab.names import short_hash
from shoal.lab.progress import Say, stage
from shoal.paths import repository, state_dir

SOCKET_PATH_MAX = 100
"""The kernel refuses socket paths of 108 characters and more; the daemon's own are some longer than ours."""
DAEMON_PLACES = "/usr/sbin:/usr/bin:/usr/local/sbin:/usr/local/bin"
START_TIMEOUT_S = 60.0
STOP_TIMEOUT_S = 60.0
POLL_INTERVAL_S = 0.1
INSTALL_DEPLOY = "deploy/engine.py"
REMOVE_DEPLOY = "deploy/engine_remove.py"
DEFAULT_URL = "unix:///var/run/docker.sock"


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


def load() -> Record | None:
    """The recorded engine, if a former `up` brought one."""
    try:
        raw = json.loads((folder() / "engine.json").read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    return Record(raw["url"], raw["private"], tuple(raw["installed_packages"]), raw["host_before"])


def save(record: Record) -> None:
    """Write the record atomically."""
    write_atomic(folder() / "engine.json", json.dumps(asdict(record), indent=2) + "\n", mode=0o600)


def pid() -> int | None:
    """The process id of our daemon if it runs; a number that meanwhile belongs to another program is not it."""
    try:
        number = int((runtime_folder() / "pid").read_text(encoding="ascii"))
        arguments = Path(f"/proc/{number}/cmdline").read_bytes().decode(errors="replace").split("\0")
    except (FileNotFoundError, ProcessLookupError, ValueError):
        return None
    return number if str(runtime_folder() / "pid") in arguments else None


def bring(say: Say, *, yes: bool) -> str:
    """Install the distribution's engine where it is missing, start it, and give its URL.

    Raises ShoalError (MISSING) where it may not or cannot be done.
    """
    with held(state_dir() / "engine.lock", say, "the lab's engine") as lock:
        systemd = Path("/run/systemd/system").is_dir()
        _require_able()
        _agree(say, systemd=systemd, yes=yes)
        record = load() or Record(
            url=DEFAULT_URL if systemd else f"unix://{runtime_folder() / 'docker.sock'}",
            private=not systemd,
            host_before=firewall.snapshot(),
        )
        save(record)
        if daemon_program() is None:
            _install(say, record, lock, service=systemd)
        if not record.private:
            return record.url
        _start_locked(say)
        return record.url


def start(say: Say) -> None:
    """Start the recorded daemon again. Raises ShoalError with the end of its log where it does not come up."""
    with held(state_dir() / "engine.lock", say, "the lab's engine"):
        _start_locked(say)


def stop(say: Say) -> None:
    """End our daemon with SIGTERM and wait for it; it stops its containers itself. No daemon: nothing to do."""
    number = pid()
    if number is None:
        return
    say(f"lab: stopping the lab's own engine (process {number})")
    os.kill(number, signal.SIGTERM)
    deadline = time.monotonic() + STOP_TIMEOUT_S
    while pid() is not None and not _is_zombie(number):
        if time.monotonic() > deadline:
            raise ShoalError(
                f"the lab's own engine (process {number}) did not end within {STOP_TIMEOUT_S:.0f} s",
                hint=f"look at {folder() / 'log'}, end it with kill -9 {number}, then type the command again",
            )
        time.sleep(POLL_INTERVAL_S)


def remove(say: Say) -> None:
    """Take everything of the lab's own engine away: daemon, data, packages we installed, network settings."""
    record = load()
    with held(state_dir() / "engine.lock", say, "the lab's engine") as lock:
        stop(say)
        if record:
            if record.installed_packages and not record.private:
                subprocess.run(["systemctl", "stop", "docker.socket", "docker.service"], check=False)
            # Before the packages go: iptables is one of them.
            firewall.restore(record.host_before, say)
            _remove_control_groups()
        if record and record.installed_packages:
            with stage(say, f"removing {len(record.installed_packages)} packages", "packages removed"):
                _run_deploy(say, REMOVE_DEPLOY, {"docker_packages": list(record.installed_packages)}, lock)
        mounts.remove_tree(runtime_folder())
        mounts.remove_tree(folder())
    (state_dir() / "engine.lock").unlink(missing_ok=True)


def daemon_program() -> str | None:
    """The installed dockerd, wherever its package puts it."""
    return shutil.which("dockerd", path=DAEMON_PLACES)


def control_group_parent() -> str:
    """A parent of our own for the containers' control groups, so that it can be taken away again."""
    return f"shoal-{short_hash(str(folder()))}"


def leftovers() -> list[str]:
    """What is still there of our own engine, for the proof of `down --purge`."""
    found = [str(path) for path in (folder(), runtime_folder(), state_dir() / "engine.lock") if path.exists()]
    if (number := pid()) is not None:
        found.append(f"process {number}")
    return found + [str(point) for point in mounts.below(folder())]


def _start_locked(say: Say) -> None:
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
    runtime.mkdir(parents=True, exist_ok=True, mode=0o700)
    # A pid file of a killed daemon would be believed as soon as any process has that number again.
    (runtime / "pid").unlink(missing_ok=True)
    log = folder() / "log"
    command = [
        program,
        "--data-root", str(folder() / "data"),
        "--exec-root", str(runtime / "exec"),
        "--host", f"unix://{runtime / 'docker.sock'}",
        "--pidfile", str(runtime / "pid"),
        "--cgroup-parent", control_group_parent(),
        # No default bridge: the lab has a network of its own, and docker0 may be another engine's.
        "--bridge", "none",
    ]  # fmt: skip
    with stage(say, "starting the lab's own engine", "engine started"), log.open("ab") as output:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True, cwd="/"
        )
        _wait_until_it_answers(process, log, runtime / "docker.sock")


def _wait_until_it_answers(process: subprocess.Popen[bytes], log: Path, socket: Path) -> None:
    from shoal.lab.engine import connect  # noqa: PLC0415 - the two modules need each other at run time only

    deadline = time.monotonic() + START_TIMEOUT_S
    while isinstance(reason := connect(f"unix://{socket}"), str):
        if process.poll() is not None:
            raise ShoalError(
                f"the lab's own engine ended at once (exit {process.returncode}); its last lines:\n{_tail(log)}",
                exit_code=Exit.MISSING,
            )
        if time.monotonic() > deadline:
            raise ShoalError(
                f"the lab's own engine does not answer after {START_TIMEOUT_S:.0f} s ({reason}); "
                f"its last lines:\n{_tail(log)}",
                exit_code=Exit.MISSING,
            )
        time.sleep(POLL_INTERVAL_S)


def _require_able() -> None:
    distribution = host.os_release()
    family = {distribution.get("ID", ""), *distribution.get("ID_LIKE", "").split()}
    if not family & {"debian", "ubuntu"}:
        raise ShoalError(
            "no container engine answers, and on this system the lab cannot install one",
            hint="install Docker as your system does it and start it, then type the command again",
            exit_code=Exit.MISSING,
        )
    if os.geteuid() != 0:
        raise ShoalError(
            "no container engine answers, and installing one needs root",
            hint="run the command as root, or install and start Docker yourself (Debian: apt-get install docker.io)",
            exit_code=Exit.MISSING,
        )


def _agree(say: Say, *, systemd: bool, yes: bool) -> None:
    if daemon_program() is None:
        say("lab: no container engine answers; the distribution's packages will be installed (docker.io, iptables,")
        say("lab: debootstrap, openssh-client), and taken away again by `shoal lab down --purge`")
    else:
        say("lab: no container engine answers, but its packages are installed")
    if systemd:
        say("lab: systemd will run the engine as the service docker.service")
    else:
        say(f"lab: a private engine will be started, with its socket and data under {folder()}")
    if yes:
        return
    if not sys.stdin.isatty():
        raise ShoalError(
            "no container engine answers, and nobody is there to agree to installing one",
            hint="add --yes to agree in a script, or start an engine first",
            exit_code=Exit.MISSING,
        )
    if not typer.confirm("Go on?", default=True, err=True):
        raise ShoalError("not agreed; nothing was changed", exit_code=Exit.MISSING)


def _install(say: Say, record: Record, lock: int, *, service: bool) -> None:
    before = set(record.host_before.get("packages", "").split()) or _installed_packages()
    # Recorded before the first change: killed in the middle and typed again, the difference is still ours.
    save(Record(record.url, record.private, (), {**record.host_before, "packages": " ".join(sorted(before))}))
    with stage(say, "installing the container engine", "container engine installed"):
        _run_deploy(say, INSTALL_DEPLOY, {"docker_service": service}, lock)
    new = tuple(sorted(_installed_packages() - before))
    save(Record(record.url, record.private, new, record.host_before))


def _run_deploy(say: Say, deploy: str, data: dict[str, object], lock: int) -> None:
    # In a process of its own: pyinfra brings its own event loop. The inherited lock keeps a second `up`
    # waiting even when this process is killed and the package manager is still at work.
    command = [sys.executable, "-m", "pyinfra", "@local", deploy, "-y"]
    for name, value in data.items():
        command += ["--data", f"{name}={json.dumps(value)}"]
    done = subprocess.run(
        command,
        cwd=repository(),
        capture_output=True,
        text=True,
        check=False,
        pass_fds=(lock,),
        stdin=subprocess.DEVNULL,
    )
    if done.returncode != 0:
        lines = (done.stdout + done.stderr).strip().splitlines()[-25:]
        raise ShoalError(
            f"{deploy} failed on this machine (exit {done.returncode}); its last lines:\n" + "\n".join(lines),
            hint="mend what it names, then type the command again",
        )
    say(f"lab: {deploy} done")


def _installed_packages() -> set[str]:
    done = subprocess.run(
        ["dpkg-query", "-W", "-f", "${db:Status-Abbrev} ${Package}\n"], capture_output=True, text=True, check=True
    )
    return {line.split()[1] for line in done.stdout.splitlines() if line.startswith("ii")}


def _remove_control_groups() -> None:
    for path in sorted(Path("/sys/fs/cgroup").glob(f"*/{control_group_parent()}")) + [
        Path("/sys/fs/cgroup") / control_group_parent()
    ]:
        if path.is_dir():
            path.rmdir()


def _is_zombie(number: int) -> bool:
    try:
        stat = Path(f"/proc/{number}/stat").read_text(encoding="ascii", errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return True
    return stat.rpartition(")")[2].split()[0] == "Z"


def _tail(log: Path, lines: int = 15) -> str:
    text = log.read_text(encoding="utf-8", errors="replace") if log.exists() else ""
    return "\n".join(f"    {line}" for line in text.splitlines()[-lines:])
