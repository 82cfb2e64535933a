"""What is checked on every node before a run starts anything: engine, image, weights, videos, space and capacity."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from shoal import node_limits, untrusted
from shoal.cluster.document import Cluster, Node
from shoal.errors import Fault, ShoalError, UsageError
from shoal.jobs.spec import JobSpec, parse_bytes, parse_cpu
from shoal.paths import NODE_DRAINED, NODE_RUNS, NODE_STATE, NODE_VIDEOS, NODE_WEIGHTS
from shoal.results.forecast import results_bytes
from shoal.results.record import Outcome
from shoal.run import archive as archives
from shoal.run.archive import Archive
from shoal.ssh import client as ssh
from shoal.ssh.failures import brief
from shoal.untrusted import DamagedDocumentError, figure, whole

MIN_FREE_BYTES = 256 * 1024 * 1024
"""Space for a run's results on a node; below it the run would end half-way."""
SHARE = 0.8
"""How much of the smallest node a job gets by default: the rest is for the machine itself. The engine's own rule."""
DEFAULT_MEMORY_BYTES = 2_000_000_000
"""Enough for YOLOv5s at 640 pixels and one decoded video at a time; less where a node has less."""
IMAGE_NOTE = NODE_STATE / "image.json"
"""Written by the role that places the inference image: {reference, digest}."""
N = TypeVar("N", int, float)
_ARCHES = {"x86_64": "amd64", "aarch64": "arm64"}

# Words a node answers in: one `key value` a line. Nothing is changed.
_LOOK = (
    r"""
if facts=$(docker info --format '{{.NCPU}} {{.MemTotal}}' 2>/dev/null); then echo "docker $facts"
else echo "docker-fault $(docker info 2>&1 >/dev/null | tail -n 1)"; fi
echo "machine $(uname -m)"
"""
    + node_limits.SCRIPT
    + archives.FILMS
    + r"""
if [ -f "$1" ]; then echo "image $(tr -d '\n' <"$1")"; fi
if [ -f "$3" ]; then echo "weights $(sha256sum <"$3" | cut -d ' ' -f 1)"; fi
if [ -e "$5" ]; then echo "begun yes"; fi
if [ -e "$6" ]; then echo "drained yes"; fi
place=$4
while [ ! -d "$place" ]; do place=$(dirname "$place"); done
echo "free $(df -Pk "$place" | awk 'NR == 2 { print $4 }')"
videos=$2
shift 6
since=$1 earlier=$2 moment=$3
shift 3
films "$since" "$earlier" "$moment" "$videos" "$@"
"""
)


@dataclass(frozen=True, slots=True)
class NodeFacts:
    """What a node answered."""

    cpus: float = 0.0
    """What the machine's control groups give to containers, at most what it has; so is the memory."""
    memory_bytes: int = 0
    docker_fault: str | None = None
    arch: str | None = None
    image: str | None = None
    """The inference image by digest, as the node's role noted it."""
    videos: int | None = None
    """Files of the footage asked for under /videos; None where there is no such folder."""
    footage_bytes: int = 0
    """Their size."""
    cameras_without: tuple[str, ...] = ()
    """Cameras asked for of which there is no such file."""
    weights_sha256: str | None = None
    free_bytes: int = 0
    begun: bool = False
    """Whether the run has a folder here already."""
    drained: bool = False
    """Taken out of service with `shoal nodes drain`."""

    @property
    def fit(self) -> bool:
        """Whether the node could take a job if it had the image and the model."""
        return self.docker_fault is None and not self.drained and bool(self.videos)


@dataclass(frozen=True, slots=True)
class Survey:
    """All nodes' answers, and those that gave none."""

    facts: dict[str, NodeFacts] = field(default_factory=dict)
    silent: dict[str, ShoalError] = field(default_factory=dict)

    def without(self, names: Sequence[str]) -> Survey:
        """The answers of the others."""
        return Survey({name: fact for name, fact in self.facts.items() if name not in names}, self.silent)


def survey(
    cluster: Cluster, nodes: Sequence[Node], *, run: str, weights_sha256: str, archive: Archive | None = None
) -> Survey:
    """Ask all nodes at once. Never raises for one node's sake: who did not answer is in `silent`.

    `archive` is the footage that the run is for; None: all that is there.
    """
    asked = (archive or Archive()).look_words()

    def look(node: Node) -> NodeFacts:
        weights = NODE_WEIGHTS / f"{weights_sha256}.onnx"
        places = (IMAGE_NOTE, NODE_VIDEOS, weights, NODE_STATE, NODE_RUNS / run, NODE_DRAINED)
        return _read(ssh.run(cluster, node, "sh", "-c", _LOOK, "look", *map(str, places), *asked, root=True).text)

    answers = ssh.on_each(nodes, look)
    return Survey(
        facts={name: answer for name, answer in answers.items() if isinstance(answer, NodeFacts)},
        silent={name: answer for name, answer in answers.items() if isinstance(answer, ShoalError)},
    )


def common_image(facts: dict[str, NodeFacts]) -> str:
    """The inference image that the nodes agree on. Raises UsageError where they do not, or none has any."""
    noted = {name: fact.image for name, fact in facts.items() if fact.image}
    images = set(noted.values())
    if len(images) == 1:
        return images.pop()
    if not images:
        raise UsageError(
            f"no node has an inference image ({IMAGE_NOTE} is not there)",
            hint="run the site deploy, which places it, or name one with --image",
        )
    raise UsageError(
        "the nodes do not have the same inference image",
        faults=tuple(Fault(name, image) for name, image in noted.items()),
        hint="run the site deploy again, or name one with --image",
    )


def default_resources(facts: dict[str, NodeFacts]) -> tuple[str, str]:
    """CPUs and memory that every one of the nodes can give: 80 % of the smallest."""
    able = [fact for fact in facts.values() if not fact.docker_fault]
    cpus = min((fact.cpus for fact in able), default=1.0)
    memory_bytes = min((fact.memory_bytes for fact in able), default=DEFAULT_MEMORY_BYTES)
    return (
        f"{max(math.floor(cpus * SHARE * 10) / 10, 0.1):.1f}",
        f"{min(DEFAULT_MEMORY_BYTES, int(memory_bytes * SHARE)) // 1_000_000}MB",
    )


def capacity_faults(cpu: str, memory: str, facts: dict[str, NodeFacts]) -> list[Fault]:
    """Nodes that have less than the job asks for, each with the figure."""
    faults = []
    for name, fact in facts.items():
        if fact.docker_fault:
            continue
        if parse_cpu(cpu) > fact.cpus:
            faults.append(Fault(name, f"the job asks for {cpu} CPUs, the node has {fact.cpus:g}"))
        if parse_bytes(memory) > fact.memory_bytes:
            faults.append(Fault(name, f"the job asks for {memory} of memory, the node has {fact.memory_bytes} bytes"))
    return faults


def node_faults(cluster: Cluster, facts: dict[str, NodeFacts], job: JobSpec) -> dict[str, tuple[Outcome, str]]:
    """Per node why it cannot run `job`; nodes that can are left out. Asks the nodes for the image, all at once."""
    image = job.task.engine.params.image
    drained = {name for name, fact in facts.items() if fact.drained}
    facts = {name: fact for name, fact in facts.items() if name not in drained}
    empty = {name for name, fact in facts.items() if fact.videos == 0 and not fact.docker_fault}
    reasons = {name: reason for name, fact in facts.items() if (reason := _unfit(fact, cluster.node(name), job))}
    able = [cluster.node(name) for name in facts if name not in reasons and name not in empty]

    def arch_of_image(node: Node) -> str | None:
        asked = ("docker", "image", "inspect", "--format", "{{.Architecture}}", image)
        done = ssh.run(cluster, node, *asked, root=True, check=False)
        return done.text if done.exit_code == 0 else None

    for name, arch in ssh.on_each(able, arch_of_image).items():
        if isinstance(arch, ShoalError):
            reasons[name] = brief(arch)
        elif arch is None:
            reasons[name] = (
                f"the image {image} is not on the node, and the site's registry does not give it; the site deploy "
                "places its own, with which `shoal resume RUN --image current` finishes a run"
            )
        elif arch != facts[name].arch:
            reasons[name] = f"the image is for {arch}, the node is {facts[name].arch}"
    faults = {name: (Outcome.NOT_RUN, reason) for name, reason in reasons.items()}
    faults |= {name: (Outcome.DRAINED, f"given no run; `shoal nodes add {name}` takes it back") for name in drained}
    archive = archives.of_words(job.task.engine.params.parameters)
    none = f"there is no {f'footage{archive}' if str(archive) else 'file'} under {NODE_VIDEOS}"
    return faults | dict.fromkeys(empty - set(faults), (Outcome.NO_VIDEOS, none))


def is_drained(cluster: Cluster, node: Node) -> bool:
    """Whether the node has the mark of `shoal nodes drain`; not as far as anybody knows where it does not answer."""
    try:
        return ssh.run(cluster, node, "test", "-e", str(NODE_DRAINED), root=True, check=False).exit_code == 0
    except ssh.SshError:
        return False


def forecast_bytes(fact: NodeFacts, job: JobSpec) -> int:
    """How large the results of `job` on a node are going to be, as far as that can be said before."""
    return results_bytes(fact.videos or 0, fact.footage_bytes, job.task.engine.params.parameters)


def _unfit(fact: NodeFacts, node: Node, job: JobSpec) -> str | None:
    if fact.docker_fault is not None:
        return f"docker does not answer: {fact.docker_fault or 'it is not installed'}"
    if fact.videos is None:
        return f"there is no folder {NODE_VIDEOS}"
    if fact.free_bytes < MIN_FREE_BYTES:
        return f"{fact.free_bytes >> 20} MiB are free under {NODE_STATE}, {MIN_FREE_BYTES >> 20} are needed"
    if fact.free_bytes < MIN_FREE_BYTES + (results := forecast_bytes(fact, job)):
        return (
            f"{fact.free_bytes >> 20} MiB are free under {NODE_STATE}; the run's results are forecast at "
            f"{results >> 20} MiB, and {MIN_FREE_BYTES >> 20} stay free (`shoal results prune` removes old runs)"
        )
    if fact.arch and fact.arch != node.arch:
        return f"the cluster document says {node.arch}, the machine is {fact.arch}"
    return None


def _read(text: str) -> NodeFacts:
    """The node's answer. Raises DamagedDocumentError where it is none: a node may say anything."""
    words = dict(line.partition(" ")[::2] for line in text.splitlines() if line)
    cpus, _, memory_bytes = words.get("docker", "0 0").partition(" ")
    limits = node_limits.read(text.splitlines())
    machine = words.get("machine", "")
    films = [_film(line) for line in text.splitlines() if line.startswith("film ")]
    return NodeFacts(
        cpus=_least(figure(cpus, source="the node's number of CPUs"), limits.cpus),
        memory_bytes=_least(whole(memory_bytes or "0", source="the node's memory"), limits.memory_bytes),
        docker_fault=words.get("docker-fault"),
        arch=_ARCHES.get(machine, machine),
        image=_noted_image(words.get("image")),
        videos=sum(files for files, _, _ in films) if films else None,
        footage_bytes=sum(size_bytes for _, size_bytes, _ in films),
        cameras_without=tuple(camera for files, _, camera in films if camera and not files),
        weights_sha256=words.get("weights"),
        free_bytes=whole(words.get("free", "0"), source="the node's free space") * 1024,
        begun="begun" in words,
        drained="drained" in words,
    )


def _film(line: str) -> tuple[int, int, str]:
    """Files, bytes and camera of a line of `archives.FILMS`."""
    _, files, size, camera = [*line.split(" ", 3), "", "", ""][:4]
    source = "the node's word on its footage"
    return whole(files, source=source), whole(size, source=source), camera


def _noted_image(text: str | None) -> str | None:
    """`host:5000/name:tag` and a digest as `host:5000/name@digest`: what a registry's client calls exact."""
    if text is None:
        return None
    try:
        note = untrusted.json_value(text, source=str(IMAGE_NOTE))
        reference, digest = str(note["reference"]), str(note["digest"])
    except (DamagedDocumentError, KeyError, TypeError):
        return None
    name = reference.partition("@")[0]
    head, slash, last = name.rpartition("/")
    return f"{head}{slash}{last.partition(':')[0]}@{digest}"


def _least(has: N, given: N | None) -> N:
    return has if given is None else min(has, given)
