"""Containers that were ended from outside: for want of memory, by somebody, or by their machine's shutdown.

Exit code 143 (or 130) says no more than that the program was asked to end, 137 no more than SIGKILL. Docker's OOMKilled
flag is set by an event of its own, which may come after the container's end: an engine that looks at once, and then
removes the container, sees a plain 137. What stays on the node is the memory of Docker itself (its last 256 events) and
the kernel's log; a control group is gone with its container. A shutdown leaves neither: Docker forgets its events when
it ends.
"""

from __future__ import annotations

from dataclasses import replace

from shoal.cluster.document import Cluster
from shoal.engines.protocol import Execution, State
from shoal.errors import ShoalError
from shoal.results.exit_codes import DetectorExit
from shoal.ssh import client as ssh

KILLED = 137
OVER_QUOTA = 153
"""Of a container that was ended by SIGXFSZ (25), which roles/yolov5/files/state_quota.py sends."""
ASKED_TO_END = frozenset({DetectorExit.INTERRUPTED, DetectorExit.TERMINATED})
OUT_OF_MEMORY = "the container ran out of memory"
UNKNOWN = f"killed (exit code {KILLED}): most often out of memory; its node has no word of who or what did it"
NODE_OUT_OF_MEMORY = f"the node itself ran out of memory, and its kernel ended the container (exit code {KILLED})"


# $1 says which container as `docker events` wants it, $2 as `docker ps` does. The answer is a line a sign.
_LOOK = r"""
events=$(docker events --since 1 --until "$(date +%s.%N)" --filter type=container --filter "$1" \
    --format '{{.Action}} {{.Actor.ID}} {{index .Actor.Attributes "signal"}}' 2>/dev/null) || events=
printf '%s\n' "$events" | awk '$1 == "oom" || $1 == "kill" { print "event", $1, $3 }'
there=$(docker ps --all --quiet --no-trunc --filter "$2" 2>/dev/null) || there=
ids=$(printf '%s\n' "$events" "- $there" | awk '{ print $2 }' | sort -u)
case $(systemctl is-system-running 2>/dev/null) in stopping) echo "machine stopping" ;; esac
case $(systemctl is-active docker.service 2>/dev/null) in deactivating) echo "machine stopping" ;; esac
for id in $ids; do
    { journalctl --dmesg --quiet --no-pager --output cat 2>/dev/null; dmesg 2>/dev/null; } |
        sed -n "/oom-kill:.*task_memcg=[^,]*$id/{s/.*,global_oom,.*/kernel node/p;t;s/.*/kernel container/p}"
done
"""


def out_of_memory(exit_code: int | None) -> str:
    """The words for it, the same whichever engine ran the container."""
    return OUT_OF_MEMORY + (f" (exit code {exit_code})" if exit_code is not None else "")


def by_somebody(exit_code: int | None) -> str:
    """The words for a container that a person, or a person's program, ended."""
    return f"somebody on the node ended the container (docker kill or stop, exit code {exit_code})"


def over_quota(exit_code: int | None) -> str:
    """The words for a container that wrote more into its run's folder than the node lets it."""
    return (
        f"its folder on the node grew beyond the node's limit, and it was ended (exit code {exit_code}); "
        "`journalctl -u shoal-state-quota` there has the figures, the knob is yolov5_state_bytes"
    )


def shut_down(exit_code: int | None) -> str:
    """The words for a container that ended with its machine, or with the machine's Docker."""
    return f"the node, or its Docker, was shut down and ended the container (exit code {exit_code})"


def is_open(execution: Execution) -> bool:
    """Whether `execution` was ended from outside and nothing says why yet."""
    return execution.state is State.ENDED and (
        execution.exit_code in (KILLED, OVER_QUOTA) or execution.exit_code in ASKED_TO_END
    )


def examined(cluster: Cluster, execution: Execution, *, event_filter: str, list_filter: str) -> Execution:
    """`execution`, which is open, with what its node knows of the reason; a node that is silent knows nothing."""
    try:
        node = cluster.node(execution.node)
        found = ssh.run(cluster, node, "sh", "-c", _LOOK, "look", event_filter, list_filter, root=True, check=False)
    except (ShoalError, OSError):
        return judged(execution, "")
    return judged(execution, found.text)


def judged(execution: Execution, found: str) -> Execution:
    """`execution` in the light of what its node answered, a line a sign."""
    signs = [line.split() for line in found.splitlines()]
    if ["kernel", "node"] in signs:
        return replace(execution, state=State.OUT_OF_MEMORY, message=NODE_OUT_OF_MEMORY)
    if ["kernel", "container"] in signs or any(sign[:2] == ["event", "oom"] for sign in signs):
        return replace(execution, state=State.OUT_OF_MEMORY, message=out_of_memory(execution.exit_code))
    code = execution.exit_code
    if code == OVER_QUOTA or any(sign[:3] in (["event", "kill", "25"], ["event", "kill", "SIGXFSZ"]) for sign in signs):
        return replace(execution, message=over_quota(code))
    stopping = ["machine", "stopping"] in signs  # then Docker's own kills are the shutdown's
    if not stopping and any(sign[:2] == ["event", "kill"] for sign in signs):
        return replace(execution, state=State.STOPPED, message=by_somebody(code))
    # It was not asked for through Docker, as far as it remembers, and it forgets when it is shut down itself.
    if stopping or code in ASKED_TO_END:
        return replace(execution, state=State.LOST, message=shut_down(code))
    return replace(execution, message=UNKNOWN)
