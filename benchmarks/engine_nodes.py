"""How the engine's times grow with the number of nodes: bring-up, deploy, submission to all running, run, fetch.

    SHOAL_STATE=$(mktemp -d) python benchmarks/engine_nodes.py --nodes 2 6 10 --output benchmarks/engine_nodes.json

Needs a Docker engine and Bacalhau in the artefact cache. Each number of nodes gets a lab of its own, from nothing but
the cached images, clips and model; it is taken down at the end. One clip a node: the job is short, and the rest shows.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path

from shoal.cluster import reach as reaches
from shoal.deploys import run as deploys
from shoal.engines import choice as engines
from shoal.lab import up as lab_up
from shoal.lab.down import down
from shoal.lab.spec import LabSpec
from shoal.paths import cluster_document, repository
from shoal.results.record import Weights
from shoal.run import start as running
from shoal.run.work import Event, Happening
from shoal.site import document as site
from shoal.site import sample_clips as samples
from shoal.site import weights
from shoal.version import described


def one(nodes: int, name: str, folder: Path) -> dict[str, float]:
    """The times with `nodes` compute nodes, in seconds."""
    times: dict[str, float] = {}

    def timed(stage: str, begun: float) -> None:
        times[stage] = round(time.monotonic() - begun, 2)
        print(f"{nodes} nodes: {stage} {times[stage]} s", flush=True)

    begun = time.monotonic()
    cluster = lab_up.up(LabSpec(name=name, compute=nodes))
    timed("bring_up_s", begun)
    try:
        clips = folder / "clips"
        clips.mkdir(exist_ok=True)
        source = samples.sample_clips()[0].path
        for number in range(nodes):
            shutil.copyfile(source, clips / f"cam{number:02}.mp4")
        site.prepare(cluster, videos=clips)
        choice = engines.choose("bacalhau", cluster)
        data = engines.deploy_data(choice)
        begun = time.monotonic()
        deploys.run_deploy(reaches.load(cluster_document(name)), "site", data=data, timeout_s=5400)
        timed("deploy_s", begun)
        begun = time.monotonic()
        again = deploys.run_deploy(reaches.load(cluster_document(name)), "site", data=data, timeout_s=5400)
        timed("second_deploy_s", begun)
        if again.changed:
            raise SystemExit(f"the second deploy changed {again.changed} operations")
        times.update(job(cluster, choice, nodes))
    finally:
        result = down(name)
    if not result.clean:
        raise SystemExit(f"the lab {name!r} left something behind")
    for stage in ("all_running_s", "run_s", "fetch_s"):
        print(f"{nodes} nodes: {stage} {times[stage]} s", flush=True)
    return times


def job(cluster, choice, nodes: int) -> dict[str, float]:
    """Times of one run: until every node's first line, until every node's end, and of the fetching after it."""
    seen: dict[Happening, dict[str, float]] = {kind: {} for kind in Happening}
    started = 0.0

    def tell(event: Event) -> None:
        nonlocal started
        if event.kind is Happening.NOTE and not event.node and event.text.startswith("run "):
            started = time.monotonic()
        elif event.node:
            seen[event.kind].setdefault(event.node, time.monotonic())

    model = weights.yolov5s()
    order = running.Order(
        cluster=cluster, engine=choice, weights=Weights(name=model.name, sha256=model.sha256, licence=model.licence),
        weights_path=model.path, knobs={"img": 320, "stride": 10}, cpu="0.5", memory="800MB",
    )  # fmt: skip
    record = running.start(order, tell)
    if not record.complete or len(record.nodes) != nodes:
        raise SystemExit(f"the run is not whole: { {name: node.outcome for name, node in record.nodes.items()} }")
    lines, ends, fetched = (seen[kind] for kind in (Happening.LINE, Happening.ENDED, Happening.FETCHED))
    if len(lines) != nodes or len(fetched) != nodes:
        raise SystemExit(f"of {nodes} nodes {len(lines)} showed a line and {len(fetched)} gave their results")
    return {
        "all_running_s": round(max(lines.values()) - started, 2),
        "run_s": round(max(ends.values()) - started, 2),
        # A node's results are fetched as it ends, while others still run; per node this is the time it took.
        "fetch_s": round(max(fetched[name] - ends[name] for name in fetched), 2),
    }


def main() -> None:
    """Measure, print, and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--nodes", type=int, nargs="+", default=[2, 6, 10])
    parser.add_argument("--name", default="bench")
    parser.add_argument("--output", type=Path)
    options = parser.parse_args()
    load = os.getloadavg()[0]
    with tempfile.TemporaryDirectory() as folder:
        os.environ["SHOAL_RUNS"] = f"{folder}/runs"
        rows = [{"nodes": nodes, **one(nodes, options.name, Path(folder))} for nodes in options.nodes]
    document = {
        "what": "shoal over Bacalhau in the lab, one clip a node",
        "measured_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": described(repository()),
        "machine": f"{os.cpu_count()} processors, {platform.machine()}, load {load:.1f} before",
        "unit": "s",
        "rows": rows,
    }
    text = json.dumps(document, indent=2) + "\n"
    print(text)
    if options.output:
        options.output.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
