"""The live demo: cameras watched through an outage with a power cut in it; what was lost and what arrived, as counted.

Every figure is counted afterwards from what the parts wrote down: the recorders' files and gaps, the watches' ledgers,
the store's listing and its journal of what was put there.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from shoal.cluster import reach as reaches
from shoal.cluster.document import Cluster, Engine, Node
from shoal.demo.up import DEPLOY_TIMEOUT_S, Timings
from shoal.deploys import run as deploys
from shoal.engines import choice as engines
from shoal.errors import ShoalError
from shoal.lab import cut as outages
from shoal.lab import engine as lab_engine
from shoal.lab import state as lab_state
from shoal.lab import status as machines
from shoal.lab import store as stores
from shoal.lab import up as lab_up
from shoal.lab.client import plain_errors
from shoal.lab.spec import STORE, LabSpec, check
from shoal.paths import cluster_document
from shoal.site import camera_films
from shoal.site import document as site
from shoal.site.event_rules import EventRules, Rule
from shoal.site.watch import SiteWatch
from shoal.telling import Say
from shoal.waiting import until
from shoal.watch import account as records
from shoal.watch import status as watches
from shoal.watch.account import Account

LOOK_S = 2.0
FIRST_FILES_S = 240.0
"""A file is closed at each minute's mark; the first one is looked at with a model that has to be loaded."""
CATCH_UP_S = 420.0
CLIPS_S = 30.0
"""How long clips are waited for, which may take a slow machine minutes."""
CUT_FROM = ("wan", "requester")
RULES = EventRules(
    quiet_s=5.0,
    longest_s=30.0,
    roll_before_s=2.0,
    roll_after_s=2.0,
    rule=(
        Rule(name="people", severity="alert", classes=("person", "bicycle")),
        Rule(name="vehicles", severity="record", classes=("car", "truck", "bus")),
    ),
)
"""Where the site has none of its own: an event ends soon after what it shows, so that there is something to see."""


@dataclass(frozen=True, slots=True)
class Options:
    """What the demo does with which knobs."""

    lab: str = "lab"
    cameras: int | None = None
    yes: bool = False
    engine: Engine = "auto"
    weights: Path | None = None
    watch: SiteWatch = field(default_factory=lambda: SiteWatch(img=320, stride=5, stride_most=20))
    outage_s: float = 60.0
    power_off_s: float = 10.0


@dataclass(frozen=True, slots=True)
class CameraRecord:
    """What a camera's records say of the time from the first film to the end of the demo."""

    node: str
    camera: str
    files: int
    looked_at: int
    looked_at_twice: tuple[str, ...]
    gaps: tuple[tuple[str, float], ...]
    """Reason and seconds of each, as the recorder noted them."""
    without_film_s: float
    """By the files alone."""
    unaccounted_s: float
    """In no file and in no gap."""
    events: int
    lag_s: tuple[float, ...]
    """Of each file, from its end until its events were with the outbox."""


@dataclass(frozen=True, slots=True)
class LiveRecord:
    """What the demo saw."""

    node: str
    """The one that was cut off."""
    outage_s: float
    power_off_s: float
    looked_at_in_outage: int
    """Files that the node was done with while it was cut off."""
    cameras: tuple[CameraRecord, ...]
    events: int
    """That the watches published until all film was looked at."""
    published_twice: tuple[str, ...]
    not_arrived: tuple[str, ...]
    """Events without a document in the store."""
    stored: int
    """Of these events, those with one."""
    put_twice: tuple[str, ...]
    """Keys that were put into the store more than once, and events with more than one document there."""
    clips_stored: int
    clips_to_make: int

    @property
    def good(self) -> bool:
        """Whether all is accounted for, and nothing is missing or there twice."""
        wrong = (self.published_twice, self.not_arrived, self.put_twice)
        cameras = all(one.unaccounted_s == 0 and not one.looked_at_twice for one in self.cameras)
        return cameras and not any(wrong) and self.events > 0


def run(options: Options, say: Say, timings: Timings) -> LiveRecord:
    """Bring up the lab with cameras, watch them, make the outage, wait until all is caught up, and count.

    Every stage re-uses what is there. Raises ShoalError of the stage that failed; typed again, the demo goes on there.
    """
    check(LabSpec(name=options.lab, cameras=options.cameras))
    before = lab_state.load_facts(options.lab)
    cameras = options.cameras or (before.cameras if before else 0) or 2
    with timings.stage("engine", "1/6 a container engine"):
        lab_engine.find_or_bring(say, recorded_url=before.engine_url if before else None, yes=options.yes)
    with timings.stage("machines", f"2/6 machines, {cameras} cameras for each compute node, a store that speaks S3"):
        cluster = lab_up.up(
            LabSpec(name=options.lab, cameras=cameras),
            lab_up.Options(yes=options.yes),
            films=lambda: camera_films.films(say=say),
            say=say,
        )
    with timings.stage("deploy", "3/6 bootstrap over SSH: recorder, inference image, watch, outbox"):
        _deploy(cluster, options, say)
    began_s = time.time()
    with timings.stage("watch", "4/6 every camera is recorded and watched"):
        _wait(lambda: all(one.looked for one in _all(cluster)), "a first file of every camera", FIRST_FILES_S)
    node = cluster.compute[0]
    with timings.stage("outage", f"5/6 {node.name} loses the line and the requester, and its power for a while"):
        outage = _outage(cluster, node, options, say)
    with timings.stage("catch up", "6/6 the line is back: waiting until everything has arrived"):
        events = _caught_up(cluster, node, outage, say)
    return _counted(cluster, node, outage, began_s, events)


def _deploy(cluster: Cluster, options: Options, say: Say) -> None:
    document = site.load(cluster.name)
    if document is None or not document.weights or options.weights is not None:
        rules = document.events if document and document.events else RULES
        site.prepare(cluster, weights=options.weights, with_videos=False, events=rules, say=say)
    elif document.events is None:
        site.save(document.model_copy(update={"events": RULES}))
    site.set_watch(cluster.name, options.watch)
    choice = engines.choose(options.engine, cluster, say=say)
    reach = reaches.made(cluster_document(cluster.name), cluster)
    result = deploys.run_deploy(reach, "site", engine=choice, say=say, timeout_s=DEPLOY_TIMEOUT_S)
    say(f"demo: {result.changed} operations changed something")


@dataclass(frozen=True, slots=True)
class _Outage:
    began_s: float
    ended_s: float
    power_back_s: float
    power_off_s: float


def _outage(cluster: Cluster, node: Node, options: Options, say: Say) -> _Outage:
    """Cut the node off for a while, with a power cut in the middle of it."""
    machine = machines.container_of(cluster.name, node.name)
    third_s = max(0.0, options.outage_s - options.power_off_s) / 3
    outages.cut(machine, node.name, outages.rules(cluster, node.name, CUT_FROM))
    began_s = time.time()
    say(f"demo: {node.name} is cut from {' and '.join(CUT_FROM)}")
    try:
        _let_pass(third_s)
        with plain_errors(f"cutting the power of {node.name}"):
            machine.kill()
        off_s = time.monotonic()
        say(f"demo: {node.name} has no power")
        try:
            _let_pass(options.power_off_s)
        finally:
            with plain_errors(f"giving {node.name} its power back"):
                machine.start()
        power_off_s, power_back_s = time.monotonic() - off_s, time.time()
        say(f"demo: {node.name} boots, still cut off")
        _let_pass(began_s + options.outage_s - time.time())
    finally:
        outages.mend(machine, node.name)
    say(f"demo: {node.name} has its line back")
    return _Outage(began_s, time.time(), power_back_s, power_off_s)


def _let_pass(seconds: float) -> None:
    """The outage is a matter of time, not of a condition."""
    until(lambda: None, every_s=seconds, timeout_s=max(0.0, seconds))


def _caught_up(cluster: Cluster, node: Node, outage: _Outage, say: Say) -> frozenset[str]:
    """Wait until all is there that there was to wait for; the ids of all events by then."""

    def recorded_again() -> bool:
        return all(
            any(film.start > outage.power_back_s for film in one.films) for one in records.accounts(cluster, node)
        )

    _wait(recorded_again, f"film of {node.name}'s cameras after the power cut", CATCH_UP_S)
    say(f"demo: {node.name} records again")
    films = {one.camera: {film.file for film in one.films} for one in _all(cluster)}

    def looked_at() -> bool:
        return not any(films[one.camera] & set(one.waiting()) for one in _all(cluster))

    _wait(looked_at, "all film to be looked at", CATCH_UP_S)
    events = frozenset(event for one in _all(cluster) for event in one.published)
    say(f"demo: all {sum(map(len, films.values()))} files are looked at; {len(events)} events")
    store = machines.container_of(cluster.name, STORE)
    _wait(lambda: events <= set(_documents(stores.objects(store))), "all events to arrive in the store", CATCH_UP_S)
    # For the page's pictures; a slow machine makes them later.
    until(lambda: not _clips_to_make(cluster) or None, every_s=LOOK_S, timeout_s=CLIPS_S)
    return events


def _counted(cluster: Cluster, node: Node, outage: _Outage, began_s: float, events: frozenset[str]) -> LiveRecord:
    """The count, of `events`: what was published since then may be on its way."""
    accounts = _all(cluster)
    published = [event for one in accounts for event in one.published]
    store = machines.container_of(cluster.name, STORE)
    # The listing before the journal: what arrives between the two is no fault.
    objects, puts = stores.objects(store), stores.puts(store)
    documents = _documents(objects)
    twice = {key for key, count in puts.items() if count > 1} | {one for one in documents if documents.count(one) > 1}
    in_outage = [
        line
        for one in accounts
        if one.node == node.name
        for line in one.looked
        if outage.began_s <= line.at_s <= outage.ended_s
    ]
    return LiveRecord(
        node=node.name,
        outage_s=round(outage.ended_s - outage.began_s, 1),
        power_off_s=round(outage.power_off_s, 1),
        looked_at_in_outage=len(in_outage),
        cameras=tuple(_camera(one, began_s) for one in accounts),
        events=len(events),
        published_twice=tuple(sorted({one for one in published if published.count(one) > 1})),
        not_arrived=tuple(sorted(events - set(documents))),
        stored=len(events & set(documents)),
        put_twice=tuple(sorted(twice)),
        clips_stored=len(events & set(_events_of(objects, "mp4"))),
        clips_to_make=_clips_to_make(cluster),
    )


def _camera(account: Account, began_s: float) -> CameraRecord:
    start_s = max(began_s, min(film.start for film in account.films))
    end_s = max(film.end for film in account.films)
    return CameraRecord(
        node=account.node,
        camera=account.camera,
        files=len(account.films),
        looked_at=len({one.segment for one in account.looked}),
        looked_at_twice=tuple(account.looked_at_twice()),
        gaps=tuple((gap.reason, round(gap.end - gap.start, 1)) for gap in account.gaps if gap.end > start_s),
        without_film_s=round(account.without_film_s(start_s, end_s), 1),
        unaccounted_s=round(account.unaccounted_s(start_s, end_s), 1),
        events=len(account.published),
        lag_s=tuple(round(one.lag_s, 1) for one in account.looked if one.closed_s > began_s),
    )


def _clips_to_make(cluster: Cluster) -> int:
    answers = watches.looks(cluster, cluster.compute).values()
    return sum(one.watch.clips_to_make for one in answers if not isinstance(one, ShoalError) and one.watch)


def _documents(objects: list[str]) -> list[str]:
    """Ids of the events whose documents are among these objects, as often as they are."""
    return _events_of(objects, "json")


def _events_of(objects: list[str], suffix: str) -> list[str]:
    names = [key.rpartition("/")[2].split(".") for key in objects if "/tests/" not in f"/{key}"]
    return [words[0] for words in names if words[-1] == suffix]


def _all(cluster: Cluster) -> list[Account]:
    return [one for node in cluster.compute for one in records.accounts(cluster, node)]


def _wait(holds: Callable[[], bool], what: str, timeout_s: float) -> None:
    def asked() -> bool | None:
        try:
            return holds() or None
        except ShoalError:
            return None  # a node that boots does not answer yet; the time limit holds all the same

    if until(asked, every_s=LOOK_S, timeout_s=timeout_s) is None:
        raise ShoalError(
            f"{what}: not within {timeout_s:.0f} s",
            hint="`shoal watch status` and `shoal lab logs NODE` say more; the machine may be too slow for its cameras",
        )


def sentences(record: LiveRecord) -> Iterator[str]:
    """What there is to say of it, for people."""
    off = f"without power for {record.power_off_s:.0f} s of them"
    yield f"{record.node} was cut off for {record.outage_s:.0f} s, and {off}"
    yield f"it was done with {record.looked_at_in_outage} files while it was cut off"
    for one in record.cameras:
        gaps = ", ".join(f"{seconds:.0f} s {reason}" for reason, seconds in one.gaps) or "none"
        lag = f", lag {', '.join(f'{lag_s:.0f}' for lag_s in one.lag_s)} s" if one.lag_s else ""
        yield (
            f"{one.camera}: {one.looked_at} of {one.files} files looked at, {one.events} events{lag}; "
            f"without film: {one.without_film_s:.0f} s (noted: {gaps}), unaccounted for: {one.unaccounted_s:.0f} s"
        )
    yield f"{record.events} events were published, {record.stored} are in the store, with {record.clips_stored} clips"
    yield f"not arrived: {len(record.not_arrived)}; there or sent twice: {len(record.put_twice)}" + (
        f"; clips still being made: {record.clips_to_make}" if record.clips_to_make else ""
    )
