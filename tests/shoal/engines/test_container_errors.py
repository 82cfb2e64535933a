"""What runc and Docker say where a container cannot be started, read for a person, with both engines."""

from __future__ import annotations

import pytest

from shoal.engines.bacalhau.executions import execution_of
from shoal.engines.bacalhau.models import EngineExecution
from shoal.engines.container_errors import explained
from shoal.engines.protocol import State

RUNC = (
    "failed to start container: Error response from daemon: failed to create shim task: OCI runtime create failed: "
    "runc create failed: unable to start container process: error during container init: error setting cgroup config "
    "for procHooks process: "
)


@pytest.mark.parametrize(
    ("said", "meaning"),
    [
        (RUNC + 'failed to write "160000": write /sys/fs/cgroup/cpu/docker/1f/cpu.cfs_quota_us: invalid argument',
         "gives fewer CPUs than the job asks for; ask for less with --cpu"),
        (RUNC + "write /sys/fs/cgroup/docker/1f/cpu.max: invalid argument", "gives fewer CPUs"),
        ("Range of CPUs is from 0.01 to 1.00, as there are only 1 CPUs available", "gives fewer CPUs"),
        (RUNC + "failed to write 2000: write /sys/fs/cgroup/memory/docker/1/memory.limit_in_bytes: device or resource "
         "busy", "does not give the memory"),
        (RUNC + 'exec: "detect": executable file not found in $PATH: unknown', "the image has no such program"),
        ("exec /usr/local/bin/shoal-detect: exec format error", "for machines of another kind"),
        ("mkdir /var/lib/docker/overlay2/1f: no space left on device", "the machine's disk is full"),
        ("fork/exec /usr/bin/runc: cannot allocate memory", "no memory or no processes left"),
    ],
)  # fmt: skip
def test_a_known_cause_is_explained(said: str, meaning: str) -> None:
    assert meaning in explained(said)
    assert len(explained(said)) < 350
    engine = EngineExecution.model_validate({
        "ID": "e", "NodeID": "compute-1",
        "ComputeState": {"StateType": 10, "Message": f"failed to start container: {said}"},
        "DesiredState": {"StateType": 2},
    })  # fmt: skip
    execution = execution_of(engine)
    assert (execution.state, meaning in execution.message) == (State.REFUSED, True)


def test_what_is_not_known_stays_as_it_was_said() -> None:
    assert explained("something else") == "something else"
