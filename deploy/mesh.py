"""Every node joins the tailnet; nothing is moved onto it yet, see `shoal mesh on`."""

from pyinfra import host

from roles import base, tailscale
from roles.common import preflight
from roles.site import MESH_MODELS

preflight.settings(host, MESH_MODELS)

base.install()
tailscale.install()
