"""What a camera's node needs and no more, for the tests of the watch: engine, image, model, recorder, watch, outbox."""

from pyinfra import host

from roles import base, docker, outbox, recorder, registry, videos, watch, yolov5
from roles.common.knobs import node_of

base.install()
docker.install()
if node_of(host).has_role("requester"):
    registry.install()
if node_of(host).has_role("compute"):
    videos.install()
    recorder.install()
yolov5.install()
if node_of(host).has_role("compute"):
    watch.install()
if host.data.get("outbox_to"):
    outbox.install()
