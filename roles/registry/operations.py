"""Operations of role `registry`."""

from __future__ import annotations

import shlex

from pyinfra.api.operation import operation
from pyinfra.context import host

from roles.common.facts import Lines
from roles.common.operations import Commands


@operation()
def answers(url: str, timeout_s: int) -> Commands:
    """Wait, with a deadline, until `url` gives an answer that is a success."""
    probe = f"curl -fsS --noproxy '*' -m 3 -o /dev/null {shlex.quote(url)}"
    if host.get_fact(Lines, script=f"{probe} 2>/dev/null && echo yes || true"):
        return
    yield (
        f"end=$(($(date +%s) + {timeout_s})); until {probe} 2>/dev/null; do "
        f'[ "$(date +%s)" -lt "$end" ] || {{ echo "no answer within {timeout_s} s:" >&2; {probe}; exit 1; }}; '
        "sleep 0.2; done"
    )
