"""Refuses to build a wheel: shoal runs from a checkout, and only an editable installation has one behind it."""

from __future__ import annotations

from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

REFUSAL = (
    "shoal runs from a checkout (its deploys, roles, stacks and the detector's build context are files of it), "
    "so there is no wheel to install. Use ./just in the checkout, or install it editable: pip install --editable ."
)


class CheckoutOnly(BuildHookInterface[Any]):
    """Called by hatchling before each build; `version` is `editable` or `standard`."""

    PLUGIN_NAME = "custom"

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Let an editable build pass. Raises SystemExit with the reason for any other."""
        del build_data
        if version != "editable":
            raise SystemExit(REFUSAL)
