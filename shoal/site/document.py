"""The site document: which clips, models and images a deploy puts on a cluster's nodes.

Written on the control machine by `shoal site prepare`, read by the inventories; local paths and hashes, no secret.
"""

from __future__ import annotations

import platform
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from shoal.cluster.document import Cluster
from shoal.cluster.kept import read_kept
from shoal.errors import UsageError
from shoal.files import write_atomic
from shoal.paths import named, state_dir
from shoal.site.event_rules import EventRules
from shoal.site.outbox import SiteOutbox, checked
from shoal.site.watch import SiteWatch
from shoal.telling import Say, quiet
from shoal.untrusted import Bounds

if TYPE_CHECKING:
    from shoal.site.videos import Clip

BOUNDS = Bounds(size_bytes=64 << 20, marks=2_000_000)
"""Of the document: hundreds of thousands of clips."""
Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
PinnedImage = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9./:_-]*@sha256:[0-9a-f]{64}$")]


class _Document(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class SiteVideo(_Document):
    """One clip for one node."""

    name: str = Field(min_length=1, description="Path under the videos folder.")
    path: Path = Field(description="The file on the control machine.")
    sha256: Sha256
    size_bytes: Annotated[int, Field(ge=0)]


class SiteWeights(_Document):
    """One model for every compute node."""

    path: Path
    sha256: Sha256
    name: str
    licence: str = "unknown"


class SiteImage(_Document):
    """Archives on the control machine that save the requester a download or a build."""

    base_tarball: Path | None = None
    image_tarball: Path | None = None


class SiteJob(_Document):
    """A kind of job that nodes take besides the site's own image with its own entry point."""

    image: PinnedImage | None = Field(None, description="Pinned by its digest. Absent: the site's own image.")
    entrypoint: tuple[str, ...] = Field((), description="Word by word. Empty: the image's own.")
    variables: tuple[str, ...] = Field((), description="Names of the environment's variables that it may set.")
    working_directory: str = Field("", description="Empty: the image's own.")


class SiteDocument(_Document):
    """What is to be on the nodes of one cluster."""

    version: Literal[1] = 1
    cluster: str
    videos: dict[str, tuple[SiteVideo, ...]] = Field(default_factory=dict)
    """Clips by node name."""
    weights: tuple[SiteWeights, ...] = ()
    image: SiteImage = Field(default_factory=SiteImage)
    events: EventRules | None = None
    """Which objects make an event, on all nodes. Absent: the detector's defaults."""
    jobs: tuple[SiteJob, ...] = ()
    """Placed on every compute node by the deploy, and held to there: whoever commands the engine cannot add to it."""
    outbox: SiteOutbox | None = None
    """Where events and masked clips are shipped to; None: nothing leaves by itself."""
    watch: SiteWatch | None = None
    """How cameras are watched; None: they are not."""


def document_path(cluster: str) -> Path:
    """Where the document of a cluster lies. `SHOAL_SITE` overrides."""
    return named("SHOAL_SITE") or state_dir() / "sites" / f"{cluster}.json"


def load(cluster: str) -> SiteDocument | None:
    """The document of a cluster, None where none was prepared. Raises UsageError where it is damaged or another's."""
    path = document_path(cluster)
    hint = "write it again with `shoal site prepare`"
    document = read_kept(
        path, SiteDocument, source=f"the site document {path}", valid="a valid site document", hint=hint, bounds=BOUNDS
    )
    if document is not None and document.cluster != cluster:
        raise UsageError(f"{path} belongs to cluster {document.cluster!r}, not to {cluster!r}", hint=hint)
    return document


def save(document: SiteDocument) -> Path:
    """Write the document atomically and say where."""
    path = document_path(document.cluster)
    write_atomic(path, document.model_dump_json(indent=2, exclude_none=True) + "\n")
    return path


def prepare(
    cluster: Cluster,
    videos: Path | None = None,
    weights: Path | None = None,
    *,
    with_videos: bool = True,
    events: EventRules | None = None,
    say: Say = quiet,
) -> SiteDocument:
    """Decide which clip goes to which compute node and which model runs, and save the document.

    Without `videos` the sample clips are made, without `weights` the standard model is fetched and converted; both
    come from the cache where they are there already. Without `with_videos` none are sent: the nodes have their own.
    Raises UsageError and ShoalError as those do.
    """
    # Heavy modules (decoder, model format), and the inventories read this module for its document alone.
    from shoal.site import sample_clips as samples  # noqa: PLC0415
    from shoal.site import videos as video_files  # noqa: PLC0415
    from shoal.site import weights as weights_files  # noqa: PLC0415

    clips: Sequence[Clip] = ()
    if with_videos:
        clips = samples.sample_clips(say=say) if videos is None else video_files.from_directory(videos, say=say)
    before = load(cluster.name)
    spread = video_files.assign(clips, [node.name for node in cluster.compute])
    model = weights_files.yolov5s(say=say) if weights is None else weights_files.from_file(weights)
    document = SiteDocument(
        cluster=cluster.name,
        videos={
            node: tuple(
                SiteVideo(name=clip.name, path=clip.path, sha256=clip.sha256, size_bytes=clip.size_bytes)
                for clip in share
            )
            for node, share in spread.items()
        },
        weights=(SiteWeights(path=model.path, sha256=model.sha256, name=model.name, licence=model.licence),),
        image=SiteImage(base_tarball=_base_tarball(cluster)),
        # Like the jobs, rules stay until others are given.
        events=events or (before.events if before else None),
        jobs=before.jobs if before else (),
        outbox=before.outbox if before else None,
        watch=before.watch if before else None,
    )
    save(document)
    return document


def allow(cluster: str, job: SiteJob) -> SiteDocument:
    """Add a kind of job to the document; the next deploy places it. Raises UsageError where there is none."""
    document = _prepared(cluster)
    jobs = document.jobs if job in document.jobs else (*document.jobs, job)
    return _with_jobs(document, jobs)


def allow_none(cluster: str) -> SiteDocument:
    """Take every kind of job but the site's own out of the document. Raises UsageError where there is none."""
    return _with_jobs(_prepared(cluster), ())


def set_outbox(cluster: str, outbox: SiteOutbox | None) -> SiteDocument:
    """Write where events are shipped to; the next deploy places it on the nodes. Raises UsageError."""
    document = _prepared(cluster)
    changed = document.model_copy(update={"outbox": checked(outbox) if outbox else None})
    save(changed)
    return changed


def set_watch(cluster: str, watch: SiteWatch | None) -> SiteDocument:
    """Write whether cameras are watched; the next deploy places it on the nodes. Raises UsageError."""
    document = _prepared(cluster)
    if watch is not None and not document.weights:
        raise UsageError("the site has no model to watch with", hint="run `shoal site prepare` again")
    changed = document.model_copy(update={"watch": watch})
    save(changed)
    return changed


def _prepared(cluster: str) -> SiteDocument:
    if (document := load(cluster)) is None:
        raise UsageError(f"there is no site document for cluster {cluster!r}", hint="run `shoal site prepare` first")
    return document


def _with_jobs(document: SiteDocument, jobs: tuple[SiteJob, ...]) -> SiteDocument:
    changed = document.model_copy(update={"jobs": jobs})
    save(changed)
    return changed


def _base_tarball(cluster: Cluster) -> Path | None:
    """The lab's own base, if it was bootstrapped here: the image can stand on it, nothing is fetched twice."""
    machine = {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine())
    if cluster.substrate != "lab" or cluster.requester.arch != machine:
        return None
    from shoal.lab import node_image  # noqa: PLC0415 - the engine's client, for labs alone

    archive = node_image.base_archive()
    return archive if archive.is_file() else None
