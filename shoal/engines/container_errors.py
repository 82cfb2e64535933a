"""What Docker's and runc's words mean where a container cannot be started: for a reader, and what to do."""

from __future__ import annotations

import re

# The kernel's and runc's own phrases (runc libcontainer/cgroups, docker daemon); both versions of control groups.
_MEANINGS = (
    (
        r"cpu\.(cfs_quota_us|max)[\"':].*invalid argument|range of cpus is from",
        "the machine gives fewer CPUs than the job asks for; ask for less with --cpu",
    ),
    (
        r"memory\.(limit_in_bytes|memsw\.limit_in_bytes|max|swap\.max)[\"':].*(invalid argument|resource busy)"
        r"|minimum memory limit|memory limit.*(exceeds|larger)",
        "the machine does not give the memory the job asks for; ask for another amount with --memory",
    ),
    (
        r"cpuset\.cpus.*(invalid argument|permission denied)",
        "the machine does not give the processors the job asks for",
    ),
    (r"exec format error", "the image is for machines of another kind; see `arch` in the cluster document"),
    (
        r"executable file not found|exec: .*no such file or directory",
        "the image has no such program; see Entrypoint in the job",
    ),
    (r"no space left on device", "the machine's disk is full"),
    (
        r"cannot allocate memory|resource temporarily unavailable|pids\.max",
        "the machine has no memory or no processes left to start a container",
    ),
    (
        r"cgroup.*(no such file|not (found|mounted)|does not exist|no such device)|cgroups: cgroup mountpoint",
        "the machine's control groups are not as Docker needs them; see `docker info` there, and reboot it",
    ),
    (r"bind source path does not exist", "a folder the job mounts is not on the machine; run the site deploy"),
)


def explained(text: str) -> str:
    """`text` with its meaning in front, where it is one of those that are known; else as it is."""
    for pattern, meaning in _MEANINGS:
        if re.search(pattern, text, re.IGNORECASE | re.DOTALL):
            return f"{meaning} ({_short(text)})"
    return text


def _short(text: str) -> str:
    """The last link of runc's chain of causes, which is the cause."""
    last = " ".join(text.split())
    for mark in ("OCI runtime create failed: ", "runc create failed: ", "failed to create shim task: "):
        last = last.rpartition(mark)[2]
    return last if len(last) <= 200 else f"...{last[-197:]}"
