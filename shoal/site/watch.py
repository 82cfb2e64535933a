"""How a site's cameras are watched: what `shoal watch on` writes into the site document, and the role's knobs."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from shoal.cluster.cameras import watched_folders
from shoal.cluster.document import Node


class SiteWatch(BaseModel):
    """What the watch of every machine goes by."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    img: Annotated[int, Field(ge=32, le=4096, multiple_of=32)] = 640
    """Longer side of the model's input, in pixels."""
    stride: Annotated[int, Field(ge=1, le=100)] = 2
    """Every how many frames one is looked at."""
    stride_most: Annotated[int, Field(ge=1, le=1000)] = 8
    """What that may come to where a machine does not keep up."""
    privacy: Literal["people", "people-and-vehicles", "off"] = "people"

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.stride > self.stride_most:
            raise ValueError(f"stride {self.stride}: must be from 1 to stride_most")
        return self


def _kept_days(node: Node, name: str) -> int:
    """How long film of a camera that the machine records stays at most; 0 for what somebody else records."""
    found = (max(one.keep_days, one.keep_days_with_events or 0) for one in node.cameras if one.name == name)
    return next(found, 0)


def deploy_data(watch: SiteWatch | None, node: Node, weights: tuple[str, str] | None) -> dict[str, Any]:
    """The settings as the role's knobs; `weights` are the model's SHA-256 and its name."""
    cameras = watched_folders(node)
    if watch is None or weights is None or not cameras:
        return {}
    return {
        "watch_cameras": [
            {"name": name, "folder": folder, "keep_days": _kept_days(node, name)} for name, folder in cameras
        ],
        "watch_weights_sha256": weights[0],
        "watch_weights_name": weights[1],
        "watch_img": watch.img,
        "watch_stride": watch.stride,
        "watch_stride_most": watch.stride_most,
        "watch_privacy": watch.privacy,
    }
