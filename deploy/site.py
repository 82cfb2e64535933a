"""Machines become a cluster: every role each node needs. Run twice, the second run changes nothing."""

from pyinfra import host, logger

from roles import bacalhau, base, docker, firewall, outbox, recorder, registry, tailscale, videos, watch, yolov5
from roles.common import preflight
from roles.common.knobs import cluster_of, node_of
from roles.site import LOOKS, MODELS

preflight.site(host, MODELS)
preflight.machines(host, LOOKS)
_node = node_of(host)
_mesh = cluster_of(host).mesh == "tailscale"

base.install()
if _mesh:
    tailscale.install()
docker.install()
if _node.has_role("requester"):
    registry.install()
if _node.has_role("compute"):
    videos.install()
    recorder.install()
# On every node: the requester makes the image, compute nodes wait for it.
yolov5.install()
if _node.has_role("compute"):
    watch.install()
if _node.has_role("requester"):
    registry.tidy()
if host.data.get("outbox_to"):
    outbox.install()
elif outbox.is_there():
    outbox.remove()
# Last: a node that joins is given jobs at once, and then has all that they need.
if host.data.get("bacalhau_programs"):
    bacalhau.install()
if _mesh and host.data.get("shoal_mesh_services"):
    # Last, and only when what the nodes say to each other goes over the mesh: it would be cut otherwise.
    firewall.install()
elif _mesh:
    if _node.has_role("requester"):
        # `shoal site deploy` refuses this unless it was agreed to; plain pyinfra goes on.
        logger.warning("mesh: registry and engine are not on the mesh, and open at the first addresses: shoal mesh on")
    firewall.remove()
elif cluster_of(host).firewall == "on":
    firewall.install()
elif firewall.is_there():
    firewall.remove()
