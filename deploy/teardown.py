"""Takes away what site.py put, in reverse. Results of runs are kept, unless `--data teardown_results=true`;
the engine is taken only if it was put there by us, and kept with `--data teardown_docker=false`."""

from pyinfra import host

from roles import bacalhau, base, docker, firewall, registry, tailscale, videos, yolov5
from roles.common.knobs import cluster_of, node_of

_node = node_of(host)

_mesh = cluster_of(host).mesh == "tailscale"

if _mesh or firewall.is_there():
    # First: what it installed needs libraries that came with the engine.
    firewall.remove()
bacalhau.remove()
yolov5.remove()
if _node.has_role("compute"):
    videos.remove()
if _node.has_role("requester"):
    registry.remove()
if host.data.get("teardown_docker", True):
    docker.remove()
if _mesh:
    # Refused where this very run comes over the mesh: `shoal site teardown` goes back to the first addresses before.
    tailscale.remove()
base.remove(
    remove_runs=bool(host.data.get("teardown_results", False)), keep_records=not host.data.get("teardown_docker", True)
)
