"""The sample policy of a tailnet: who reaches whom, and at which ports."""

from __future__ import annotations

from collections.abc import Sequence

import jinja2

from shoal.paths import repository

TEMPLATE = "roles/tailscale/files/policy.hujson.j2"
CLIENT_TAG = "tag:shoal-client"
"""For control machines; nodes get theirs by the role tailscale."""
NATS_PORT = 4222
REGISTRY_PORT = 5000
RESULTS_PORT = 6001
"""The engine's own publisher on compute nodes."""


def render(
    *,
    owners: Sequence[str] = ("autogroup:admin",),
    ssh_port: int = 22,
    compute_to_requester: Sequence[int] = (NATS_PORT, REGISTRY_PORT),
    requester_to_compute: Sequence[int] = (22, RESULTS_PORT),
) -> str:
    """The policy's text (JSON with comments), for the tags that the role tailscale gives."""
    environment = jinja2.Environment(
        undefined=jinja2.StrictUndefined,
        keep_trailing_newline=True,
        autoescape=False,  # noqa: S701 - no HTML
    )
    text = (repository() / TEMPLATE).read_text(encoding="utf-8")
    return environment.from_string(text).render(
        client_tag=CLIENT_TAG,
        requester_tag="tag:shoal-requester",
        compute_tag="tag:shoal-compute",
        owners=list(owners),
        ssh_port=ssh_port,
        compute_to_requester=list(compute_to_requester),
        requester_to_compute=list(requester_to_compute),
    )
