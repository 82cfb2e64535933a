"""What the mesh costs: time to join, latency and throughput between two machines, beside the plain network in one run.

    PYTHONPATH=. .venv-dev/bin/python benchmarks/mesh.py --repeat 3

Brings up a lab of its own and our test coordination server, needs Go (or SHOAL_TAILSCALE_BINARIES) and takes the lab
down at the end. The machines share this one's processors, so figures stand beside each other, not for themselves.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests" / "lab" / "mesh"))

from tailnet import Client, Control, binaries, started

from shoal.cluster import document as clusters
from shoal.cluster import overlay
from shoal.cluster import reach as reaches
from shoal.lab import state
from shoal.lab.down import down
from shoal.lab.spec import LabSpec
from shoal.lab.up import up
from shoal.mesh import moving
from shoal.paths import repository
from shoal.ssh import client as ssh
from shoal.version import described

LAB = "mesh-bench"
PORT = 5999
SECONDS = 5
SERVER = f"""
import socket, threading
def serve(c):
    mode = c.recv(1)
    while data := c.recv(1 << 20):
        if mode == b"e": c.sendall(data)
    c.close()
s = socket.create_server(("", {PORT})); s.listen(8)
while True: threading.Thread(target=serve, args=(s.accept()[0],), daemon=True).start()
"""
CLIENT = f"""
import json, socket, statistics, sys, time
def connect(mode):
    begun = time.perf_counter(); c = socket.create_connection((sys.argv[1], {PORT}), 20)
    first = time.perf_counter() - begun
    c.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1); c.sendall(mode); return c, first
c, first = connect(b"e"); trips = []
for _ in range(500):
    begun = time.perf_counter(); c.sendall(b"x" * 64); c.recv(64); trips.append(time.perf_counter() - begun)
c.close(); c, _ = connect(b"s"); chunk, sent, begun = bytes(1 << 20), 0, time.perf_counter()
while time.perf_counter() - begun < {SECONDS}: c.sendall(chunk); sent += len(chunk)
took = time.perf_counter() - begun
print(json.dumps({{"first_s": first, "trip_s": statistics.median(trips), "bits_per_s": sent * 8 / took}}))
"""


def measured(document: Path, address: str) -> dict[str, float]:
    """From compute-1 to `address`: first connection, median round trip, throughput."""
    cluster = clusters.load(document)
    done = ssh.run(cluster, cluster.node("compute-1"), "python3", "-c", CLIENT, address, timeout_s=120)
    found: dict[str, float] = json.loads(done.text)
    return found


def main() -> None:
    """Measure `--repeat` times, alternating, and print the table of medians."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeat", type=int, default=3, help="measurements of each network, in turns")
    repeat = parser.parse_args().repeat
    folder = Path(tempfile.mkdtemp(prefix="shoal-mesh-bench-"))
    cluster = up(LabSpec(name=LAB, compute=2))
    try:
        facts = state.load_facts(LAB)
        assert facts is not None
        document = folder / "cluster.json"
        clusters.save(cluster.model_copy(update={"mesh": "tailscale", "engine": "ssh"}), document)
        key_file = folder / "authkey"
        key_file.touch(mode=0o600)
        with started(Control(facts.gateway, folder)) as control, started(Client(folder, control)) as client:
            control.policy(Tags=["tag:shoal-requester", "tag:shoal-compute", "tag:shoal-client"])
            key_file.write_text(control.key(Ephemeral=True))
            settings = {
                "tailscale_source": "binaries",
                "tailscale_binaries": str(binaries()),
                "tailscale_login_server": control.url,
                "tailscale_authkey_file": str(key_file),
            }
            begun = time.monotonic()
            moving.on(reaches.load(document), proxy_command=client.proxy_command, settings=settings)
            whole_s = time.monotonic() - begun
            joins_s = [joined(document, control, number) for number in range(repeat)]
            print_table(document, repeat, whole_s, joins_s)
    finally:
        overlay.path(LAB).unlink(missing_ok=True)
        down(LAB)


def joined(document: Path, control: Control, number: int) -> float:
    """Seconds that `tailscale up` takes on a machine that was never on a tailnet, until it is online."""
    cluster = clusters.load(document)
    node = cluster.node("compute-2")
    script = (
        "systemctl stop tailscaled; rm -rf /var/lib/tailscale; systemctl start tailscaled; "
        "umask 077; cat >/run/bench-key; begun=$(date +%s%N); "
        "tailscale up --reset --auth-key=file:/run/bench-key --timeout=60s --netfilter-mode=off "
        f"--login-server={control.url} --hostname=bench-{number} --advertise-tags=tag:shoal-compute >&2; "
        "until tailscale status --json --peers=false | tr -d ' \\n' | grep -q '\"Online\":true'; do sleep 0.02; done; "
        "echo $(($(date +%s%N) - begun)); rm -f /run/bench-key"
    )
    key = control.key(Ephemeral=True).encode()
    done = ssh.run(cluster, node, "sh", "-c", script, root=True, stdin=key, timeout_s=120)
    return int(done.text.split()[-1]) / 1e9


def print_table(document: Path, repeat: int, whole_s: float, joins_s: list[float]) -> None:
    """Both networks in turns, medians, and the ratio."""
    cluster = clusters.load(document)
    requester = cluster.requester
    start = f"systemd-run --quiet --collect --unit=bench python3 -c '{SERVER.replace(chr(39), chr(34))}'"
    ssh.run(cluster, requester, "sh", "-c", start, root=True)
    time.sleep(1)
    mesh_address = overlay.applied(cluster).requester.peer_address
    plain, mesh = [], []
    for _ in range(repeat):
        plain.append(measured(document, requester.address))
        mesh.append(measured(document, mesh_address))
    print(f"shoal {described(repository())}, {os.cpu_count()} processors; medians of {repeat}\n")
    print("| what | plain | mesh | mesh / plain |\n| --- | ---: | ---: | ---: |")
    rows = (("first connection", "first_s", 1e3, "ms"), ("round trip, 64 bytes", "trip_s", 1e3, "ms"))
    for name, key, factor, unit in (*rows, ("throughput, one stream", "bits_per_s", 1e-9, "Gbit/s")):
        one, two = (statistics.median(entry[key] for entry in side) * factor for side in (plain, mesh))
        print(f"| {name} | {one:.2f} {unit} | {two:.2f} {unit} | {two / one:.2f} |")
    print(f"\njoining, one machine: {statistics.median(joins_s):.2f} s (of {len(joins_s)}: "
          f"{', '.join(f'{each:.2f}' for each in joins_s)})")  # fmt: skip
    print(f"`shoal mesh on`, three bare machines to all proven over the mesh: {whole_s:.1f} s")


if __name__ == "__main__":
    main()
