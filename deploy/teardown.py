"""Takes away what site.py put, in reverse, and says what it left and why. Results of runs are kept, unless
`--data teardown_results=true`; the engine is taken only if it was put there by us and holds nothing of others, and
kept with `--data teardown_docker=false`."""

from pyinfra import host

from roles import bacalhau, base, docker, firewall, outbox, recorder, registry, tailscale, videos, watch, yolov5
from roles.common.knobs import cluster_of, node_of
from roles.common.operations import settled
from shoal.paths import NODE_STATE

_node = node_of(host)

_mesh = cluster_of(host).mesh == "tailscale"

# A deploy that was cut off may still be at work there: what it puts after we looked would stay.
settled(
    name="End what an earlier deploy left at work", build_folder=str(NODE_STATE / "build"), wait_s=600, _timeout=900
)
if _mesh or firewall.is_there():
    # First: what it installed needs libraries that came with the engine.
    firewall.remove()
bacalhau.remove()
if outbox.is_there():
    outbox.remove(force=bool(host.data.get("teardown_results", False)))
if watch.is_there():
    watch.remove(force=bool(host.data.get("teardown_results", False)))
yolov5.remove()
if _node.has_role("compute"):
    recorder.remove()
    videos.remove()
if _node.has_role("requester"):
    registry.remove()
if host.data.get("teardown_docker", True):
    docker.remove()
if _mesh:
    # Refused where this very run comes over the mesh: `shoal site teardown` goes back to the first addresses before.
    tailscale.remove()
base.remove(remove_runs=bool(host.data.get("teardown_results", False)))
