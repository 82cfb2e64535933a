"""The token that compute nodes show to the orchestrator: made once, kept as a secret of the stack."""

from __future__ import annotations

import secrets

import pulumi

TOKEN_BYTES = 32


def orchestrator_token(generation: int, opts: pulumi.ResourceOptions) -> pulumi.Output[str]:
    """The cluster's token. It stays the same until `generation` is raised."""
    stash = pulumi.Stash(
        f"orchestrator-token-{generation}",
        input=pulumi.Output.secret(secrets.token_urlsafe(TOKEN_BYTES)),
        # Each run offers a fresh value; without this every update would show a change and `input` would follow it.
        opts=pulumi.ResourceOptions.merge(opts, pulumi.ResourceOptions(ignore_changes=["input"])),
    )
    token: pulumi.Output[str] = pulumi.Output.secret(stash.input)
    return token
