"""Operations of role `registry`."""

from __future__ import annotations

import shlex

from pyinfra.api.operation import operation
from pyinfra.context import host

from roles.common.facts import Lines
from roles.common.operations import Commands

GARBAGE = "blob eligible for deletion: "


@operation()
def garbage_absent(config: str, unit: str) -> Commands:
    """Give back what no image uses any more. The registry stands still meanwhile, a second or two: it must not take
    anything in that is just being counted as unused, nor remember what is gone."""
    quoted = shlex.quote(config)
    script = (
        f"[ ! -f {quoted} ] || ! command -v docker-registry >/dev/null || "
        f"docker-registry garbage-collect --dry-run {quoted} 2>/dev/null"
    )
    unused = [line for line in host.get_fact(Lines, script=script) if line.startswith(GARBAGE)]
    if not unused:
        host.noop("every part belongs to an image")
        return
    yield "\n".join(
        [
            "set -e",
            f"trap 'systemctl start {unit}' EXIT",
            f"systemctl stop {unit}",
            f"docker-registry garbage-collect {quoted} >/dev/null",
        ]
    )


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
