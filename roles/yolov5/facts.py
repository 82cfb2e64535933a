"""Facts of role `yolov5`."""

from __future__ import annotations

import json
import shlex
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from roles.common.facts import Flag, NodeFact, labelled
from roles.common.script import script
from shoal import untrusted
from shoal.untrusted import DamagedDocumentError

FILES = Path(__file__).parent / "files"
MANIFEST_TYPE = "application/vnd.docker.distribution.manifest.v2+json"


def record_in(text: str) -> dict[str, Any]:
    """A JSON object, or an empty one: a damaged record is as good as none and is written anew."""
    try:
        value = untrusted.json_value(text, source="the build record")
    except DamagedDocumentError:
        return {}
    return value if isinstance(value, dict) else {}


class BuildRecord(NodeFact[dict[str, Any]]):
    """A node's record of the image; empty where it has none, or a damaged one."""

    def command(self, path: str) -> str:
        """The file as it is."""
        return f"cat {path} 2>/dev/null || true"

    @staticmethod
    def default() -> dict[str, Any]:
        """There is none."""
        return {}

    def read(self, output: list[str]) -> dict[str, Any]:
        """One JSON document."""
        return record_in("\n".join(output))


@dataclass(frozen=True, slots=True)
class NodeImageFact:
    """What a compute node has of the image."""

    record: dict[str, Any] = field(default_factory=dict)
    digests: tuple[str, ...] = ()
    """Names with digest under which its engine has the image that is asked for."""


class NodeImage(NodeFact[NodeImageFact]):
    """A compute node's record, and under which names its engine has the reference."""

    def command(self, record_path: str, reference: str) -> str:
        """One look at each."""
        return (
            f'echo "record $(cat {record_path} 2>/dev/null)"; echo digests '
            f"$(docker image inspect --format '{{{{json .RepoDigests}}}}' {shlex.quote(reference)} 2>/dev/null)"
        )

    @staticmethod
    def default() -> NodeImageFact:
        """Nothing."""
        return NodeImageFact()

    def read(self, output: list[str]) -> NodeImageFact:
        """Lines `record JSON` and `digests JSON`; without an image the second is empty."""
        found = labelled(output)
        return NodeImageFact(
            record_in(found.get("record", "")), tuple(map(str, json.loads(found.get("digests") or "[]") or ()))
        )


@dataclass(frozen=True, slots=True)
class EngineImageFact:
    """What the requester has of the image, and what the registry says of its tag; empty where there is nothing."""

    record: dict[str, Any] = field(default_factory=dict)
    built_digest: str = ""
    """Of the image that it made of this context, by its list of builds."""
    pushed_digest: str = ""
    """Of the image that its engine pushed under this tag, by the engine."""
    local_id: str = ""
    base_id: str = ""
    published_digest: str = ""
    """Of the tag, by the registry."""


class EngineImage(NodeFact[EngineImageFact]):
    """The image on the requester; see files/engine_image.sh."""

    def command(
        self,
        *,
        record_path: str,
        builds: str,
        context: str,
        tag: str,
        base_tag: str,
        repository: str,
        manifest_url: str,
    ) -> str:
        """One program that reads only."""
        return script(
            FILES / "engine_image.sh",
            RECORD=record_path,
            BUILDS=builds,
            CONTEXT=context,
            TAG=tag,
            BASE_TAG=base_tag,
            REPOSITORY=repository,
            MANIFEST_URL=manifest_url,
            MANIFEST_TYPE=MANIFEST_TYPE,
        )

    @staticmethod
    def default() -> EngineImageFact:
        """Nothing."""
        return EngineImageFact()

    def read(self, output: list[str]) -> EngineImageFact:
        """Lines `key value`."""
        found = labelled(output)
        return EngineImageFact(
            record_in(found.get("record", "")),
            built_digest=found.get("built", ""),
            pushed_digest=found.get("pushed", ""),
            local_id=found.get("local", ""),
            base_id=found.get("base", ""),
            published_digest=found.get("digest", ""),
        )


@dataclass(frozen=True, slots=True)
class ImageRemainsFact:
    """What of the image a teardown finds."""

    files: bool = False
    """Records, or what a build left."""
    engine: bool = False
    """Whether there is an engine that answers."""
    images: tuple[str, ...] = ()
    """Their ids."""


class ImageRemains(NodeFact[ImageRemainsFact]):
    """What of the image is left on a machine; see files/image_remains.sh."""

    def command(self, files: tuple[str, ...], label: str, references: tuple[str, ...]) -> str:
        """One program that reads only."""
        return script(FILES / "image_remains.sh", FILES="\n".join(files), LABEL=label, REFERENCES="\n".join(references))

    @staticmethod
    def default() -> ImageRemainsFact:
        """Nothing."""
        return ImageRemainsFact()

    def read(self, output: list[str]) -> ImageRemainsFact:
        """Lines `key value`."""
        found = labelled(output)
        return ImageRemainsFact("files" in found, "engine" in found, tuple(found.get("images", "").split()))


class Models(NodeFact[frozenset[tuple[str, str, str]]]):
    """SHA-256, mode and owner of those of the files that are there."""

    def command(self, paths: tuple[str, ...]) -> str:
        """One look at each."""
        return (
            f"for f in {shlex.join(paths)}; do "
            '[ ! -f "$f" ] || echo "$(sha256sum < "$f" | cut -c1-64) $(stat -c \'%a %U\' "$f")"; done'
        )

    @staticmethod
    def default() -> frozenset[tuple[str, str, str]]:
        """None is there."""
        return frozenset()

    def read(self, output: list[str]) -> frozenset[tuple[str, str, str]]:
        """Lines of three words."""
        rows = (line.split(" ") for line in output)
        return frozenset((sha256, mode, owner) for sha256, mode, owner in rows)


class AnyModel(Flag):
    """Whether the folder holds a file that is named like a model of ours."""

    def command(self, folder: str, find: str) -> str:
        """`find` is the command that lists them all; the first will do."""
        return f"[ ! -d {shlex.quote(folder)} ] || {find} -print -quit"
