"""Operations of role `base`."""

from __future__ import annotations

import shlex

from pyinfra.api.operation import operation
from pyinfra.context import host

from roles.common.facts import Lines, labelled
from roles.common.operations import Commands


@operation()
def hostname(wanted: str) -> Commands:
    """The kernel's host name, /etc/hostname and a line in /etc/hosts, so that sudo does not look for it in vain.

    Written in place and without hostnamectl: in a container both files are mounts and there is no hostnamed.
    """
    state = labelled(
        host.get_fact(
            Lines,
            script=(
                'echo "kernel $(hostname)"; echo "file $(cat /etc/hostname 2>/dev/null)"; '
                f'echo "known $(getent hosts {shlex.quote(wanted)} >/dev/null && echo yes)"'
            ),
        )
    )
    quoted = shlex.quote(wanted)
    if state.get("file") != wanted:
        yield f"echo {quoted} > /etc/hostname"
    if state.get("kernel") != wanted:
        yield f"hostname {quoted}"
    if state.get("known") != "yes":
        yield f"printf '127.0.1.1\\t%s\\n' {quoted} >> /etc/hosts"
