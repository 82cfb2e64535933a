"""Machines become a cluster: every role each node needs. Run twice, the second run changes nothing."""

from pyinfra import host

from roles import base, docker, registry, videos, yolov5
from roles.common import preflight
from roles.common.knobs import node_of
from roles.site import MODELS

preflight.site(host, MODELS)
_node = node_of(host)

base.install()
docker.install()
if _node.has_role("requester"):
    registry.install()
if _node.has_role("compute"):
    videos.install()
# On every node: the requester makes the image, compute nodes wait for it.
yolov5.install()
