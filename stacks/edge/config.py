"""What stands in the configuration of the edge stack, and every check of it."""

from __future__ import annotations

import base64
import binascii
import struct
from collections import Counter
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, Field

from shoal.cluster import document as cluster
from shoal.cost.prices import Estimate, Machines
from shoal.errors import Fault, UsageError
from stacks.common.cost_line import CostSettings, Usd, cost_of
from stacks.common.settings import Settings, validated

_HOST_KEY_TYPES = ("ssh-ed25519", "ecdsa-sha2-nistp256", "ecdsa-sha2-nistp384", "ecdsa-sha2-nistp521", "ssh-rsa")


def _host_key(value: str) -> str:
    """Type and body of a public host key; the comment that key files end with is dropped."""
    parts = value.split()
    if len(parts) < 2 or parts[0] not in _HOST_KEY_TYPES:
        raise ValueError("must be a public host key such as 'ssh-ed25519 AAAA...', from /etc/ssh/ssh_host_*_key.pub")
    try:
        body = base64.b64decode(parts[1], validate=True)
        (length,) = struct.unpack(">I", body[:4])
        inner = body[4 : 4 + length].decode("ascii")
    except (binascii.Error, struct.error, UnicodeDecodeError):
        inner = ""
    if inner != parts[0]:
        raise ValueError("is not a whole public host key; copy the line again")
    return " ".join(parts[:2])


HostKey = Annotated[str, AfterValidator(_host_key)]


class Box(Settings):
    """One box that exists."""

    name: cluster.Name
    address: cluster.Address
    user: cluster.User = "root"
    port: Annotated[int, Field(ge=1, le=65535)] = 22
    arch: cluster.Arch = "amd64"
    roles: Annotated[tuple[cluster.Role, ...], Field(min_length=1)] = ("compute",)
    cluster_address: cluster.Address | None = None
    labels: dict[cluster.LabelKey, cluster.LabelValue] = Field(default_factory=dict)
    camera_folders: tuple[cluster.CameraFolder, ...] = ()
    """Folders on the box that its cameras write to, absolute."""
    privacy: cluster.Privacy | None = None
    """What no run takes from the box, whatever it asks for (docs/privacy.md)."""
    host_key: HostKey | None = None
    """The box's public SSH host key; where it is left out, the control machine must know the key already."""
    price_usd_per_hour: Usd | None = None
    """What an hour of the box costs its owner (power, line, write-off)."""
    formerly: tuple[cluster.Name, ...] = ()
    """Names that it was registered under before; its record is kept instead of made anew."""


class EdgeSettings(CostSettings):
    """The whole configuration of the edge stack."""

    name: cluster.Name | None = None
    """Name of the cluster; the stack's name where left out."""
    engine: cluster.Engine = "auto"
    mesh: cluster.Mesh = "none"
    identity_file: Path | None = None
    """Private key on the control machine that opens the boxes; the user's own ssh configuration where left out."""
    boxes: Annotated[tuple[Box, ...], Field(min_length=1)]
    token_generation: Annotated[int, Field(ge=1)] = 1
    """Raise it to have a new orchestrator token made."""


def checked(raw: dict[str, Any]) -> tuple[EdgeSettings | None, Estimate | None, list[Fault]]:
    """The typed settings and their cost, or every fault: of single fields, between boxes and against the ceiling."""
    settings, faults = validated(EdgeSettings, raw)
    faults += _between_boxes(raw.get("boxes"))
    if settings is None:
        return None, None, faults
    try:
        estimate, over = cost_of(machines(settings), settings, settings.prices)
    except UsageError as error:
        return None, None, [*faults, Fault("pricesFile", error.message), *error.faults]
    return settings, estimate, [*faults, *over]


def machines(settings: EdgeSettings) -> list[Machines]:
    """The boxes as the cost estimate wants them; nothing is bought here, so the owner's figures are the only ones."""
    return [
        Machines(box.name, 1, usd_per_hour=box.price_usd_per_hour, works="compute" in box.roles)
        for box in settings.boxes
    ]


def _between_boxes(boxes: Any) -> list[Fault]:
    if not isinstance(boxes, list):
        return []
    known = [{"roles": ["compute"], **box} if isinstance(box, dict) else box for box in boxes]
    faults = [
        Fault(fault.where.replace("nodes", "boxes", 1), fault.what.replace("nodes[", "boxes["))
        for fault in cluster.cross_faults({"nodes": known})
    ]
    names = {str(box.get("name")) for box in known if isinstance(box, dict)}
    former = Counter[str]()
    for index, box in enumerate(known):
        listed = box.get("formerly") if isinstance(box, dict) else None
        for old in map(str, listed if isinstance(listed, list) else []):
            former[old] += 1
            if old in names:
                faults.append(Fault(f"boxes[{index}].formerly", f"{old!r} is the name of a box that is registered now"))
            elif former[old] > 1:
                faults.append(Fault(f"boxes[{index}].formerly", f"{old!r} is named twice"))
    return faults
