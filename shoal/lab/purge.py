"""What `down --purge` takes away beyond the lab itself: images, the lab's own engine with its packages, the cache."""

from __future__ import annotations

from dataclasses import dataclass

from docker.errors import APIError, ImageNotFound

from shoal.lab import base_image, engine_setup, image_cache, mounts, node_image, private_engine, state
from shoal.lab.client import Engine, plain_errors
from shoal.lab.names import IMAGE_LABEL
from shoal.telling import Say, stage

HTTP_CONFLICT = 409


@dataclass(frozen=True, slots=True)
class Proof:
    """One thing that was looked for after the removal."""

    what: str
    where: str
    left: tuple[str, ...] = ()
    """What was found; empty is as it should be."""


def purge(engine: Engine | None, name: str, kept: list[str], *, keep_cache: bool, say: Say) -> list[Proof]:
    """Take it away, and give what was looked for afterwards; `kept` gets what other labs still need."""
    proofs = []
    if engine is not None:
        proofs.append(_images(engine, kept, say))
    others = [lab for lab in state.names() if lab != name]
    if private_engine.folder().exists() and others:
        kept.append(f"the lab's own engine, which lab {', '.join(others)} may use")
    elif private_engine.leftovers():
        proofs += _engine(say)
    if not keep_cache:
        folder = image_cache.folder()
        if folder.exists():
            with stage(say, f"removing {folder}", "cache removed"):
                mounts.remove_tree(folder)
        proofs.append(Proof("cached images", str(folder), (str(folder),) if folder.exists() else ()))
    return proofs


def _engine(say: Say) -> list[Proof]:
    with stage(say, "removing the lab's own engine", "engine removed"):
        packages = engine_setup.remove(say)
    return [
        Proof("engine", str(private_engine.folder()), tuple(private_engine.leftovers())),
        Proof("packages", "dpkg", tuple(engine_setup.still_installed(packages))),
    ]


def _images(engine: Engine, kept: list[str], say: Say) -> Proof:
    left = []
    with plain_errors("removing the lab's images"):
        node_image.remove_builder(engine)
        # The base last: the node image is built on it.
        for tag in _ours(engine):
            try:
                engine.client.images.remove(tag)
                say(f"lab: removed image {tag}")
            except ImageNotFound:
                continue
            except APIError as error:
                if error.status_code != HTTP_CONFLICT:
                    raise
                kept.append(f"image {tag}, which containers of another lab use")
        wanted = {entry.split()[1].rstrip(",") for entry in kept if entry.startswith("image ")}
        left = [tag for tag in _ours(engine) if tag not in wanted]
    return Proof("images", engine.url, tuple(left))


def _ours(engine: Engine) -> list[str]:
    """Names of the lab's images, and ids of those that lost theirs to a rebuild while nodes ran from them."""
    nameless = engine.client.images.list(filters={"label": f"{IMAGE_LABEL}=node", "dangling": True})
    named = [*_tags(engine, node_image.REPOSITORY), *_tags(engine, base_image.REPOSITORY)]
    return [*(str(image.id) for image in nameless), *named]


def _tags(engine: Engine, repository: str) -> list[str]:
    images = engine.client.images.list(name=repository)
    return sorted({tag for image in images for tag in image.tags if tag.startswith(f"{repository}:")})
