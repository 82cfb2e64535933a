"""Which role's settings are read on which nodes by deploy/site.py; what its checks before the first change go over."""

from __future__ import annotations

from roles import base, docker, outbox, recorder, registry, videos
from roles.bacalhau.defaults import Bacalhau
from roles.base.defaults import Base
from roles.common.preflight import Looks, Models
from roles.docker.defaults import Docker
from roles.firewall.defaults import Firewall
from roles.outbox.defaults import Outbox
from roles.recorder.defaults import Recorder
from roles.registry.defaults import Registry
from roles.tailscale.defaults import Tailscale
from roles.videos.defaults import Videos
from roles.watch.defaults import Watch
from roles.yolov5.defaults import Yolov5

MESH_MODELS: Models = (
    ("*", Base),
    ("*", Tailscale),
    ("*", Firewall),
)
OUTBOX_MODELS: Models = (("compute", Outbox),)
WATCH_MODELS: Models = (("compute", Recorder), ("compute", Watch))
MODELS: Models = (
    *MESH_MODELS,
    *OUTBOX_MODELS,
    ("*", Docker),
    ("requester", Registry),
    ("compute", Videos),
    ("compute", Recorder),
    ("compute", Watch),
    ("*", Yolov5),
    ("*", Bacalhau),
)
WATCH_LOOKS: Looks = (("compute", recorder.machine_faults),)
LOOKS: Looks = (
    ("*", base.machine_faults),
    ("*", docker.machine_faults),
    ("requester", registry.machine_faults),
    ("compute", videos.machine_faults),
    ("compute", outbox.machine_faults),
    ("compute", recorder.machine_faults),
)
