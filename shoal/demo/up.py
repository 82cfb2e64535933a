"""The demo: from nothing to detections on one machine, every stage re-entrant and timed."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from shoal.cluster import reach as reaches
from shoal.cluster.document import Cluster, Engine
from shoal.deploys import run as deploys
from shoal.engines import choice as engines
from shoal.engines.bacalhau import release
from shoal.files import write_atomic
from shoal.lab import engine as lab_engine
from shoal.lab import state as lab_state
from shoal.lab import up as lab_up
from shoal.lab.spec import LabSpec, check
from shoal.paths import cluster_document
from shoal.results.record import RunRecord, Weights
from shoal.run import start as running
from shoal.run.work import Tell
from shoal.site import camera_films, videos, weights
from shoal.site import document as site
from shoal.site import sample_clips as samples
from shoal.telling import Say

DEPLOY_TIMEOUT_S = 1800.0
"""A first deploy on a slow line; far more than was ever seen."""


@dataclass(frozen=True, slots=True)
class Options:
    """What the demo does with which knobs."""

    lab: str = "lab"
    compute: int | None = None
    yes: bool = False
    engine: Engine = "auto"
    bacalhau_binary: Path | None = None
    """A program of the engine given by hand."""
    videos: Path | None = None
    weights: Path | None = None
    knobs: dict[str, str | int | float] = field(default_factory=dict)


@dataclass(slots=True)
class Timings:
    """Seconds each stage took, in order."""

    say: Say
    stages_s: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def stage(self, name: str, what: str) -> Iterator[None]:
        """Announce a stage and keep the time it took, also where it fails."""
        self.say(f"demo: {what}")
        begun = time.monotonic()
        try:
            yield
        finally:
            self.stages_s[name] = round(time.monotonic() - begun, 2)

    def write(self, path: Path) -> None:
        """The times as JSON, for scripts."""
        write_atomic(path, json.dumps({"unit": "s", "stages": self.stages_s}, indent=2) + "\n")


class _Background:
    """One piece of work beside the main thread; its failure is raised where its result is asked for."""

    def __init__(self, work: Callable[[], object]) -> None:
        self._failure: BaseException | None = None

        def guarded() -> None:
            try:
                work()
            except BaseException as error:  # noqa: BLE001 - carried to the caller's thread, nothing is swallowed
                self._failure = error

        # A daemon: Ctrl-C must not wait for a download.
        self._thread = threading.Thread(target=guarded, name="artefacts", daemon=True)
        self._thread.start()

    def result(self) -> None:
        self._thread.join()
        if self._failure is not None:
            raise self._failure


def run(options: Options, say: Say, watch: Callable[[], AbstractContextManager[Tell]], timings: Timings) -> RunRecord:
    """Bring up the lab, bootstrap it, run the job, bring the results home. Every stage re-uses what is there.

    Raises ShoalError of the stage that failed; typed again, the demo goes on from there.
    """
    _refuse_early(options)
    if options.bacalhau_binary:
        release.add(options.bacalhau_binary, say=say)
    with timings.stage("engine", "1/5 a container engine"):
        before = lab_state.load_facts(options.lab)
        lab_engine.find_or_bring(say, recorded_url=before.engine_url if before else None, yes=options.yes)
    # Weights and clips need the network and one processor, the machines mostly the disk: side by side.
    artefacts = _Background(lambda: _artefacts(options, say))
    with timings.stage("machines", "2/5 machines: one requester and the compute nodes"):
        cluster = lab_up.up(
            LabSpec(name=options.lab, compute=options.compute),
            lab_up.Options(yes=options.yes),
            films=lambda: camera_films.films(say=say),
            say=say,
        )
    with timings.stage("artefacts", "3/5 weights and camera clips, checked by their hashes"):
        artefacts.result()
        site.prepare(cluster, videos=options.videos, weights=options.weights)
        choice = engines.choose(options.engine, cluster, say=say)
        say(f"demo: {choice}")
    with timings.stage("deploy", "4/5 bootstrap over SSH: base, docker, registry, videos, inference image, engine"):
        _deploy(cluster, choice, say)
    with timings.stage("run", "5/5 the job on every compute node, results home"), watch() as tell:
        return running.start(_order(cluster, choice, options, say), tell)


def _refuse_early(options: Options) -> None:
    """What is the user's own is looked at before the first change: machines for nothing cost minutes."""
    check(LabSpec(name=options.lab, compute=options.compute))
    engines.refuse_unused(options.engine, None, options.bacalhau_binary)
    if options.videos is not None:
        videos.usable(options.videos)
    if options.weights is not None:
        weights.from_file(options.weights)


def _artefacts(options: Options, say: Say) -> None:
    """Fetch and make what the site needs, into the cache."""
    if options.weights is None:
        weights.yolov5s(say=say)
    if options.videos is None:
        samples.sample_clips(say=say)


def _deploy(cluster: Cluster, choice: engines.Choice, say: Say) -> None:
    reach = reaches.made(cluster_document(cluster.name), cluster)
    result = deploys.run_deploy(reach, "site", engine=choice, say=say, timeout_s=DEPLOY_TIMEOUT_S)
    say(f"demo: {result.changed} operations changed something")


def _order(cluster: Cluster, choice: engines.Choice, options: Options, say: Say) -> running.Order:
    model = weights.yolov5s(say=say) if options.weights is None else weights.from_file(options.weights)
    return running.Order(
        cluster=cluster,
        engine=choice,
        weights=Weights(name=model.name, sha256=model.sha256, licence=model.licence),
        weights_path=model.path,
        knobs=options.knobs,
    )
