"""Which image an unfinished run needs, noted on its nodes and at the site's registry, so that deploys keep it there;
and the image brought back to a node that lost it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import partial

from shoal.cluster.document import Cluster, Node
from shoal.errors import ShoalError
from shoal.jobs.spec import JobSpec, parse
from shoal.paths import NODE_IMAGE_NEEDS
from shoal.run import preflight
from shoal.run.work import Work
from shoal.ssh import client as ssh
from shoal.ssh.failures import brief

CURRENT = "current"
"""Word for the image that the site's last deploy placed, where a run is resumed with another than its own."""
PULL_TIMEOUT_S = 1800
_PINNED = re.compile(r"^(?P<registry>[A-Za-z0-9.:\[\]-]+)/[a-z0-9/._-]+@sha256:[0-9a-f]{64}$")
_NOTE = 'umask 022; mkdir -p "$1" && printf "%s\\n" "$3" >"$1/.$2.part" && mv -f "$1/.$2.part" "$1/$2"'
_PULL = 'docker image inspect "$1" >/dev/null 2>&1 || { docker pull -q "$1" >/dev/null && echo pulled; }'


def note(work: Work, names: Sequence[str], image: str) -> None:
    """Note on the nodes and on the requester that the run needs `image`. A machine that does not answer is reported.

    Only an image by digest can be kept: a tag may stand for another one tomorrow.
    """
    if not _PINNED.fullmatch(image):
        return
    for kind, nodes in (("node", [work.cluster.node(name) for name in names]), ("registry", [work.cluster.requester])):
        answers = ssh.on_each(nodes, partial(_note, work.cluster, kind, work.record.run, image))
        for name, answer in answers.items():
            if isinstance(answer, ShoalError):
                work.note(f"a deploy may remove the image before the run is done: {brief(answer)}", name)


def _note(cluster: Cluster, kind: str, run: str, image: str, node: Node) -> None:
    folder = str(NODE_IMAGE_NEEDS / kind)
    ssh.run(cluster, node, "sh", "-c", _NOTE, "note", folder, run, image, root=True)


def forget(cluster: Cluster, run: str) -> None:
    """The run is whole: the registry need not keep its image any more. Nodes see it by their own manifests.

    A requester that does not answer keeps the note until it is too old.
    """
    note = str(NODE_IMAGE_NEEDS / "registry" / run)
    ssh.on_each([cluster.requester], lambda node: ssh.run(cluster, node, "rm", "-f", note, root=True))


def bring(work: Work, names: Sequence[str], image: str) -> None:
    """Pull the image on nodes that lack it, where it is by digest in the site's own registry; else nothing is done.

    Whether it is there afterwards is asked by the checks before a start, which give the reason where it is not.
    """
    pinned = _PINNED.fullmatch(image)
    if not pinned or pinned["registry"].rpartition(":")[0].strip("[]") != work.cluster.requester.peer_address:
        return
    nodes = [work.cluster.node(name) for name in names]
    answers = ssh.on_each(
        nodes,
        lambda node: ssh.run(
            work.cluster, node, "sh", "-c", _PULL, "pull", image, root=True, check=False, timeout_s=PULL_TIMEOUT_S
        ),
    )
    for name, answer in answers.items():
        if not isinstance(answer, ShoalError) and answer.text == "pulled":
            work.note("brought the run's image from the site's registry", name)


def changed(work: Work, job: JobSpec, image: str) -> JobSpec:
    """The run's job with another image for the nodes that are not done: a reference, or CURRENT.

    Raises UsageError where the nodes that are left do not agree on a current image.
    """
    record = work.record
    if image == CURRENT:
        left = [node for node in work.cluster.nodes if node.name in record.missing]
        survey = preflight.survey(work.cluster, left, run=record.run, weights_sha256=record.weights.sha256)
        image = preflight.common_image(survey.facts)
    document = job.to_document()
    document["Tasks"][0]["Engine"]["Params"]["Image"] = image
    work.note(f"nodes that are not done finish with {image}; the run was begun with {record.image.reference}")
    return parse(document, source="the job with the image given")
