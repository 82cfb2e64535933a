"""Which role's settings are read on which nodes by deploy/site.py; what its checks before the first change go over."""

from __future__ import annotations

from roles.base.defaults import Base
from roles.common.preflight import Models
from roles.docker.defaults import Docker
from roles.registry.defaults import Registry
from roles.videos.defaults import Videos
from roles.yolov5.defaults import Yolov5

MODELS: Models = (
    ("*", Base),
    ("*", Docker),
    ("requester", Registry),
    ("compute", Videos),
    ("*", Yolov5),
)
