"""The engine's configuration files and systemd units, made from knobs. Pure functions.

Written as JSON, which is YAML too: the check on the machine then needs nothing but Python to read it.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any, Literal

from roles.bacalhau.defaults import Bacalhau
from roles.common.addresses import authority
from shoal.cluster.document import Cluster, Node
from shoal.cluster.engine_id import engine_id
from shoal.engines.bacalhau import API_PORT
from shoal.engines.bacalhau.secrets import Tokens
from shoal.engines.bacalhau.tls import Tls
from shoal.paths import JOB_TARGETS, NODE_IMAGE_NEEDS, NODE_PROGRAMS, NODE_RUNS, NODE_STATE, NODE_VIDEOS, NODE_WEIGHTS

Part = Literal["orchestrator", "compute"]

ROLE = "bacalhau"
"""Whose record our files go on."""
PROGRAM = str(NODE_PROGRAMS / "bacalhau")
CONFIG_DIR = PurePosixPath("/etc/bacalhau")
DATA_DIR = PurePosixPath("/var/lib/bacalhau")
USER = "bacalhau"
CLIENT_ACTIONS = ["read:*", "write:job", "write:node"]
PERSON_ACTIONS = ["read:*", "write:job"]
READER_ACTIONS = ["read:*"]
AUTHORITY = str(CONFIG_DIR / "authority.pem")
"""The cluster's own certificate authority: all that a node trusts on the orchestrator's port."""
CERTIFICATE = str(CONFIG_DIR / "orchestrator.pem")
KEY = str(CONFIG_DIR / "orchestrator.key")
POLICY = str(CONFIG_DIR / "admission.json")
ADMISSION = str(NODE_PROGRAMS / "admission.py")
GUARD = str(NODE_PROGRAMS / "docker_guard.py")
GUARD_UNIT = "shoal-docker-guard.service"
FOLDERS = f"{NODE_STATE} {NODE_VIDEOS}"
"""What jobs read and write: where they are mounts, services wait for them."""
GUARD_UNIT_PATH = f"/etc/systemd/system/{GUARD_UNIT}"
GUARD_SOCKET = "/run/shoal-guard/docker.sock"
PROBE = f"/usr/bin/python3 -E -s -B {ADMISSION} {POLICY}"
IMAGE_RECORD = str(NODE_STATE / "image.json")
"""Written by the role `yolov5`: the image that the site's deploy pinned on the node."""
INPUTS_OFF = ("s3", "s3PreSigned", "s3managed", "urlDownload", "inline", "ipfs")
"""Every kind of input but paths of the node: the service would fetch or write them before a container is asked for."""
HEADER = "# Written by shoal's role `bacalhau`; changes are overwritten. Holds the cluster's token.\n"


@dataclass(frozen=True, slots=True)
class Service:
    """One of the engine's services on a machine."""

    part: Part
    node_id: str
    """What the engine calls it: fixed, and without dots."""
    owner: str

    @property
    def unit(self) -> str:
        """The systemd unit."""
        return f"bacalhau-{self.part}.service"

    @property
    def unit_path(self) -> str:
        """The unit's file."""
        return f"/etc/systemd/system/{self.unit}"

    @property
    def config_path(self) -> str:
        """The configuration file, mode 0600."""
        return str(CONFIG_DIR / f"{self.part}.yaml")

    @property
    def data_path(self) -> str:
        """The data folder; it holds the service's identity."""
        return str(DATA_DIR / self.part)


def orchestrator(node: Node) -> Service:
    """The orchestrator on the requester; a name of its own, for the machine may be a compute node as well."""
    return Service("orchestrator", f"{node.name}-orchestrator", USER)


def compute(node: Node, *, by_name: bool = False) -> Service:
    """The compute service of a node. `by_name`: its data say that the engine knows it by its plain name."""
    return Service("compute", node.name if by_name else engine_id(node.name), "root")


def services(node: Node, *, by_name: bool = False) -> list[Service]:
    """What runs on `node`, the orchestrator first; `by_name` as for `compute`."""
    return [
        *([orchestrator(node)] if node.has_role("requester") else []),
        *([compute(node, by_name=by_name)] if node.has_role("compute") else []),
    ]


def config(service: Service, knobs: Bacalhau, node: Node, cluster: Cluster, tokens: Tokens) -> dict[str, Any]:
    """The service's settings; everything that is not needed is off."""
    part = (
        _orchestrator(knobs, node, tokens) if service.part == "orchestrator" else _compute(knobs, node, cluster, tokens)
    )
    local = [] if knobs.bacalhau_local_publisher and service.part == "compute" else ["local"]
    return {
        **part,
        "DisableAnalytics": True,
        "UpdateConfig": {"Interval": "0s"},
        "InputSources": {"Disabled": list(INPUTS_OFF)},
        # The S3 parts ask cloud metadata servers at each start.
        "Publishers": {**part.get("Publishers", {}), "Disabled": ["s3", "s3managed", *local]},
        "Engines": {"Disabled": ["wasm"]},
        "Logging": {"Level": knobs.bacalhau_log_level, "Mode": "default"},
    }


def _orchestrator(knobs: Bacalhau, node: Node, tokens: Tokens) -> dict[str, Any]:
    address = knobs.bacalhau_nats_bind or node.peer_address
    return {
        "API": {"Host": "127.0.0.1", "Port": API_PORT, "Auth": {"Users": _users(tokens)}},
        "Orchestrator": {
            "Enabled": True,
            "Host": address,
            "Port": knobs.bacalhau_nats_port,
            "Advertise": authority(node.peer_address, knobs.bacalhau_nats_port),
            "Auth": {"Token": tokens.node_token.get_secret_value()},
            "TLS": {"ServerCert": CERTIFICATE, "ServerKey": KEY, "CACert": AUTHORITY},
            "NodeManager": {
                "ManualApproval": knobs.bacalhau_manual_approval,
                "DisconnectTimeout": duration(knobs.bacalhau_disconnect_timeout_s),
            },
        },
        "WebUI": {"Enabled": knobs.bacalhau_web_ui, "Listen": f"127.0.0.1:{knobs.bacalhau_web_ui_port}"},
    }


def _compute(knobs: Bacalhau, node: Node, cluster: Cluster, tokens: Tokens) -> dict[str, Any]:
    requester = authority(cluster.requester.peer_address, knobs.bacalhau_nats_port)
    wanted: dict[str, Any] = {
        "API": {"Host": "127.0.0.1", "Port": knobs.bacalhau_compute_api_port, "Auth": {"Users": [_own(node, tokens)]}},
        "Compute": {
            "Enabled": True,
            "Orchestrators": [f"nats://{requester}"],
            "Auth": {"Token": tokens.node_token.get_secret_value()},
            # With it the service insists on TLS: an orchestrator without is no orchestrator to it.
            "TLS": {"CACert": AUTHORITY},
            "Heartbeat": {"Interval": duration(knobs.bacalhau_heartbeat_s)},
            "AllocatedCapacity": {
                "CPU": knobs.bacalhau_capacity_cpu,
                "Memory": knobs.bacalhau_capacity_memory,
                "Disk": knobs.bacalhau_capacity_disk,
                "GPU": knobs.bacalhau_capacity_gpu,
            },
            "AllowListedLocalPaths": allowed_paths(knobs),
        },
        # `anywhere`: a path that is not allowed then fails with a reason; `local` would decline in silence.
        "JobAdmissionControl": {
            "Locality": "anywhere",
            "RejectNetworkedJobs": not knobs.bacalhau_networked_jobs,
            "ProbeExec": PROBE,
        },
        "WebUI": {"Enabled": False},
    }
    if node.labels:
        wanted["Labels"] = dict(sorted(node.labels.items()))
    if knobs.bacalhau_local_publisher:
        local = {"Address": node.peer_address, "Port": knobs.bacalhau_local_publisher_port}
        wanted["Publishers"] = {"Types": {"Local": local}}
    return wanted


def allowed_paths(knobs: Bacalhau) -> list[str]:
    """What jobs may mount. An entry is matched with a whole path: a folder does not stand for what is in it."""
    return [
        f"{NODE_VIDEOS}:ro",
        *([] if knobs.bacalhau_whole_videos else [f"{NODE_VIDEOS}/**:ro"]),
        f"{NODE_WEIGHTS}:ro",
        f"{NODE_RUNS}/*:rw",
        *knobs.bacalhau_allowed_paths,
    ]


def policy(knobs: Bacalhau) -> str:
    """What may run on a compute node, as `files/admission.py` reads it; the site's own image is in its record."""
    document = {
        "image_needs": str(NODE_IMAGE_NEEDS / "node"),
        "image_record": IMAGE_RECORD,
        "jobs": [
            {
                "image": job.image,
                "entrypoint": list(job.entrypoint),
                "variables": list(job.variables),
                "working_directory": job.working_directory,
            }
            for job in knobs.bacalhau_jobs
        ],
        "networked": knobs.bacalhau_networked_jobs,
        "paths": allowed_paths(knobs),
        "runs": str(NODE_RUNS),
        "targets": JOB_TARGETS,
    }
    return json.dumps(document, indent=2, sort_keys=True) + "\n"


def certificates(service: Service, tls: Tls) -> dict[str, tuple[bytes, str, str]]:
    """The files that a service needs for TLS: content, mode and owner by path. No secret but the orchestrator's key."""
    found = {AUTHORITY: (tls.authority_certificate.encode(), "644", "root")}
    if service.part == "orchestrator":
        found[CERTIFICATE] = (tls.certificate.encode(), "644", "root")
        found[KEY] = (tls.key.get_secret_value().encode(), "600", service.owner)
    return found


def orchestrator_addresses(knobs: Bacalhau, node: Node) -> list[str]:
    """Where the orchestrator is reached: what its certificate has to be for."""
    known = (node.peer_address, node.address, node.first_address, knobs.bacalhau_nats_bind)
    return sorted({each for each in known if each and each not in ("0.0.0.0", "::")})  # noqa: S104  # compared, not bound


def guard_unit_text(template: str) -> str:
    """The unit of the guard before Docker."""
    for name, value in {"GUARD": GUARD, "POLICY": POLICY, "SOCKET": GUARD_SOCKET, "FOLDERS": FOLDERS}.items():
        template = template.replace(f"@{name}@", value)
    return template


def _users(tokens: Tokens) -> list[dict[str, Any]]:
    return [
        {
            "Alias": "shoal",
            "APIKey": tokens.control_key.get_secret_value(),
            "Capabilities": [{"Actions": CLIENT_ACTIONS}],
        },
        {
            "Alias": "client",
            "APIKey": tokens.client_key.get_secret_value(),
            "Capabilities": [{"Actions": PERSON_ACTIONS}],
        },
        {
            "Alias": "reader",
            "APIKey": tokens.reader_key.get_secret_value(),
            "Capabilities": [{"Actions": READER_ACTIONS}],
        },
    ]


def _own(node: Node, tokens: Tokens) -> dict[str, Any]:
    """The one user of a compute service, whose API would be open to every process of the machine without one.

    It serves no requests. Its key is made of the control key one way (RFC 2104), so that it stays the same and a
    compute node holds nothing that the orchestrator's API takes.
    """
    control_key = tokens.control_key.get_secret_value().encode()
    key = hmac.new(control_key, f"compute {node.name}".encode(), hashlib.sha256).hexdigest()
    return {"Alias": "own", "APIKey": key, "Capabilities": [{"Actions": READER_ACTIONS}]}


def rendered(settings: dict[str, Any]) -> bytes:
    """The file's bytes; the same settings give the same."""
    return (HEADER + json.dumps(settings, indent=2, sort_keys=True) + "\n").encode()


def duration(seconds: int) -> str:
    """As the engine itself writes durations, so that reading it back compares equal."""
    minutes, rest = divmod(seconds, 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours}h{minutes}m{rest}s"
    return f"{minutes}m{rest}s" if minutes else f"{rest}s"


def writable(allowed_paths: Sequence[str]) -> list[str]:
    """The folders that hold all of the allowed paths that jobs may write to: up to a pattern's first sign."""
    found = []
    for entry in allowed_paths:
        path, _, mode = entry.rpartition(":")
        if mode == "rw":
            plain = re.split(r"[*?\[{]", path, maxsplit=1)
            found.append(plain[0] if len(plain) == 1 else plain[0].rpartition("/")[0] or "/")
    return sorted(set(found))


def unit_text(service: Service, template: str, *, mesh: bool, allowed_paths: Sequence[str] = ()) -> str:
    """The unit: after Docker where the service needs it, after the mesh where there is one.

    It may write to those of `allowed_paths` that jobs may write to: it makes and checks the folders that it mounts.
    """
    after = ["network-online.target", *(["tailscaled.service"] if mesh else [])]
    if service.part == "compute":
        after += ["docker.service", GUARD_UNIT]
    values = {
        "AFTER": " ".join(after),
        "PROGRAM": PROGRAM,
        "CONFIG": service.config_path,
        "DATA": service.data_path,
        "NODE": service.node_id,
        # A path that is not there must not keep the service from starting.
        "WRITABLE": " ".join([str(NODE_RUNS), *(f'"-{path}"' for path in writable(allowed_paths))]),
        "USER": service.owner,
        "SOCKET": GUARD_SOCKET,
        "FOLDERS": FOLDERS,
    }
    for name, value in values.items():
        template = template.replace(f"@{name}@", value)
    return template
