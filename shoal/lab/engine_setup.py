"""Brings an engine to a machine that has none, through the distribution's packages, and takes it away again."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import typer

from shoal.errors import Exit, ShoalError
from shoal.lab import firewall, host, mounts, private_engine
from shoal.lab.private_engine import Record
from shoal.locks import locked
from shoal.paths import repository
from shoal.telling import Say, stage

INSTALL_DEPLOY = "deploy/engine.py"
REMOVE_DEPLOY = "deploy/engine_remove.py"
PACKAGES_BEFORE = "packages"
"""In the record's `host_before` while an installation is under way: what was installed when it began."""
BROUGHT = ("docker.io", "iptables", "debootstrap", "openssh-client")
"""What the engine's deploy asks apt for; all else that it brings is needed by these."""
DEFAULT_URL = "unix:///var/run/docker.sock"


def bring(say: Say, *, yes: bool) -> str:
    """Install the distribution's engine where it is missing, start it, and give its URL.

    Raises ShoalError (MISSING) where it may not or cannot be done.
    """
    with locked(private_engine.lock_path(), what="the lab's engine", say=say) as lock:
        systemd = Path("/run/systemd/system").is_dir()
        _require_able()
        _agree(say, systemd=systemd, yes=yes)
        record = private_engine.load() or Record(
            url=DEFAULT_URL if systemd else f"unix://{private_engine.runtime_folder() / 'docker.sock'}",
            private=not systemd,
            host_before=firewall.snapshot(),
        )
        private_engine.save(record)
        if missing_programs() or PACKAGES_BEFORE in record.host_before:
            record = _install(say, record, lock, service=systemd)
        if not record.private:
            return record.url
        private_engine.start_locked(say)
        return record.url


def remove(say: Say) -> tuple[str, ...]:
    """Take the lab's own engine away: daemon, data, network settings, and the packages it brought (given back)."""
    record = private_engine.load()
    with locked(private_engine.lock_path(), what="the lab's engine", say=say) as lock:
        private_engine.stop(say)
        if record:
            if record.installed_packages and not record.private:
                subprocess.run(["systemctl", "stop", "docker.socket", "docker.service"], check=False)
            # Before the packages go: iptables is one of them.
            firewall.restore(record.host_before, say)
            private_engine.remove_control_groups()
            private_engine.remove_empty_runtime()
        if record and (before := set(record.host_before.get(PACKAGES_BEFORE, "").split())):
            # Killed while it installed: the difference was not recorded yet.
            record = replace(record, installed_packages=tuple(sorted(_came_with_ours(before))))
        if record and record.installed_packages:
            with stage(say, f"removing {len(record.installed_packages)} packages", "packages removed"):
                _run_deploy(
                    say,
                    REMOVE_DEPLOY,
                    {"docker_packages": list(record.installed_packages), "docker_record": False},
                    lock,
                )
        mounts.remove_tree(private_engine.runtime_folder())
        mounts.remove_tree(private_engine.folder())
        private_engine.lock_path().unlink(missing_ok=True)
    return record.installed_packages if record else ()


def remove_packages(say: Say, packages: tuple[str, ...]) -> None:
    """Purge exactly these packages of this machine. Raises ShoalError where others have come to need them."""
    with (
        locked(private_engine.lock_path(), what="packages of this machine", say=say) as lock,
        stage(say, f"removing {' '.join(packages)}", "packages removed"),
    ):
        _run_deploy(say, REMOVE_DEPLOY, {"docker_packages": list(packages), "docker_record": False}, lock)
    private_engine.lock_path().unlink(missing_ok=True)


def still_installed(packages: tuple[str, ...]) -> list[str]:
    """Those of `packages` that are on this machine."""
    return sorted(set(packages) & _installed_packages()) if packages else []


def missing_programs() -> list[str]:
    """What the engine's deploy would bring and is not here."""
    programs = ("dockerd", "iptables", "debootstrap", "ssh")
    return [program for program in programs if shutil.which(program, path=private_engine.DAEMON_PLACES) is None]


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
    if missing_programs():
        say("lab: no container engine answers; the distribution's packages will be installed (docker.io, iptables,")
        say("lab: debootstrap, openssh-client), and taken away again by `shoal lab down --purge`")
    else:
        say("lab: no container engine answers, but its packages are installed")
    if systemd:
        say("lab: systemd will run the engine as the service docker.service")
    else:
        say(f"lab: a private engine will be started, with its socket and data under {private_engine.folder()}")
    if yes:
        return
    if not sys.stdin.isatty():
        raise ShoalError(
            "no container engine answers, and there is no terminal on which to agree to installing one",
            hint="add --yes to agree in a script, or start an engine first",
            exit_code=Exit.MISSING,
        )
    if not typer.confirm("Go on?", default=True, err=True):
        raise ShoalError("not agreed; nothing was changed", exit_code=Exit.MISSING)


def _install(say: Say, record: Record, lock: int, *, service: bool) -> Record:
    before = set(record.host_before.get(PACKAGES_BEFORE, "").split()) or _installed_packages()
    # Recorded before the first change: killed in the middle and typed again, the difference is still ours.
    marked = {**record.host_before, PACKAGES_BEFORE: " ".join(sorted(before))}
    private_engine.save(replace(record, host_before=marked))
    with stage(say, "installing the container engine", "container engine installed"):
        _run_deploy(say, INSTALL_DEPLOY, {"docker_service": service}, lock)
    new = {*record.installed_packages, *_came_with_ours(before)}
    rest = {key: value for key, value in record.host_before.items() if key != PACKAGES_BEFORE}
    done = replace(record, installed_packages=tuple(sorted(new)), host_before=rest)
    private_engine.save(done)
    return done


def _run_deploy(say: Say, deploy: str, data: dict[str, object], lock: int) -> None:
    # In a separate process: pyinfra brings its own event loop. The inherited lock keeps a second `up`
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


def _came_with_ours(before: set[str]) -> set[str]:
    """What was installed since `before` for the engine's sake. Since then the machine's owner may have installed
    things of their own, weeks later even where an installation was killed: those are not ours to remove."""
    return (_installed_packages() - before) & _needed_by_ours()


def _needed_by_ours() -> set[str]:
    kinds = ("recommends", "suggests", "conflicts", "breaks", "replaces", "enhances")
    done = subprocess.run(
        ["apt-cache", "depends", "--recurse", "--installed", *(f"--no-{kind}" for kind in kinds), *BROUGHT],
        capture_output=True,
        text=True,
        check=True,
    )
    # A package begins its line; what it depends on is set in.
    return {line for line in done.stdout.splitlines() if line and line[0] not in " |<"}
