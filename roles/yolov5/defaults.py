"""Every knob of role `yolov5`."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from shoal.errors import Fault
from shoal.paths import repository

SHA256 = re.compile(r"[0-9a-f]{64}")
PINNED = re.compile(r"[A-Za-z0-9][A-Za-z0-9./:_-]*@sha256:[0-9a-f]{64}")


@dataclass(frozen=True)
class WeightsFile:
    """One model that is to be on every compute node."""

    path: Path
    """The ONNX file on the control machine."""
    sha256: str
    name: str
    licence: str = "unknown"


@dataclass(frozen=True)
class Yolov5:
    """Set as host or group data under the same names."""

    yolov5_image_source: Literal["auto", "tarball", "pull", "build"] = "auto"
    """Where the inference image comes from. `auto`: the archive if one is given, else the published image if one is
    named and a registry has it, else a build on the requester."""
    yolov5_image: str = ""
    """Published image, as `registry/name@sha256:...`: a tag can mean another image tomorrow, and is refused. Empty:
    there is none, nothing is pulled."""
    yolov5_image_tarball: Path | None = None
    """The finished image as `docker save` writes it, on the control machine."""
    yolov5_context: Path = repository() / "detector"
    """Build context on the control machine; its content decides whether a new image is needed."""
    yolov5_base_image: str = (
        "python:3.11-slim-bookworm@sha256:528257d48c1da0dcecc2e725d1ae34498d60c965f1241e39cd6a85a8859bdf84"
    )
    """What the image is built from where a registry answers; by digest, so that the same is built next month."""
    yolov5_base_source: Literal["auto", "tarball", "pull", "debootstrap"] = "auto"
    """Where the base comes from. `auto`: the archive if one is given, else the registry if it answers, else made on
    the requester from its own apt sources."""
    yolov5_base_tarball: Path | None = None
    """A Debian root with python3, as an archive on the control machine: of `docker save`, or of the bare files."""
    yolov5_base_packages: tuple[str, ...] = ("python3", "ca-certificates")
    """Packages put into a base that is made here; pip is brought along."""
    yolov5_repository: str = "shoal/detector"
    """Name of the image in the site's registry."""
    yolov5_registry_port: int = 5000
    """Port of the site's registry on the requester, where nodes pull from."""
    yolov5_registry_write_port: int = 5001
    """Its port on the requester's loopback, where the image is pushed."""
    yolov5_overwrite: bool = False
    """Push our own image over what the registry has under its tag although this requester has no record of making that.
    Asked for by hand, once the reason is known: another image there is somebody else's word."""
    yolov5_registry_probe_timeout_s: int = 8
    """How long a public registry may take to answer before the next source is tried."""
    yolov5_build_network: str = "host"
    """Network of the build's steps. `host`: the requester's own name servers and routes hold."""
    yolov5_origin: str = ""
    """Address of the sources, for the built image's label. Empty: none is named."""
    yolov5_build_timeout_s: int = 1800
    """How long building or pulling the image may take before the deploy gives up."""
    yolov5_keep_days: int = 30
    """How long an image is kept for a run that is not finished, on its nodes and in the registry, counted from when the
    run was last given to a node."""
    yolov5_keep_bytes: int = 4_000_000_000
    """Most space for images of unfinished runs, on a node and in the registry; the latest needs come first."""
    yolov5_state_bytes: int = 20_000_000_000
    """Most that a run's folder may hold on a compute node, and never more than half of its file system: the container
    of a run that is over it is ended. The sample clips' results take 1.3 MB."""
    yolov5_weights: tuple[WeightsFile, ...] = ()
    """Models to place on compute nodes, set from the site document."""

    def faults(self) -> list[Fault]:
        """What no single field shows; local files are checked here, before any change."""
        found = []
        if self.yolov5_image_source == "tarball" and self.yolov5_image_tarball is None:
            found.append(Fault("yolov5_image_tarball", "is needed with yolov5_image_source tarball"))
        if self.yolov5_image_source == "pull" and not self.yolov5_image:
            found.append(Fault("yolov5_image", "is needed with yolov5_image_source pull"))
        if self.yolov5_image and not PINNED.fullmatch(self.yolov5_image):
            found.append(
                Fault("yolov5_image", f"is not pinned by a digest, name@sha256:... (found {self.yolov5_image!r})")
            )
        if self.yolov5_base_source == "tarball" and self.yolov5_base_tarball is None:
            found.append(Fault("yolov5_base_tarball", "is needed with yolov5_base_source tarball"))
        for field in ("yolov5_image_tarball", "yolov5_base_tarball"):
            path: Path | None = getattr(self, field)
            if path is not None and not path.is_file():
                found.append(Fault(field, f"there is no file {path}"))
        if not (self.yolov5_context / "Dockerfile").is_file():
            found.append(Fault("yolov5_context", f"there is no Dockerfile in {self.yolov5_context}"))
        for index, weights in enumerate(self.yolov5_weights):
            where = f"yolov5_weights[{index}]"
            if not SHA256.fullmatch(weights.sha256):
                found.append(Fault(where, "its sha256 is not 64 hex digits"))
            if not weights.path.is_file():
                found.append(Fault(where, f"there is no file {weights.path}; run `shoal site prepare` again"))
        for field, least in (("yolov5_keep_days", 0), ("yolov5_keep_bytes", 0), ("yolov5_state_bytes", 1_000_000)):
            if getattr(self, field) < least:
                found.append(Fault(field, f"must be {least} at least"))
        return found
