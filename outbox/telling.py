"""How the outbox's parts report: one line at a time, to whoever called them."""

from __future__ import annotations

from collections.abc import Callable

Say = Callable[[str], None]
