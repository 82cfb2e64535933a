"""Users of services: made where they are missing, and taken away where we made them."""

from __future__ import annotations

import shlex

from pyinfra.api.operation import operation
from pyinfra.context import host

from roles.common.facts import AccountThere, Existing
from roles.common.notes import will
from roles.common.operations import RECORDS, Commands


@operation()
def system_user(user: str, role: str, home: str = "/nonexistent") -> Commands:
    """A user without a login, put on the role's record first. `home` is not made."""
    if not host.get_fact(AccountThere, user=user):
        will(f"make the system user {user}")
        record = shlex.quote(str(RECORDS / f"{role}.user"))
        yield (
            f"mkdir -p {shlex.quote(str(RECORDS))} && touch {record} && useradd --system --user-group "
            f"--home-dir {shlex.quote(home)} --no-create-home --shell /usr/sbin/nologin {shlex.quote(user)}"
        )


@operation()
def system_user_absent(user: str, role: str) -> Commands:
    """The user, where the record says that we made it."""
    record = str(RECORDS / f"{role}.user")
    if host.get_fact(Existing, paths=(record,)):
        will(f"remove the system user {user}")
        quoted = shlex.quote(user)
        yield f"! getent passwd {quoted} >/dev/null || userdel {quoted}; rm -f {shlex.quote(record)}"
