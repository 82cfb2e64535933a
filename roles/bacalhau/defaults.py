"""Every knob of role `bacalhau`, and why its services run as whom.

The orchestrator needs no Docker and no root: it runs as the system user `bacalhau` with nothing but its own folder.
A compute service runs as root. It makes a run's folder under /var/lib/shoal/runs, which belongs to root; it has to
delete what containers wrote as other users; and whoever may talk to Docker is as good as root in any case, so that a
user in the group `docker` would look like a boundary and be none. Its unit takes the rest away from it: no new
privileges, a file system that is read-only but for two folders, no home directories, no other capabilities.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path

from shoal.cluster.document import Arch
from shoal.engines.bacalhau import API_PORT
from shoal.engines.bacalhau.elf import architecture
from shoal.engines.bacalhau.release import check_supported
from shoal.errors import Fault, UsageError

_AMOUNT = re.compile(r"[1-9][0-9]{0,2}%|[0-9]+(\.[0-9]+)?m?|[0-9]+(\.[0-9]+)?\s?[KMGT]i?B", re.IGNORECASE)
_PINNED = re.compile(r"[A-Za-z0-9][A-Za-z0-9./:_-]*@sha256:[0-9a-f]{64}")
HIDDEN = ("/home/", "/root/", "/run/user/")
"""What ProtectHome= of the unit takes away."""
_ALLOWED = re.compile(r"/[^:]*(:r[ow])?")


@dataclass(frozen=True)
class Program:
    """The engine's program for one architecture, on the control machine."""

    path: Path
    sha256: str
    version: str


@dataclass(frozen=True)
class AllowedJob:
    """A kind of job that may run besides the site's own."""

    entrypoint: tuple[str, ...]
    """Word by word; empty: the image's own."""
    image: str | None = None
    """Pinned by its digest. None: the image that the site's deploy puts on the node."""
    variables: tuple[str, ...] = ()
    """Names of the environment's variables that it may set; with others a program can be led to run something else."""
    working_directory: str = ""
    """Empty: the image's own."""


@dataclass(frozen=True)
class Bacalhau:
    """Set as host or group data under the same names."""

    bacalhau_programs: dict[Arch, Program] = field(default_factory=dict)
    """The program per architecture, set from the artefact cache. Empty: the cluster runs without the engine."""
    bacalhau_compute_api_port: int = 1235
    """The API of a compute service, on its loopback; the orchestrator's is 1234 on the requester's, where control
    machines come to it through SSH. Two ports, so that one machine can play both roles."""
    bacalhau_nats_port: int = 4222
    """Where compute nodes reach the orchestrator, with the cluster's token."""
    bacalhau_nats_bind: str | None = None
    """Address the orchestrator listens on for nodes. None: the requester's address as the others know it, no other."""
    bacalhau_manual_approval: bool = False
    """Whether a node that shows the token still waits for `shoal nodes approve`."""
    bacalhau_capacity_cpu: str = "80%"
    """Share of a node's CPUs that jobs get; a job that asks for more is refused before it is handed in."""
    bacalhau_capacity_memory: str = "80%"
    """The same of its memory ..."""
    bacalhau_capacity_disk: str = "80%"
    """... its disk, which the engine counts and does not enforce ..."""
    bacalhau_capacity_gpu: str = "100%"
    """... and its GPUs."""
    bacalhau_whole_videos: bool = False
    """Whether jobs may mount the videos folder only as a whole, from the cluster document (a node with `privacy`): the
    node's policy lies in it, and a job that sees the footage has to see the policy."""
    bacalhau_allowed_paths: tuple[str, ...] = ()
    """More paths that jobs may mount, `PATH`, `PATH:ro` or `PATH:rw`; a pattern matches a whole path (`/data/**`). They
    are mounted under their own name, or below /mnt, /model, /data, /input, /output (also with an s).
    Not in home directories, which the service does not see. What it may write to gets into its unit. Always allowed:
    /videos and its tree read-only, the models read-only, each run's own folder read-write."""
    bacalhau_jobs: tuple[AllowedJob, ...] = ()
    """Kinds of jobs that a node takes besides the site's own image with its own entry point, set from the site document
    (`shoal site allow`). Placed on the node; whoever commands the engine cannot change it."""
    bacalhau_networked_jobs: bool = False
    """Whether jobs may ask for a network."""
    bacalhau_local_publisher: bool = False
    """The engine's own result store. It serves every result to anybody who reaches the port: off unless asked for."""
    bacalhau_local_publisher_port: int = 6001
    """Its port."""
    bacalhau_web_ui: bool = False
    """The engine's web pages, on the requester's loopback (reach them with `ssh -L`)."""
    bacalhau_web_ui_port: int = 8438
    """Their port."""
    bacalhau_heartbeat_s: int = 5
    """How often a node reports to the orchestrator that it is alive, and what room it has: a run that follows another
    one waits for that report, so it comes more often than the engine's own default of 15."""
    bacalhau_disconnect_timeout_s: int = 60
    """Silence after which the orchestrator counts a node as gone, and fails what runs there."""
    bacalhau_log_level: str = "info"
    """Of both services; their log is the journal."""
    bacalhau_force: bool = False
    """Restart a service although jobs run: what runs there is lost to the engine, and healed by the runner."""
    bacalhau_ready_timeout_s: int = 180
    """How long nodes may take to be there for the orchestrator before the deploy fails."""

    def faults(self) -> list[Fault]:
        """What no single field shows; the programs are looked at here, before any change."""
        found = []
        for arch, program in self.bacalhau_programs.items():
            try:
                check_supported(program.version)
                if (there := architecture(program.path)) != arch:
                    found.append(Fault(f"bacalhau_programs[{arch}]", f"{program.path} is for {there}"))
            except UsageError as error:
                found.append(Fault(f"bacalhau_programs[{arch}]", error.message))
        ports = {
            name: getattr(self, name)
            for name in (
                "bacalhau_compute_api_port", "bacalhau_nats_port",
                "bacalhau_local_publisher_port", "bacalhau_web_ui_port",
            )
        }  # fmt: skip
        taken = {"the orchestrator's API": API_PORT, **ports}
        for name, port in ports.items():
            if not 1 <= port <= 65535:
                found.append(Fault(name, f"is not a port (found {port})"))
            if twins := [other for other in taken if taken[other] == port and (other < name or other not in ports)]:
                found.append(Fault(name, f"is the same as {twins[0]}"))
        for resource in ("cpu", "memory", "disk", "gpu"):
            name = f"bacalhau_capacity_{resource}"
            if not _AMOUNT.fullmatch(getattr(self, name)):
                found.append(Fault(name, f"is neither a share nor an amount (found {getattr(self, name)!r})"))
        found += [
            Fault("bacalhau_allowed_paths", f"{path!r} is not an absolute path with :ro or :rw")
            for path in self.bacalhau_allowed_paths
            if not _ALLOWED.fullmatch(path)
        ]
        found += [
            Fault("bacalhau_allowed_paths", f"{path!r} is in a home directory, which the compute service does not see")
            for path in self.bacalhau_allowed_paths
            if path.startswith(HIDDEN)
        ]
        found += [
            Fault(f"bacalhau_jobs[{number}]", f"its image is not pinned by a digest (found {job.image!r})")
            for number, job in enumerate(self.bacalhau_jobs)
            if job.image is not None and not _PINNED.fullmatch(job.image)
        ]
        if self.bacalhau_log_level not in ("trace", "debug", "info", "warn", "error"):
            found.append(Fault("bacalhau_log_level", "is none of trace, debug, info, warn, error"))
        if self.bacalhau_disconnect_timeout_s < 2 * self.bacalhau_heartbeat_s or self.bacalhau_heartbeat_s < 1:
            found.append(Fault("bacalhau_disconnect_timeout_s", "must be at least twice bacalhau_heartbeat_s"))
        return found
