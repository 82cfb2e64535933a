"""Only the cameras of each compute node: recorders, and the watch as `shoal watch on` or `off` left it."""

from pyinfra import host

from roles import recorder, watch
from roles.common import preflight
from roles.site import WATCH_LOOKS, WATCH_MODELS

preflight.settings(host, WATCH_MODELS)
preflight.machines(host, WATCH_LOOKS)

recorder.install()
watch.install()
