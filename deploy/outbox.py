"""Only the outbox of each compute node: its program, settings and credential, as `shoal outbox set` wrote them."""

from pyinfra import host

from roles import outbox
from roles.common import preflight
from roles.site import OUTBOX_MODELS

preflight.settings(host, OUTBOX_MODELS)

if host.data.get("outbox_to"):
    outbox.install()
elif outbox.is_there():
    outbox.remove()
