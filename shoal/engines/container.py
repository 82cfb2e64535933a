"""A job as a docker command line, and a container's end as an execution's state: the ssh runner's pure half."""

from __future__ import annotations

from dataclasses import dataclass

from pydantic import BaseModel, Field

from shoal import untrusted
from shoal.engines.killed import out_of_memory
from shoal.engines.protocol import State
from shoal.jobs.spec import JobSpec, parse_bytes

RUN_LABEL = "shoal.run"
ATTEMPT_LABEL = "shoal.attempt"
TIMEOUT_LABEL = "shoal.timeout-s"
"""A container carries its own limit, so that whoever adopts it keeps to it."""

# Root inside reads every video whoever owns it, and can do nothing else that root can. (DAC_READ_SEARCH would say it
# more narrowly, but an engine that runs in a container itself does not have it to give; /videos is read-only anyway.)
_CONFINED = (
    "--network", "none", "--read-only", "--tmpfs", "/tmp",  # noqa: S108  # the container's own
    "--cap-drop", "ALL", "--cap-add", "DAC_OVERRIDE",
    "--security-opt", "no-new-privileges", "--pids-limit", "512",
)  # fmt: skip


class _DockerState(BaseModel):
    """As the node's Docker writes it."""

    status: str = Field(alias="Status")
    exit_code: int = Field(alias="ExitCode")
    oom_killed: bool = Field(False, alias="OOMKilled")
    error: str = Field("", alias="Error")


@dataclass(frozen=True, slots=True)
class Inspected:
    """What the engine says of a container."""

    status: str
    exit_code: int
    oom_killed: bool
    error: str

    @property
    def over(self) -> bool:
        """Whether it ran and ended, or was made and never started."""
        return self.status in ("exited", "dead", "created")


def folders(job: JobSpec) -> list[str]:
    """Paths on the node that have to be made before the container starts."""
    sources = [entry.source.params for entry in job.task.input_sources]
    return [params.source_path for params in sources if params.create_as == "dir"]


def docker_run(job: JobSpec, *, run: str, attempt: int) -> list[str]:
    """`docker run` for `job`, detached: the container outlives the connection that started it."""
    task = job.task
    params = task.engine.params
    memory_bytes = str(parse_bytes(task.resources.memory))
    argv = ["docker", "run", "--detach", "--name", job.name, "--pull", "never", *_CONFINED]
    argv += ["--cpus", _cpus(task.resources.cpu), "--memory", memory_bytes, "--memory-swap", memory_bytes]
    labels = {RUN_LABEL: run, ATTEMPT_LABEL: str(attempt), TIMEOUT_LABEL: str(job.timeout_s)}
    for key, value in labels.items():
        argv += ["--label", f"{key}={value}"]
    for entry in task.input_sources:
        source = entry.source.params
        argv += ["--mount", _mount(source.source_path, entry.target, read_only=not source.read_write)]
    for pair in params.environment_variables:
        argv += ["--env", pair]
    if params.working_directory:
        argv += ["--workdir", params.working_directory]
    words = list(params.parameters)
    if params.entrypoint:
        argv += ["--entrypoint", params.entrypoint[0]]
        words = [*params.entrypoint[1:], *words]
    return [*argv, params.image, *words]


def read_inspect(text: str) -> Inspected:
    """`docker inspect --format '{{json .State}}'` read. Raises DamagedDocumentError where it is not that."""
    state = untrusted.document(text, _DockerState, source="the node's word on its container")
    return Inspected(state.status, state.exit_code, state.oom_killed, state.error)


def state_of(inspected: Inspected, *, limit_passed: bool, stop_asked: bool, timeout_s: int) -> tuple[State, str]:
    """The state of an ended container, and why in words."""
    code = inspected.exit_code
    if inspected.status == "created":
        return State.REFUSED, inspected.error or "the container was made, but never started"
    if code != 0 and limit_passed:
        return State.TIMED_OUT, f"not done after {timeout_s} s, and stopped"
    if code != 0 and stop_asked:
        return State.STOPPED, "stopped on request"
    if code != 0 and inspected.oom_killed:
        return State.OUT_OF_MEMORY, out_of_memory(code)
    return State.ENDED, inspected.error


def _cpus(text: str) -> str:
    return str(float(text[:-1]) / 1000) if text.endswith("m") else text


def _mount(source: str, target: str, *, read_only: bool) -> str:
    # One CSV record: a comma or a quote in a path must not start another field.
    fields = ["type=bind", f"source={source}", f"target={target}", *(["readonly"] if read_only else [])]
    return ",".join('"' + text.replace('"', '""') + '"' if set(text) & set(',"') else text for text in fields)
