"""Outages: a lab's node cut from the internet, the requester, its cameras or everything, also over a power cycle.

Rules of the node's own routing drop what it sends. They are made by a unit of the node's, so that a node that boots in
the middle of an outage boots into it. Only the engine's own door (`shoal lab logs`) is never cut.
"""

from __future__ import annotations

import shlex
import socket
from collections.abc import Sequence
from urllib.parse import urlsplit

from docker.models.containers import Container

from shoal.cluster.document import Cluster
from shoal.errors import ShoalError, UsageError
from shoal.lab import node as nodes

FROM = ("wan", "requester", "cameras")
PREFERENCES = range(100, 200)
"""Of the rules, one each, as the kernel takes two of one for the same; before all of the system's but that for its own
addresses."""
SCRIPT = "/usr/local/lib/shoal-lab-cut.sh"
UNIT = "shoal-lab-cut.service"
UNIT_FILE = f"/etc/systemd/system/{UNIT}"
PORTS = {"rtsp": 554, "rtsps": 322, "http": 80, "https": 443}
TCP = "6"
"""By number: a bare machine has no list of names (/etc/protocols)."""
_UNIT = f"""[Unit]
Description=An outage of the lab (shoal lab mend ends it)
DefaultDependencies=no
Before=network-pre.target
Wants=network-pre.target

[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/bin/sh {SCRIPT}

[Install]
WantedBy=sysinit.target
"""
_MENDED = (
    f"for p in $(ip rule | cut -d: -f1); do [ $p -lt {PREFERENCES.start} ] || [ $p -ge {PREFERENCES.stop} ] || "
    "ip rule del pref $p; done"
)


def rules(cluster: Cluster, name: str, cut_from: Sequence[str]) -> list[list[str]]:
    """Arguments of `ip rule add`; nothing named: from everything. Raises UsageError where there is nothing to cut."""
    node = cluster.node(name)
    if unknown := [one for one in cut_from if one not in FROM]:
        raise UsageError(f"--from {unknown[0]!r}: one of {', '.join(FROM)}")
    if not cut_from:
        return [["blackhole"]]
    found: list[list[str]] = []
    if "requester" in cut_from:
        if node.has_role("requester"):
            raise UsageError(f"{name} is the requester itself")
        found.append(["to", _address(cluster.requester.peer_address), "blackhole"])
    if "cameras" in cut_from:
        sources = [urlsplit(camera.source) for camera in node.cameras if not camera.source.startswith("/dev/")]
        if not sources:
            raise UsageError(f"{name} has no cameras that are reached over the network")
        for source in sources:
            port = source.port or PORTS[source.scheme]
            to = ["to", _address(source.hostname or ""), "ipproto", TCP, "dport", str(port), "blackhole"]
            found += [] if to in found else [to]
    if "wan" in cut_from:
        # What has a more specific route goes on; what would take the default one does not.
        # The lab's store stands for one out there, though it lies in the nodes' own network.
        store = urlsplit(cluster.events_store.endpoint).hostname if cluster.events_store else None
        found += [["to", _address(store), "blackhole"]] if store else []
        found += [["lookup", "main", "suppress_prefixlength", "0"], ["blackhole"]]
    return found


def script(wanted: Sequence[Sequence[str]]) -> str:
    """What the node runs, at once and at every boot."""
    numbered = zip(PREFERENCES, wanted, strict=False)
    lines = [shlex.join(["ip", "rule", "add", "pref", str(number), *rule]) for number, rule in numbered]
    return "\n".join(["set -e", _MENDED, *lines]) + "\n"


def cut(container: Container, name: str, wanted: Sequence[Sequence[str]]) -> None:
    """Cut a node, in place of how it was cut before. Raises ShoalError."""
    text = "\n".join(
        [
            "set -e",
            f"cat > {SCRIPT} <<'END'\n{script(wanted)}END",
            f"cat > {UNIT_FILE} <<'END'\n{_UNIT}END",
            "systemctl daemon-reload",
            f"systemctl enable --quiet {UNIT}",
            f"systemctl restart {UNIT}",
        ]
    )
    _done(container, name, text)


def mend(container: Container, name: str) -> bool:
    """End every outage of a node; whether there was one. Raises ShoalError."""
    text = "\n".join(
        [
            f"[ -e {UNIT_FILE} ] || {{ echo whole; exit 0; }}",
            f"systemctl disable --quiet --now {UNIT}",
            f"rm -f {SCRIPT} {UNIT_FILE}",
            "systemctl daemon-reload",
            _MENDED,
        ]
    )
    return "whole" not in _done(container, name, text)


def _done(container: Container, name: str, text: str) -> str:
    code, output = nodes.execute(container, ["sh", "-c", text])
    if code != 0:
        raise ShoalError(f"{name}: {output.strip() or f'ended with exit code {code}'}")
    return output


def _address(host: str) -> str:
    """An IPv4 address of the host: routing knows no names. Raises UsageError."""
    try:
        return str(socket.getaddrinfo(host, None, socket.AF_INET)[0][4][0])
    except OSError:
        raise UsageError(f"{host} has no IPv4 address to be cut from") from None
