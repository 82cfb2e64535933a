"""Role `yolov5`: the inference image in the site's registry and on every compute node, and the models beside it."""

from __future__ import annotations

from pyinfra.api.deploy import deploy
from pyinfra.context import host

from roles.common import knobs
from roles.common.operations import barrier, recorded_packages_absent
from roles.yolov5.defaults import Yolov5
from roles.yolov5.images import RECORD, Target, base, image, image_absent, published, pulled
from roles.yolov5.quota import quota, quota_absent
from roles.yolov5.weights import weights, weights_absent


@deploy("yolov5")
def install() -> None:
    """Requester: build or pull the image once and push it. Compute nodes: the models, and the image by its digest.

    Every host calls this, whatever its roles: the barrier in the middle keeps compute nodes from asking for a digest
    that the requester does not have yet.
    """
    yolov5 = knobs.read(Yolov5, host)
    node = knobs.node_of(host)
    target = Target.of(yolov5, knobs.cluster_of(host))
    limit_s = yolov5.yolov5_build_timeout_s
    if node.has_role("requester"):
        base(name="Get the base of the image", yolov5=yolov5, target=target, _timeout=limit_s)
        image(name="Get the inference image", yolov5=yolov5, target=target, _timeout=limit_s)
        published(name="Push it to the site's registry", yolov5=yolov5, target=target, _timeout=limit_s)
    if node.has_role("compute"):
        weights(name="Place the model", files=yolov5.yolov5_weights, _timeout=900)
        quota(yolov5.yolov5_state_bytes)
    barrier(name="Wait until the registry has the image")
    if node.has_role("compute"):
        pulled(name="Pull the image by its digest", yolov5=yolov5, target=target, _timeout=limit_s)


@deploy("yolov5")
def remove() -> None:
    """Take the image, its record and the models away."""
    yolov5 = knobs.read(Yolov5, host)
    target = Target.of(yolov5, knobs.cluster_of(host))
    quota_absent()
    image_absent(name="Remove the image", target=target, record=RECORD, _timeout=120)
    weights_absent(name="Remove the models")
    recorded_packages_absent(name="Remove what made its base", role="yolov5", _timeout=600)
