"""Operations of role `yolov5` for the image: made once on the requester, pulled by digest on compute nodes."""

from __future__ import annotations

import hashlib
import io
import json
from dataclasses import dataclass
from typing import Any, Self

from gevent.lock import BoundedSemaphore  # type: ignore[import-untyped]
from pyinfra import logger
from pyinfra.api.exceptions import ConnectError
from pyinfra.api.operation import operation
from pyinfra.api.state import StateStage
from pyinfra.context import host, state

from roles.common.addresses import authority
from roles.common.notes import will
from roles.common.operations import INCOMING, Commands, failure, packages_program, upload
from roles.common.script import script
from roles.yolov5 import context
from roles.yolov5.defaults import Yolov5
from roles.yolov5.facts import FILES, MANIFEST_TYPE, BuildRecord, EngineImage, ImageRemains, NodeImage
from roles.yolov5.follow import followed
from shoal.cluster.document import Cluster
from shoal.files import sha256_file
from shoal.paths import NODE_IMAGE_NEEDS, NODE_RUNS, NODE_STATE

RECORD = str(NODE_STATE / "image.json")
"""On every node: {"context", "digest", "reference", "tag"}; `reference` is pinned by the digest."""
BUILDS = str(NODE_STATE / "builds")
"""On the requester: a line `CONTEXT DIGEST` for each image that it made. What it does not name is not ours, whoever
says so: the tag is the hash of a public build context, so anybody can foresee it."""
BASE = "shoal/detector-base"
STAGES = "shoal/detector-stage"
"""Names of what a build leaves in the requester's engine, and `remove` takes away."""
LABEL = "shoal.build=detector"
_CONNECTING = BoundedSemaphore()


@dataclass(frozen=True)
class Target:
    """The image as the site's registry names it."""

    requester: str
    """Name of the host that has the registry."""
    authority: str
    """Where nodes pull from: it takes nothing."""
    write_authority: str
    """Where the requester pushes: its own loopback."""
    repository: str
    context: str
    """Hash of the build context: other content, other tag."""

    @classmethod
    def of(cls, yolov5: Yolov5, cluster: Cluster) -> Self:
        """The target for this checkout and this cluster."""
        return cls(
            requester=cluster.requester.name,
            authority=authority(cluster.requester.peer_address, yolov5.yolov5_registry_port),
            write_authority=authority("127.0.0.1", yolov5.yolov5_registry_write_port),
            repository=yolov5.yolov5_repository,
            context=context.context_hash(yolov5.yolov5_context),
        )

    @property
    def version(self) -> str:
        """The tag's last part."""
        return self.context[:16]

    @property
    def tag(self) -> str:
        """Full name with tag, by which the requester knows and pushes it."""
        return f"{self.write_authority}/{self.repository}:{self.version}"

    @property
    def base_tag(self) -> str:
        """Name of the base inside the requester's engine."""
        return f"{BASE}:current"

    def reference(self, digest: str) -> str:
        """Full name pinned by digest, by which nodes pull it."""
        return f"{self.authority}/{self.repository}@{digest}"

    def manifest_url(self) -> str:
        """Where the registry gives the digest of the tag."""
        return f"http://{self.write_authority}/v2/{self.repository}/manifests/{self.version}"


@dataclass(frozen=True)
class RequesterImage:
    """What the requester has of the image, and what the registry says of its tag."""

    record: dict[str, Any]
    local_id: str
    base_id: str
    own_digest: str
    """Of the image that this requester made of this context, by its own record; empty: it made none."""
    published_digest: str

    def done(self, target: Target) -> bool:
        """The registry has it under the digest on record."""
        digest = self.published_digest
        return bool(digest) and digest == self.own_digest and self.record == record_of(target, digest)

    def foreign(self, target: Target) -> str | None:
        """Why what the registry has under the tag is not ours; None where it is ours, or where there is nothing."""
        if not self.published_digest or self.published_digest == self.own_digest:
            return None
        own = f"this requester made {self.own_digest}" if self.own_digest else "this requester has no record of it"
        return (
            f"the site's registry has {self.published_digest} as {target.repository}:{target.version}, and {own}: "
            "somebody else wrote to it, or the requester's record was lost. Nothing was pulled or pushed. Find out who "
            "can log in to the requester; then --data yolov5_overwrite=true puts the requester's own image in its place"
        )


def record_of(target: Target, digest: str) -> dict[str, str]:
    """The content of the record."""
    return {
        "context": target.context,
        "digest": digest,
        "reference": target.reference(digest),
        "tag": target.tag,
    }


@operation()
def base(yolov5: Yolov5, target: Target) -> Commands:
    """The base image in the requester's engine, if a build is ahead."""
    there = _requester_image(target, overwrite=yolov5.yolov5_overwrite)
    if why := there.foreign(target):
        yield failure(why)
        return
    if there.published_digest or there.local_id or _source(yolov5) == "tarball":
        host.noop("no build is needed")
        return
    if there.base_id:
        host.noop("the base is there")
        return
    will(f"make the base of the inference image in the engine, in {NODE_STATE / 'build'}")
    archive = yolov5.yolov5_base_tarball
    if archive is not None and yolov5.yolov5_base_source in {"auto", "tarball"}:
        landed = str(INCOMING / "base.tar")
        yield from upload(str(archive), sha256_file(archive), landed)
        yield _script("base_from_archive.sh", ARCHIVE=landed, TAG=target.base_tag, LABEL=LABEL)
        return
    yield followed(
        _script(
            "base.sh",
            TAG=target.base_tag,
            LABEL=LABEL,
            SOURCE=yolov5.yolov5_base_source,
            IMAGE=yolov5.yolov5_base_image,
            PROBE_TIMEOUT_S=str(yolov5.yolov5_registry_probe_timeout_s),
            PACKAGES=",".join(yolov5.yolov5_base_packages),
            INSTALL=packages_program(("debootstrap",), "yolov5"),
            FOLDER=str(NODE_STATE / "build"),
        )
    )


@operation()
def image(yolov5: Yolov5, target: Target) -> Commands:
    """The inference image in the requester's engine, unless the registry has ours already."""
    there = _requester_image(target, overwrite=yolov5.yolov5_overwrite)
    if why := there.foreign(target):
        yield failure(why)
        return
    if there.published_digest or there.local_id:
        host.noop("the image is there")
        return
    source = _source(yolov5)
    will(f"{'load' if source == 'tarball' else 'make'} the inference image {target.tag} in the engine")
    if source == "tarball" and yolov5.yolov5_image_tarball is not None:
        landed = str(INCOMING / "image.tar")
        yield from upload(str(yolov5.yolov5_image_tarball), sha256_file(yolov5.yolov5_image_tarball), landed)
        yield _script("image_from_archive.sh", ARCHIVE=landed, TAG=target.tag)
        return
    packed = context.archive(yolov5.yolov5_context, dict([context.pip_wheel()]))
    landed = str(INCOMING / "context.tar.gz")
    yield from upload(io.BytesIO(packed), hashlib.sha256(packed).hexdigest(), landed)
    yield followed(
        _script(
            "image.sh",
            ARCHIVE=landed,
            TAG=target.tag,
            BASE=target.base_tag,
            STAGES=STAGES,
            SOURCE=source,
            IMAGE=yolov5.yolov5_image,
            PROBE_TIMEOUT_S=str(yolov5.yolov5_registry_probe_timeout_s),
            ORIGIN=yolov5.yolov5_origin,
            NETWORK=yolov5.yolov5_build_network,
            SETTINGS=context.SETTINGS_FOLDER,
            FOLDER=str(NODE_STATE / "build"),
        )
    )


@operation()
def published(yolov5: Yolov5, target: Target) -> Commands:
    """The image in the site's registry, and its digest on record: the one that this requester's own engine gives."""
    there = _requester_image(target, overwrite=yolov5.yolov5_overwrite)
    if why := there.foreign(target):
        yield failure(why)
        return
    if there.done(target):
        host.noop("the registry has it")
        return
    will(f"push {target.tag} into the site's registry; images of earlier checkouts that no run needs go")
    template = json.dumps(record_of(target, "@DIGEST@"), sort_keys=True)
    yield _cleaning(
        "publish.sh",
        yolov5,
        NEEDS=str(NODE_IMAGE_NEEDS / "registry"),
        RUNS="",  # what is done here may not be done on other nodes; the run itself ends this need
        TAG=target.tag,
        URL=target.manifest_url(),
        MANIFEST_TYPE=MANIFEST_TYPE,
        RECORD=RECORD,
        TEMPLATE=template,
        LABEL=LABEL,
        CONTEXT=target.context,
        BUILDS=BUILDS,
        REPOSITORY=target.repository,
        PUBLISHED=there.published_digest,
        BEFORE=str(there.record.get("tag", "")).rpartition(":")[2],
    )


@operation()
def pulled(yolov5: Yolov5, target: Target) -> Commands:
    """The image on a compute node, by the digest that the requester has on record; RepoDigests are asserted."""
    wanted = _of_requester(target)
    if wanted.get("context") != target.context:
        will("pull the inference image, once the requester has it")
        why = f"{target.requester} has no image of this checkout in its registry; deploy the site there first"
        # Before anything was run this is the normal state of a first deploy, and counts as a change to come.
        yield failure(why) if state.current_stage >= StateStage.Execute else "true"
        return
    reference = str(wanted["reference"])
    there = host.get_fact(NodeImage, record_path=RECORD, reference=reference)
    if reference in there.digests and there.record == wanted:
        host.noop("the image is there")
        return
    will(f"pull the inference image {reference}")
    before = there.record.get("reference", "")
    yield _cleaning(
        "pull.sh",
        yolov5,
        NEEDS=str(NODE_IMAGE_NEEDS / "node"),
        RUNS=str(NODE_RUNS),
        REPOSITORY=target.repository,
        REFERENCE=reference,
        RECORD=RECORD,
        TEXT=json.dumps(wanted, sort_keys=True),
        BEFORE=str(before) if before != reference else "",
    )


@operation()
def image_absent(target: Target, record: str) -> Commands:
    """Every image of this repository in the node's engine, the base of the build, and the record."""
    files = (record, BUILDS, str(NODE_STATE / "build"))
    there = host.get_fact(ImageRemains, files=files, label=LABEL, references=(f"*/{target.repository}", BASE, STAGES))
    if not there.images and not there.files:
        return
    will("remove the inference image from the engine, with what its build left")
    if there.engine:
        yield _script("remove.sh", REPOSITORY=target.repository, STAGES=STAGES, BASE=BASE, LABEL=LABEL, RECORD=record)
    if there.files:
        yield f"rm -rf {' '.join(files)} {NODE_IMAGE_NEEDS}"


def _of_requester(target: Target) -> dict[str, Any]:
    """The requester's record, read at this moment: in a first run the digest comes into being in the same run."""
    requester = state.inventory.get_host(target.requester)
    if requester in state.failed_hosts:
        return {}
    # With `--limit` the requester is not connected yet, and two hosts connecting it at once would cut each other off.
    with _CONNECTING:
        try:
            return requester.get_fact(BuildRecord, path=RECORD)
        except ConnectError as error:
            host.log_styled(f"{target.requester}: {error}", fg="red", log_func=logger.error)
            return {}


def _source(yolov5: Yolov5) -> str:
    if yolov5.yolov5_image_source == "auto" and yolov5.yolov5_image_tarball is not None:
        return "tarball"
    return yolov5.yolov5_image_source


def _requester_image(target: Target, *, overwrite: bool) -> RequesterImage:
    """What is there; with `overwrite` a foreign image counts as none, so that our own is pushed over it."""
    there = host.get_fact(
        EngineImage,
        record_path=RECORD,
        builds=BUILDS,
        context=target.context,
        tag=target.tag,
        base_tag=target.base_tag,
        repository=f"{target.write_authority}/{target.repository}",
        manifest_url=target.manifest_url(),
    )
    recorded = str(there.record.get("digest", "")) if there.record.get("context") == target.context else ""
    # The engine's word for an image that it pushed itself is as good as the record, which is written after it.
    own = there.built_digest or recorded or there.pushed_digest
    return RequesterImage(
        record=there.record,
        local_id=there.local_id,
        base_id=there.base_id,
        own_digest=own,
        published_digest="" if overwrite and there.published_digest != own else there.published_digest,
    )


def _cleaning(name: str, yolov5: Yolov5, **values: str) -> str:
    """A script that removes earlier images, but for those that unfinished runs need."""
    limits = {
        "KEEP_DAYS": str(yolov5.yolov5_keep_days),
        "KEEP_BYTES": str(yolov5.yolov5_keep_bytes),
    }
    needs = (FILES / "needs.sh").read_text(encoding="utf-8")
    return f"{needs}\n{_script(name, **limits, **values)}"


def _script(name: str, **values: str) -> str:
    """One of the role's shell scripts, with its variables set in front."""
    return script(FILES / name, **values)
