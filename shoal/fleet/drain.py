"""Taking the work off nodes: marked, so that they get no new run, waited for until they are at rest, then stopped.

The mark is on the node itself (NODE_DRAINED), so that every control machine sees it. The engine's `reject` is never
used for that: it kills what runs.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from shoal.cluster import engine_id
from shoal.cluster.document import Cluster, Node
from shoal.engines.bacalhau import connect, secrets
from shoal.engines.bacalhau.client import BacalhauClient, EngineSilentError, NoSuchJobError
from shoal.engines.bacalhau.executions import execution_of
from shoal.errors import Fault, ShoalError
from shoal.paths import NODE_DRAINED, NODE_IMAGE_NEEDS, NODE_RUNS
from shoal.results.record import RUN_ID
from shoal.ssh import client as ssh
from shoal.ssh.failures import brief
from shoal.telling import Say
from shoal.waiting import looks

UNIT = "bacalhau-compute.service"
POLL_S = 2.0
_SIZE = re.compile(r"[0-9]{1,18}")
_MARK = 'mkdir -p "$(dirname "$1")" && date -u +%FT%TZ >"$1"'
STOP_GRACE_S = 30
"""What a detector gets to end the frame in hand; what it has done is kept either way."""
QUIET_S = 20.0
"""How long a node has to be seen at rest after it was marked. A run that asked it before hands its job in meanwhile:
what follows the survey are questions to the engine and to Docker on the nodes, seconds in all, and the survey itself
waits for a machine that is away (shoal.ssh.connect.CONNECT_TIMEOUT_S)."""
_CONTAINERS = """
containers() {
    command -v docker >/dev/null || return 0
    for label in "bacalhau-executor=bacalhau-$1" "bacalhau-executor=bacalhau-$2" shoal.run; do
        timeout 20 docker ps --quiet --filter "label=$label" || return
    done
}"""
_KEPT = """
for need in "${4:-/dev/null}"/*; do
    [ ! -f "$need" ] || [ -e "$5/${need##*/}/manifest.json" ] || echo "needs ${need##*/} $(
        docker image inspect --format '{{.Size}}' "$(head -n 1 "$need")" 2>/dev/null || echo 0)"
done
"""
# Docker that is there and does not answer is no Docker without containers: they outlive its restart (live-restore).
_LOOK = f"""{_CONTAINERS}{_KEPT}
[ ! -e "$1" ] || echo drained
systemctl is-active --quiet {UNIT} 2>/dev/null && echo serving
if found=$(containers "$2" "$3" 2>/dev/null); then printf '%s\\n' "$found" | sort -u | sed -n 's/^./container &/p'
else echo "docker-fault $(containers "$2" "$3" 2>&1 >/dev/null | tail -n 1)"; fi
"""
# One that ends by itself meanwhile is no failure; whether any is left is looked at afterwards.
_STOP = f"""{_CONTAINERS}
found=$(containers "$2" "$3") || exit
[ -z "$found" ] || docker stop -t {STOP_GRACE_S} $(printf '%s\\n' "$found" | sort -u) >/dev/null || true
"""


class StillAtWorkError(ShoalError):
    """Something still runs on nodes that are being drained, and the time is over."""


def drain_machines(
    cluster: Cluster, nodes: Sequence[Node], say: Say, *, timeout_s: float, ask_engine: bool = True
) -> None:
    """Give the nodes no new run, wait until nothing runs on them, then stop their engine services.

    A machine or an orchestrator that does not answer is asked again; without `ask_engine` only what runs on the
    machines counts. Raises StillAtWorkError where work is still going on when the time is over, and ShoalError where
    nobody can tell by then; the mark stays, the service runs on.
    """
    names = [node.name for node in nodes]
    _each(nodes, lambda node: ssh.run(cluster, node, "sh", "-c", _MARK, "mark", str(NODE_DRAINED), root=True))
    say(f"no new run for {', '.join(names)}")
    _await_rest(cluster, nodes, say, timeout_s=timeout_s, ask_engine=ask_engine)
    stop = f"! systemctl cat {UNIT} >/dev/null 2>&1 || systemctl disable --now --quiet {UNIT}"
    _each(nodes, lambda node: ssh.run(cluster, node, "sh", "-c", stop, root=True, timeout_s=120))
    say(f"drained: {', '.join(names)}")


def stop_jobs(cluster: Cluster, names: Sequence[str]) -> None:
    """End the engine's jobs that have work on the nodes. Raises EngineError; does nothing where no engine is known.

    Nothing is lost but the video in hand: what is done lies in the run's folder, and the run can be resumed.
    """
    if secrets.load(cluster.name) is None:
        return
    with connect.client_for(cluster) as client:
        for job in client.live_jobs():
            if any(it.node in names for it in map(execution_of, client.job(job.id).executions.items)):
                client.stop(job.id, "stopped by shoal")


def stop_containers(cluster: Cluster, nodes: Sequence[Node]) -> dict[str, str]:
    """Tell the jobs' containers on the nodes to end. Why not, by the names of nodes that did not answer."""

    def stop(node: Node) -> object:
        ids = ("-", node.name, engine_id.engine_id(node.name))
        return ssh.run(cluster, node, "sh", "-c", _STOP, "stop", *ids, root=True, timeout_s=120)

    answers = ssh.on_each(nodes, stop)
    return {name: brief(answer) for name, answer in answers.items() if isinstance(answer, ShoalError)}


def unmark(cluster: Cluster, nodes: Sequence[Node]) -> None:
    """Take the mark of a drained node away again. Raises ShoalError that names the nodes that did not answer."""
    mark = str(NODE_DRAINED)
    _each(nodes, lambda node: ssh.run(cluster, node, "rm", "-f", mark, root=True))


def look(cluster: Cluster, node: Node) -> list[str]:
    """What the machine says of itself, a line a fact: drained, serving, its containers, images that it keeps.

    Raises SshError.
    """
    ids = (node.name, engine_id.engine_id(node.name))
    words = (str(NODE_DRAINED), *ids, str(NODE_IMAGE_NEEDS / "node"), str(NODE_RUNS))
    done = ssh.run(cluster, node, "sh", "-c", _LOOK, "look", *words, root=True)
    return done.text.splitlines()


def docker_fault(lines: Sequence[str]) -> str | None:
    """Why Docker, which is there, does not tell what runs, in a look; None where it does."""
    found = next((line for line in lines if line.startswith("docker-fault")), None)
    return None if found is None else found.partition(" ")[2] or "it does not answer"


def kept_images(lines: Sequence[str]) -> Iterator[tuple[str, int]]:
    """The runs in a look that images are kept for, and the sizes in bytes; other lines are passed over."""
    for line in lines:
        words = line.split(" ")
        if len(words) == 3 and words[0] == "needs" and RUN_ID.fullmatch(words[1]) and _SIZE.fullmatch(words[2]):
            yield words[1], int(words[2])


@dataclass(frozen=True, slots=True)
class _Work:
    """What keeps nodes from being at rest."""

    why: dict[str, list[str]]
    """By name: what runs or waits there, or who does not tell."""
    possible: bool
    """Whether something runs, or may do so on a machine that answers."""


def _await_rest(cluster: Cluster, nodes: Sequence[Node], say: Say, *, timeout_s: float, ask_engine: bool) -> None:
    """Until the nodes have been at rest for QUIET_S. Raises StillAtWorkError or ShoalError at the deadline."""
    reported: dict[str, list[str]] = {}
    at_rest_since: float | None = None
    # Without a limit of its own: a node that is seen at rest at the deadline is still watched for QUIET_S.
    deadline = time.monotonic() + timeout_s
    for _ in looks(POLL_S):
        seen = _look_at_work(cluster, nodes, ask_engine)
        now = time.monotonic()
        if not seen.why:
            at_rest_since = now if at_rest_since is None else at_rest_since
            if now - at_rest_since >= QUIET_S:
                return
        else:
            at_rest_since = None
            if now > deadline:
                raise _not_at_rest(seen, timeout_s)
            for name, why in seen.why.items():
                if reported.get(name) != why:
                    say(f"{name}: waiting for {', '.join(why)}")
        reported = seen.why


def _not_at_rest(seen: _Work, timeout_s: float) -> ShoalError:
    faults = tuple(Fault(name, ", ".join(why)) for name, why in seen.why.items())
    hint = "type it again to go on waiting; nothing new is started there"
    if seen.possible:
        return StillAtWorkError(f"still at work after {timeout_s:.0f} s", faults=faults, hint=hint)
    return ShoalError(f"nobody can tell after {timeout_s:.0f} s whether work goes on", faults=faults, hint=hint)


def _look_at_work(cluster: Cluster, nodes: Sequence[Node], ask_engine: bool) -> _Work:
    """Containers on the machines, and executions that the engine has in hand.

    Raises what does not mend itself: a host key that is another one, a login or a key of the engine's that is refused.
    """
    why: dict[str, list[str]] = {}
    possible = False
    for name, lines in ssh.on_each(nodes, lambda node: look(cluster, node)).items():
        if isinstance(lines, ssh.SshError) and lines.transient:
            why[name] = [f"an answer ({brief(lines)})"]
        elif isinstance(lines, ShoalError):
            raise lines
        elif (fault := docker_fault(lines)) is not None:
            why[name], possible = [f"Docker there ({fault})"], True
        elif containers := sum(line.startswith("container ") for line in lines):
            why[name], possible = [f"{containers} container{'s' if containers > 1 else ''}"], True
    if ask_engine and secrets.load(cluster.name) is not None:
        try:
            with connect.client_for(cluster) as client:
                for name, jobs in _executions(client, [node.name for node in nodes]).items():
                    why[name], possible = jobs, True
        except EngineSilentError as error:
            for node in nodes:
                why.setdefault(node.name, []).append(f"an answer ({error.message})")
    return _Work(why, possible)


def _executions(client: BacalhauClient, names: Sequence[str]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for job in client.live_jobs():
        try:
            executions = client.job(job.id).executions.items
        except NoSuchJobError:
            continue  # it went meanwhile
        for execution in map(execution_of, executions):
            if execution.node in names and not execution.over:
                found.setdefault(execution.node, []).append(job.name)
    return found


def _each(nodes: Sequence[Node], act: Callable[[Node], object]) -> None:
    answers = ssh.on_each(nodes, act)
    faults = tuple(Fault(name, brief(answer)) for name, answer in answers.items() if isinstance(answer, ShoalError))
    if faults:
        raise ShoalError("not every node could be reached; type it again when they answer", faults=faults)
