"""Users of services: made where they are missing, and taken away where we made them."""

from __future__ import annotations

import shlex

from pyinfra.api.operation import operation
from pyinfra.context import host

from roles.common.facts import Lines
from roles.common.operations import RECORDS, Commands


@operation()
def system_user(user: str, role: str) -> Commands:
    """A user without a login and without a home, put on the role's record first."""
    record = shlex.quote(str(RECORDS / f"{role}.user"))
    if not host.get_fact(Lines, script=f"getent passwd {shlex.quote(user)} || true"):
        yield (
            f"mkdir -p {shlex.quote(str(RECORDS))} && touch {record} && useradd --system --user-group "
            f"--home-dir /nonexistent --no-create-home --shell /usr/sbin/nologin {shlex.quote(user)}"
        )


@operation()
def system_user_absent(user: str, role: str) -> Commands:
    """The user, where the record says that we made it."""
    record, quoted = shlex.quote(str(RECORDS / f"{role}.user")), shlex.quote(user)
    if host.get_fact(Lines, script=f"[ ! -e {record} ] || echo ours"):
        yield f"! getent passwd {quoted} >/dev/null || userdel {quoted}; rm -f {record}"
