"""What the engine's word on an execution means: the ways to end that it blurs, distinguished.

The texts are the engine's own (pkg/orchestrator/events.go, pkg/compute, pkg/executor/docker at v1.9.3); the recordings
under tests/shoal/engines/bacalhau hold every one of them as it was seen.
"""

from __future__ import annotations

from shoal.cluster import engine_id
from shoal.engines.bacalhau.models import ComputeState, DesiredState, EngineExecution, Job, RunOutput
from shoal.engines.container_errors import explained
from shoal.engines.killed import out_of_memory
from shoal.engines.protocol import Execution, State

OUT_OF_MEMORY = "memory limit exceeded"
_LOST = {
    "due to node restart": "the node's engine service was restarted; the container may go on unseen",
    "node has disappeared": "the engine gave the node up; the container may go on unseen",
    "node has been rejected": "the node was rejected while the container ran",
}
# The engine's own phrases: Docker's and a registry's words hold "timed out" too.
_TIMED_OUT = ("execution timed out", "job timed out", "execution took longer than", "job took longer than")
_STOPPED = ("job has been stopped", "for job update")
_REFUSED = {
    "is not allowlisted": "the node does not allow the path",
    "does not exist and creation is not allowed": "the path is not on the node",
    "is not granted write access": "the node does not allow writing to the path",
    "failed to start container": "the container could not be started",
    "creating container": "the container could not be made",
    "error response from daemon": "the node's Docker cannot get the image",
}


def execution_of(engine: EngineExecution) -> Execution:
    """The execution in shoal's terms.

    A container that was killed for want of memory is failed at one time and completed with exit code 137 at another.
    The second form is also that of a container that something else killed: `shoal.engines.killed` distinguishes them.
    """
    state, message, exit_code = _read(engine)
    return Execution(engine.node, engine.id, state, exit_code, message)


def _read(engine: EngineExecution) -> tuple[State, str, int | None]:
    said = engine.compute_state.message
    match engine.compute_state.state_type:
        case ComputeState.COMPLETED:
            return _completed(engine.run_output)
        case ComputeState.FAILED | ComputeState.CANCELLED:
            return (*_failed(said or engine.desired_state.message), None)
        case ComputeState.ASK_FOR_BID_REJECTED | ComputeState.BID_REJECTED:
            return State.REFUSED, said or "the node declined the job", None
    # The state stays `new` while a container runs: what is wanted of it says more.
    running = engine.desired_state.state_type is DesiredState.RUNNING
    return State.RUNNING if running else State.STARTING, "", None


def _completed(output: RunOutput | None) -> tuple[State, str, int | None]:
    if output is None:
        return State.ENDED, "the engine has no record of the container's end", None
    if OUT_OF_MEMORY in output.error_msg:
        return State.OUT_OF_MEMORY, out_of_memory(output.exit_code), output.exit_code
    return State.ENDED, output.error_msg or _last_words(output.stderr, output.exit_code), output.exit_code


def _failed(said: str) -> tuple[State, str]:
    lower = said.lower()
    if OUT_OF_MEMORY in lower:
        return State.OUT_OF_MEMORY, out_of_memory(None)
    if any(sign in lower for sign in _TIMED_OUT):
        return State.TIMED_OUT, said
    if any(sign in lower for sign in _STOPPED):
        return State.STOPPED, "stopped as asked"
    for sign, meaning in _LOST.items():
        if sign in lower:
            return State.LOST, f"{meaning} ({said})"
    for sign, meaning in _REFUSED.items():
        if sign in lower:
            plain = explained(said)
            return State.REFUSED, plain if plain != said else f"{meaning}: {said}"
    # Nothing that says the node was lost: a failure like another, with the engine's words.
    return State.ENDED, said or "the engine calls it failed and does not say why"


def absent(node: str, job: Job) -> Execution:
    """A node that should have an execution of `job` and has none: still to come, or never, once the job is over."""
    if not job.state.state_type.over:
        return Execution(node, "", State.STARTING)
    return Execution(node, "", State.REFUSED, message=why_not(node, job.state.message))


def why_not(node: str, said: str) -> str:
    """What the job's message says about one node; it has a line per node, or one for several."""
    for line in said.splitlines():
        text = line.lstrip("• ").strip()
        for known in engine_id.either([node]):
            if text.startswith(f"Node {known}: "):
                return text.removeprefix(f"Node {known}: ")
        if " nodes: " in text and text[0].isdigit():
            return text.partition(" nodes: ")[2]
    return "the engine gave it no execution, and no reason"


def _last_words(stderr: str, exit_code: int) -> str:
    if exit_code == 0:
        return ""
    lines = [line for line in stderr.splitlines() if line.strip()]
    return lines[-1].strip() if lines else ""  # the engine keeps 2 KB
