"""The names of the lab's things in the engine, and the labels that mark them as the lab's."""

from __future__ import annotations

import hashlib

from shoal.paths import state_dir

LAB_LABEL = "shoal.lab"
HOME_LABEL = "shoal.home"
"""Which state folder the lab belongs to: labs of one name on one engine must not take each other's things."""
NODE_LABEL = "shoal.node"
ROLE_LABEL = "shoal.role"
SPEC_LABEL = "shoal.spec"
IMAGE_LABEL = "shoal.image"
"""On images: `base` or `node`. They are named by content and shared by the labs of one engine."""
BUILD_LABEL = "shoal.build"
"""On the containers that images are built in."""


def short_hash(text: str, length: int = 8) -> str:
    """The first hex digits of a SHA-256, for names that must be short."""
    return hashlib.sha256(text.encode()).hexdigest()[:length]


def home() -> str:
    """Stands for this state folder in labels."""
    return short_hash(str(state_dir()))


def lab_labels(lab: str) -> dict[str, str]:
    """The labels of everything that belongs to this lab and nothing else."""
    return {LAB_LABEL: lab, HOME_LABEL: home()}


def lab_filter(lab: str) -> dict[str, str | list[str] | bool]:
    """The engine's list filter for everything that belongs to this lab."""
    return {"label": [f"{key}={value}" for key, value in lab_labels(lab).items()]}


def container_name(lab: str, node: str) -> str:
    """The node's container."""
    return f"shoal-{lab}-{node}"


def volume_names(lab: str, node: str) -> dict[str, str]:
    """The node's volumes and where they are mounted: inner engines cannot work on a container's own layer."""
    return {
        f"shoal-{lab}-{node}-docker": "/var/lib/docker",
        f"shoal-{lab}-{node}-containerd": "/var/lib/containerd",
    }


def network_name(lab: str) -> str:
    """The lab's network."""
    return f"shoal-{lab}"


def bridge_name(lab: str) -> str:
    """The network's interface on this machine; the kernel allows 15 characters."""
    return f"shoal-{short_hash(f'{home()}/{lab}')}"


def firewall_comment(lab: str) -> str:
    """Marks the lab's own firewall rule."""
    return f"shoal-lab:{lab}"
