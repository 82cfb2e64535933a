"""What of the catalogue is in the cache: fetched artefacts and the files made from them, as one list."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from shoal import artifacts
from shoal.artifacts import Say, State, clients, load_catalogue, quiet
from shoal.engines.bacalhau import release
from shoal.errors import UsageError
from shoal.site import sample_clips as samples
from shoal.site import weights

ENGINE = "bacalhau"


@dataclass(frozen=True, slots=True)
class Holding:
    """One file of the catalogue and its state in the cache."""

    name: str
    kind: Literal["fetched", "made", "given"]
    state: State
    origin: str
    """The package it comes from, or the artefact it is made from."""
    version: str
    size_bytes: int
    licence: str
    purpose: str
    sha256: str
    """As the catalogue names it."""
    path: Path
    """Where it lies, or will."""
    note: str = ""


def holdings() -> list[Holding]:
    """Every file of the catalogue, hashed if it is there: artefacts first, then what is made from them.

    The engine's program has no hash of its publisher's to stand in the catalogue; it is listed where there is one.
    """
    return [*_fetched(), *_made(), *_engine()]


def _engine() -> list[Holding]:
    return [
        Holding(
            ENGINE if binary.arch == release.this_machine() else f"{ENGINE}/{binary.arch}",
            "fetched" if binary.origin == "release" else "given",
            State.CACHED if release.cached(binary.arch) else State.DAMAGED,
            "signed release" if binary.origin == "release" else "given by hand",
            binary.version,
            binary.size_bytes,
            "Apache-2.0 (Bacalhau)",
            f"The engine's program for {binary.arch}",
            binary.sha256,
            binary.path,
        )
        for arch in release.ARCHITECTURES
        if (binary := release.noted(arch)) is not None
    ]


def _fetched() -> list[Holding]:
    found = []
    for name, artifact in load_catalogue().artifact.items():
        for arch in artifact.sha256:
            found.append(
                Holding(
                    name if arch == "any" else f"{name} ({arch})",
                    "fetched",
                    artifacts.state(artifact, arch),
                    " ".join(clients.origin(artifact)),
                    artifact.version,
                    artifact.size_bytes[arch],
                    artifact.licence,
                    artifact.purpose,
                    artifact.sha256[arch],
                    artifacts.kept_path(artifact, arch),
                )
            )
    return found


def _made() -> list[Holding]:
    catalogue = load_catalogue()
    states = {weights.YOLOV5S_FILE: weights.yolov5s_state(), **samples.clip_states()}
    purposes = {recipe.name: recipe.description for recipe in samples.recipes()}
    folder = samples.clips_folder()
    found = []
    for name, derived in catalogue.derived.items():
        source = catalogue.get(derived.made_from)
        state, sha256 = states[name]
        found.append(
            Holding(
                name,
                "made",
                state,
                derived.made_from,
                source.version,
                derived.size_bytes,
                source.licence,
                purposes.get(name, "YOLOv5s as the detector runs it, in ONNX"),
                derived.sha256,
                weights.yolov5s_path() if name == weights.YOLOV5S_FILE else folder / name,
                "" if sha256 in {None, derived.sha256} else f"this machine made other bytes: {sha256}",
            )
        )
    return found


def bring(names: Iterable[str], *, say: Say = quiet) -> None:
    """Fetch the named artefacts and make the named files; one clip brings all of them.

    Raises UsageError naming every unknown name before anything is fetched, ShoalError as `artifacts.resolve` does.
    """
    catalogue, wanted = load_catalogue(), list(dict.fromkeys(names))
    engines = {ENGINE: release.this_machine(), **{f"{ENGINE}/{arch}": arch for arch in release.ARCHITECTURES}}
    known = [*catalogue.artifact, *catalogue.derived, *engines]
    if unknown := [name for name in wanted if name not in known]:
        raise UsageError(f"there is no artefact {', '.join(map(repr, unknown))}", hint=f"known: {', '.join(known)}")
    fetched = [name for name in wanted if name in catalogue.artifact]
    for arch in dict.fromkeys(arch for name in fetched for arch in catalogue.get(name).sha256):
        artifacts.resolve_all((name for name in fetched if arch in catalogue.get(name).sha256), arch=arch, say=say)
    if weights.YOLOV5S_FILE in wanted:
        weights.yolov5s(say=say)
    if any(name in catalogue.derived and name != weights.YOLOV5S_FILE for name in wanted):
        samples.sample_clips(say=say)
    for name in [name for name in wanted if name in engines]:
        release.resolve(engines[name], say=say)
