"""The cluster document: the one typed description of the machines that every later step reads.

Written by whatever made or registered the machines (a Pulumi stack, the lab, `shoal cluster init`).
Never holds a secret.
"""

from __future__ import annotations

import ipaddress
import json
import re
from collections import Counter
from collections.abc import Callable, Hashable, Iterator
from pathlib import Path
from typing import Annotated, Any, Literal, Self, get_args

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    PrivateAttr,
    SecretStr,
    StringConstraints,
    ValidationError,
    model_validator,
)
from pydantic_core import ErrorDetails

from shoal.errors import Fault, UsageError
from shoal.files import write_atomic
from shoal.untrusted import DamagedDocumentError, field_path, json_value, read_bytes

Substrate = Literal["gcp", "edge", "lab", "onprem"]
Engine = Literal["auto", "bacalhau", "ssh"]
Mesh = Literal["none", "tailscale"]
Firewall = Literal["off", "on"]
Role = Literal["requester", "compute"]
Arch = Literal["amd64", "arm64"]

# Names of the loopback in Debian's and others' /etc/hosts.
_LOCAL_NAMES = frozenset({"localhost", "ip6-localhost", "ip6-loopback", "localhost.localdomain"})
# No dots: the engine's node ids may not have any, and one name serves everywhere.
_NAME = r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$"
Name = Annotated[str, StringConstraints(pattern=_NAME)]
# The engine lower-cases label keys and breaks on dots in them.
_LABEL_KEY = r"^[a-z][a-z0-9_-]{0,62}$"
LabelKey = Annotated[str, StringConstraints(pattern=_LABEL_KEY)]
_LABEL_VALUE = r"^[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?$"
LabelValue = Annotated[str, StringConstraints(pattern=_LABEL_VALUE)]
# No leading dash: an address is handed to ssh as an argument.
_ADDRESS = r"^[A-Za-z0-9]([A-Za-z0-9.:_%-]{0,252}[A-Za-z0-9])?$"
Address = Annotated[str, StringConstraints(pattern=_ADDRESS)]
_FOLDER = r"^/[A-Za-z0-9._/-]*[A-Za-z0-9._-]$"
CameraFolder = Annotated[str, StringConstraints(pattern=_FOLDER)]
# An address of a stream without credentials, or a device; neither may end a quoted word.
_SOURCE = r"^((rtsp|rtsps|http|https)://[^\s@'\"\\]{1,500}|/dev/[A-Za-z0-9._/-]{1,100})$"
CameraSource = Annotated[str, StringConstraints(pattern=_SOURCE)]
_BUCKET = r"^[a-z0-9][a-z0-9._-]{1,61}[a-z0-9]$"
_STORE = r"^s3:[a-z0-9][a-z0-9-]{1,61}[a-z0-9](/[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*)*$"
_ENDPOINT = r"^https?://[A-Za-z0-9.-]+(:\d{1,5})?$"
_USER = r"^[a-z_][a-z0-9_-]{0,31}$"
USER = re.compile(_USER)
User = Annotated[str, StringConstraints(pattern=_USER)]


class _Document(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class SshAccess(_Document):
    """How the control machine reaches the nodes; what is left out is taken from the user's own ssh configuration."""

    identity_file: Path | None = Field(None, description="Private key file on the control machine.")
    known_hosts_file: Path | None = Field(None, description="Host keys; checked strictly, never learnt.")
    config_file: Path | None = Field(None, description="An ssh_config to use instead of the user's own.")
    proxy_command: str | None = Field(None, description="ProxyCommand with %h and %p, as in ssh_config.")
    mesh_proxy_command: str | None = Field(
        None, description="The same for nodes that are reached over the mesh, where it takes one (`shoal mesh on`)."
    )


class Privacy(_Document):
    """What no run takes from a machine, whatever it asks for; the detector on the machine holds to it."""

    key_frames: Annotated[int, Field(ge=0, le=1000)] = Field(
        description="Most pictures of a video that leave the machine; 0: none."
    )


class Camera(_Document):
    """A camera that the machine records all the time."""

    name: Name = Field(description="One in the whole cluster: its film lies in /videos/cameras/NAME.")
    source: CameraSource = Field(
        description="rtsp, rtsps, http or https address without credentials, or a device below /dev."
    )
    secret: Name | None = Field(
        None,
        description="Under which name the control machine keeps the camera's `user:password` (docs/cameras.md).",
    )
    keep_days: Annotated[int, Field(ge=1, le=3650)] = Field(7, description="How long its film stays.")
    keep_days_with_events: Annotated[int, Field(ge=1, le=3650)] | None = Field(
        None, description="How long film stays in which the watch found events; as all film where this is left out."
    )


class Node(_Document):
    """One machine."""

    name: Name
    roles: Annotated[tuple[Role, ...], Field(min_length=1)]
    address: Address = Field(description="Where the control machine reaches it over SSH.")
    port: Annotated[int, Field(ge=1, le=65535)] = 22
    user: User = "root"
    arch: Arch = "amd64"
    cluster_address: Address | None = Field(
        None, description="Where the other nodes reach it; `address` where this is left out."
    )
    first_address: Address | None = Field(
        None, description="Its address outside the mesh, while `address` is the one on the mesh (`shoal mesh on`)."
    )
    labels: dict[LabelKey, LabelValue] = Field(default_factory=dict)
    camera_folders: tuple[CameraFolder, ...] = Field(
        (), description="Folders on the machine that cameras write to, absolute."
    )
    cameras: tuple[Camera, ...] = Field((), description="Cameras that the machine records; a compute node.")
    privacy: Privacy | None = Field(None, description="Limits for every run, placed on the machine by the site deploy.")
    spot: bool = False
    price_usd_per_hour: Annotated[float, Field(ge=0)] | None = None

    @property
    def peer_address(self) -> str:
        """The address that other nodes of the cluster use."""
        return self.cluster_address or self.address

    def has_role(self, role: Role) -> bool:
        """Whether this machine plays `role`."""
        return role in self.roles

    def proxy(self, access: SshAccess) -> str | None:
        """The ProxyCommand that leads to it: the way to the first address and the one over the mesh never mix."""
        return access.mesh_proxy_command if self.first_address else access.proxy_command


class EventsStore(_Document):
    """A store of the cluster's own that speaks S3."""

    to: Annotated[str, StringConstraints(pattern=_STORE)] = Field(description="`s3:BUCKET` or `s3:BUCKET/PREFIX`.")
    endpoint: Annotated[str, StringConstraints(pattern=_ENDPOINT)] = Field(description="http(s)://HOST:PORT.")
    credential_file: Path = Field(
        description="On the control machine, mode 0600: aws_access_key_id and aws_secret_access_key under [default]."
    )


class Cluster(_Document):
    """A named set of machines, the engine that runs jobs on them and the mesh between them."""

    version: Literal[1] = 1
    name: Name
    substrate: Substrate
    engine: Engine = "auto"
    mesh: Mesh = "none"
    results_keep_days: Annotated[int, Field(ge=1, le=36_500)] | None = Field(
        None, description="How long results are kept, on the nodes and at home (`shoal results prune`)."
    )
    firewall: Firewall = Field(
        "off",
        description="Whether machines of a site without a mesh get a packet filter: nothing from outside but SSH, and "
        "the site's own nodes to the requester. With a mesh they have one in any case.",
    )
    events_bucket: Annotated[str, StringConstraints(pattern=_BUCKET)] | None = Field(
        None,
        description="A bucket of the cluster's own in Google Cloud Storage: where the nodes' outboxes ship to, unless "
        "`shoal outbox set` names another store.",
    )
    events_store: EventsStore | None = Field(
        None,
        description="A store of the cluster's own that speaks S3, as a lab with cameras has one: where the nodes' "
        "outboxes ship to, unless `shoal outbox set` names another store.",
    )
    ssh: SshAccess = Field(default_factory=SshAccess)
    nodes: Annotated[tuple[Node, ...], Field(min_length=1)]
    # Not a field: it is in memory only, in no document, schema, text or log.
    _sudo_password: SecretStr | None = PrivateAttr(None)

    @model_validator(mode="after")
    def _across_fields(self) -> Self:
        # `parse` reports these together with the faults of single fields; here they guard direct construction.
        if faults := cross_faults(self.model_dump(mode="json")):
            raise ValueError("; ".join(map(str, faults)))
        return self

    @property
    def sudo_password(self) -> SecretStr | None:
        """What sudo on the nodes asks for, where a person was asked for it; stays with copies of this value."""
        return self._sudo_password

    def with_sudo_password(self, password: SecretStr | None) -> Self:
        """The same cluster, on whose nodes sudo is given `password`."""
        copied = self.model_copy()
        copied._sudo_password = password
        return copied

    @property
    def requester(self) -> Node:
        """The one node with the requester role."""
        return next(node for node in self.nodes if node.has_role("requester"))

    @property
    def compute(self) -> tuple[Node, ...]:
        """The compute nodes, in the document's order."""
        return tuple(node for node in self.nodes if node.has_role("compute"))

    def node(self, name: str) -> Node:
        """The node called `name`. Raises UsageError that lists the names there are."""
        for node in self.nodes:
            if node.name == name:
                return node
        raise UsageError(
            f"no node called {name!r} in cluster {self.name!r}",
            hint="nodes there are: " + ", ".join(node.name for node in self.nodes),
        )


def cross_faults(raw: Any) -> list[Fault]:
    """Faults that no single field shows, found on a raw document so that other faults do not hide them."""
    taken_name = list(_substrates_name(raw)) if isinstance(raw, dict) else []
    nodes = raw.get("nodes") if isinstance(raw, dict) else None
    if not isinstance(nodes, list | tuple) or not nodes:
        return taken_name
    entries = [(index, node) for index, node in enumerate(nodes) if isinstance(node, dict)]
    faults = [
        *taken_name,
        *_repeated(entries, lambda node: node.get("name"), "name", "node name"),
        *_repeated(
            entries,
            lambda node: (node["address"], node.get("port", 22)) if node.get("address") else None,
            "address",
            "address and port",
        ),
    ]
    for index, node in entries:
        roles = node.get("roles")
        if isinstance(roles, list | tuple) and any(n > 1 for n in Counter(map(str, roles)).values()):
            faults.append(Fault(f"nodes[{index}].roles", "a role is named twice"))
    requesters = [index for index, node in entries if "requester" in _roles(node)]
    if not requesters:
        faults.append(Fault("nodes", "no node has the role 'requester'; exactly one must"))
    elif len(requesters) > 1:
        where = ", ".join(f"nodes[{index}]" for index in requesters)
        faults.append(Fault("nodes", f"more than one requester ({where}); exactly one is supported"))
    taken = {f"{node.get('name')}-orchestrator": index for index, node in entries if "requester" in _roles(node)}
    faults += [
        Fault(f"nodes[{index}].name", f"is the name that the orchestrator on nodes[{taken[name]}] has for the engine")
        for index, node in entries
        if isinstance(name := node.get("name"), str) and name in taken
    ]
    faults += _unreachable_peers(entries)
    faults += _camera_faults(entries)
    if not any("compute" in _roles(node) for _, node in entries):
        faults.append(Fault("nodes", "no node has the role 'compute'; a job would have nowhere to run"))
    return faults


def parse(raw: Any, *, source: str) -> Cluster:
    """The document in `raw` (already decoded JSON or TOML), or UsageError with every fault and its path.

    `source` names the file or stack in the message.
    """
    cluster, faults = None, cross_faults(raw)
    try:
        cluster = Cluster.model_validate(raw)
    except ValidationError as error:
        faults = [*field_faults(error), *faults]
    if cluster is None or faults:
        raise UsageError(
            f"{source} is not a valid cluster document ({len(faults)} fault{'s' if len(faults) != 1 else ''})",
            faults=tuple(faults),
            hint="mend the named fields; docs/cluster-document.md lists them all",
        )
    return cluster


def field_faults(error: ValidationError) -> list[Fault]:
    """Pydantic's errors as faults with readable paths (`nodes[1].port`); whole-document ones are left out."""
    faults = []
    for entry in error.errors(include_url=False):
        if not entry["loc"]:
            if entry["type"] != "value_error":
                faults.append(Fault("document", entry["msg"]))
            continue
        if entry["type"] == "too_short" and entry["input"]:
            continue  # an echo of faults inside the items, which are reported themselves
        faults.append(Fault(field_path(entry["loc"]), _plain_message(entry)))
    return faults


def load(path: Path) -> Cluster:
    """Read and validate the document at `path`. Raises UsageError with all its faults."""
    source = f"the cluster document at {path}"
    try:
        raw = json_value(read_bytes(path), source=source)
    except FileNotFoundError:
        raise UsageError(
            f"there is no cluster document at {path}",
            hint="make one with `shoal lab up`, `shoal cluster init` or a stack",
        ) from None
    except OSError as error:
        raise UsageError(f"{source} cannot be read: {error}") from None
    except DamagedDocumentError as error:
        raise UsageError(error.message) from None
    return parse(raw, source=str(path))


def save(cluster: Cluster, path: Path) -> None:
    """Write the document atomically; a reader sees the old one or the new one."""
    write_atomic(path, cluster.model_dump_json(indent=2, exclude_none=True) + "\n")


def json_schema() -> str:
    """The JSON Schema of the document, as checked in under shoal/schemas/."""
    return json.dumps(Cluster.model_json_schema(), indent=2, sort_keys=True) + "\n"


def _substrates_name(raw: dict[str, Any]) -> Iterator[Fault]:
    """A cluster called `lab` that is none would share the lab's documents, tokens and locks, kept under that name."""
    name, substrate = raw.get("name"), raw.get("substrate")
    if name in get_args(Substrate) and name != substrate:
        yield Fault("name", f"{name!r} is kept for the cluster of that substrate; give this one ({substrate}) another")


def _roles(node: dict[str, Any]) -> tuple[str, ...]:
    roles = node.get("roles")
    return tuple(str(role) for role in roles) if isinstance(roles, list | tuple) else ()


def _unreachable_peers(entries: list[tuple[int, dict[str, Any]]]) -> Iterator[Fault]:
    """Addresses beside other nodes that mean the machine itself on each of them, or nothing at all."""
    if len(entries) < 2:
        return
    for index, node in entries:
        peer, address = node.get("cluster_address"), node.get("address")
        where = f"nodes[{index}].cluster_address"
        if isinstance(peer, str) and (why := _nobodys(peer)):
            yield Fault(where, f"{peer} is {why}: write the address where the other nodes reach it")
        elif peer is None and "requester" in _roles(node) and isinstance(address, str) and (why := _nobodys(address)):
            yield Fault(where, f"is missing, and {address} is {why}: write the address where the other nodes reach it")


def _camera_faults(entries: list[tuple[int, dict[str, Any]]]) -> Iterator[Fault]:
    """Two cameras of one name, and cameras of a machine that looks at no footage."""
    first: dict[str, str] = {}
    for index, node in entries:
        cameras = node.get("cameras")
        if not isinstance(cameras, list | tuple) or not cameras:
            continue
        if "compute" not in _roles(node):
            yield Fault(f"nodes[{index}].cameras", "only a compute node records cameras")
        for number, camera in enumerate(cameras):
            name = camera.get("name") if isinstance(camera, dict) else None
            if not isinstance(name, str):
                continue
            where = f"nodes[{index}].cameras[{number}]"
            if name in first:
                yield Fault(f"{where}.name", f"the same camera name as {first[name]}")
            first.setdefault(name, where)


def _nobodys(address: str) -> str | None:
    """Why no other machine reaches an address; None where one may."""
    name = address.lower().rstrip(".")
    if name in _LOCAL_NAMES or name.endswith(".localhost"):
        return "every machine's own"
    try:
        literal = ipaddress.ip_address(address)
    except ValueError:
        return None
    literal = getattr(literal, "ipv4_mapped", None) or literal
    if literal.is_loopback:
        return "every machine's own"
    if literal.is_unspecified or literal.is_multicast or str(literal) == "255.255.255.255":
        return "no machine's"
    return None


def _repeated(
    entries: list[tuple[int, dict[str, Any]]],
    key: Callable[[dict[str, Any]], Hashable | None],
    field: str,
    what: str,
) -> Iterator[Fault]:
    first: dict[str, int] = {}
    for index, node in entries:
        value = key(node)
        if value is None:
            continue
        earlier = first.setdefault(repr(value), index)
        if earlier != index:
            yield Fault(f"nodes[{index}].{field}", f"the same {what} as nodes[{earlier}]")


_IN_WORDS = {
    _NAME: "must be lower-case letters, digits and dashes, at most 63, with no dot",
    _LABEL_KEY: "a label's key must be lower-case letters, digits, '_' and '-', begun by a letter",
    _LABEL_VALUE: "a label's value must be letters, digits, '.', '_' and '-', at most 63",
    _ADDRESS: "must be a host name or an IP address",
    _BUCKET: "must be the name of a bucket",
    _STORE: "must be s3:BUCKET or s3:BUCKET/PREFIX",
    _ENDPOINT: "must be http://HOST:PORT or https://HOST:PORT",
    _USER: "must be a Unix user name",
    _FOLDER: "must be the absolute path of a folder",
    _SOURCE: "must be an rtsp, rtsps, http or https address without credentials, or a device below /dev",
}


def _plain_message(entry: ErrorDetails) -> str:
    message, kind = entry["msg"], entry["type"]
    pattern = entry.get("ctx", {}).get("pattern")
    if kind == "extra_forbidden":
        return "no such field"
    if kind == "missing":
        return "is missing"
    if pattern in _IN_WORDS:
        message = _IN_WORDS[pattern]
    shown = repr(entry["input"])
    return f"{message[0].lower()}{message[1:]} (found {shown if len(shown) <= 80 else shown[:77] + '...'})"
