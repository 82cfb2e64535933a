"""Two nodes with two cameras each, watched: steadily, killed at random, and with a disk that is full.

A spell is three minutes; `SHOAL_SPELL_S=600` makes it ten. Figures are printed; what is asserted holds on a slow
machine.
"""

from __future__ import annotations

import json
import os
import random
import time
from collections.abc import Iterator
from dataclasses import dataclass

import pytest
from live_cameras import until

from shoal.cluster import reach as reaches
from shoal.cluster.document import Cluster
from shoal.demo import live
from shoal.deploys.run import run_deploy
from shoal.lab import state, store
from shoal.lab.down import down
from shoal.lab.spec import LabSpec
from shoal.lab.status import container_of
from shoal.lab.up import up
from shoal.paths import cluster_document
from shoal.site import camera_films
from shoal.site import document as site
from shoal.site.watch import SiteWatch
from shoal.telling import to_stderr
from shoal.watch import account as records
from shoal.watch import status as watches
from shoal.watch.account import Account

pytestmark = [pytest.mark.lab, pytest.mark.timeout(3600)]

NAME = os.environ.get("SHOAL_TEST_LAB", "watchtest")
SPELL_S = float(os.environ.get("SHOAL_SPELL_S", "180"))
WATCH = SiteWatch(img=320, stride=5, stride_most=20)


@dataclass
class Watched:
    """The lab."""

    cluster: Cluster

    def on(self, machine: str, script: str) -> str:
        """A root shell on a machine, through the lab's engine."""
        code, output = container_of(NAME, machine).exec_run(["sh", "-c", script])
        assert code == 0, output
        return bytes(output).decode()

    def accounts(self) -> dict[str, Account]:
        return {one.camera: one for node in self.cluster.compute for one in records.accounts(self.cluster, node)}

    def caught_up(self, limit_s: float = 600) -> dict[str, Account]:
        """The records, when all is looked at that is recorded by now."""
        films = {camera: {film.file for film in one.films} for camera, one in self.accounts().items()}

        def done() -> bool:
            return not any(films[camera] & set(one.waiting()) for camera, one in self.accounts().items())

        until(done, "all film is looked at", limit_s)
        return self.accounts()

    def usage(self, node: str) -> tuple[int, int]:
        """Resident kilobytes and open descriptors of a node's watch and recorders."""
        script = (
            "for p in $(pgrep -f '[s]hoal_detect|[r]ecorder.pyz'); do "
            "awk '/VmRSS/{print $2}' /proc/$p/status 2>/dev/null; ls /proc/$p/fd 2>/dev/null | wc -l; done"
        )
        numbers = [int(word) for word in self.on(node, script).split()]
        return sum(numbers[::2]), sum(numbers[1::2])


@pytest.fixture(scope="module")
def watched(lab_environment: None) -> Iterator[Watched]:
    existed = state.load_facts(NAME) is not None
    cluster = up(LabSpec(name=NAME, compute=2, cameras=2), films=lambda: camera_films.films(say=to_stderr))
    if site.load(cluster.name) is None:
        site.prepare(cluster, with_videos=False, events=live.RULES, say=to_stderr)
    site.set_watch(cluster.name, WATCH)
    run_deploy(reaches.made(cluster_document(NAME), cluster), "site", say=to_stderr, timeout_s=1800)
    made = Watched(cluster)
    until(lambda: all(one.looked for one in made.accounts().values()), "the first file of every camera", 300)
    yield made
    if not existed:
        assert down(NAME).clean


def arrived_once(watched: Watched, accounts: dict[str, Account]) -> None:
    published = [event for one in accounts.values() for event in one.published]
    assert len(published) == len(set(published))
    machine = container_of(NAME, "store")

    def documents() -> list[str]:
        return [key.rpartition("/")[2].split(".")[0] for key in store.objects(machine) if key.endswith(".json")]

    until(lambda: set(published) <= set(documents()), "all events arrive", 300)
    assert len(documents()) == len(set(documents()))
    assert {key: count for key, count in store.puts(machine).items() if count > 1} == {}


def test_a_spell_of_steady_watching(watched: Watched) -> None:
    watched.caught_up()
    began_s = time.time()
    before = {node.name: watched.usage(node.name) for node in watched.cluster.compute}
    until(lambda: time.time() > began_s + SPELL_S, "a spell", SPELL_S + 60)
    accounts = watched.caught_up()
    after = {node.name: watched.usage(node.name) for node in watched.cluster.compute}
    for camera, one in accounts.items():
        assert one.unaccounted_s(began_s, max(film.end for film in one.films)) == 0
        assert one.without_film_s(began_s, max(film.end for film in one.films)) == 0
        assert one.looked_at_twice() == []
        lags = sorted(line.lag_s for line in one.looked if line.closed_s > began_s)
        to_stderr(f"{camera}: {len(lags)} files, lag p95 {lags[int(len(lags) * 0.95)]:.1f} s, most {lags[-1]:.1f} s")
        assert lags[-1] < WATCH_BEHIND_S
    for node, (memory_kb, descriptors) in after.items():
        to_stderr(f"{node}: {before[node]} -> {after[node]} kB and descriptors")
        assert memory_kb < 1.3 * before[node][0] + 300_000  # a process for clips may have come
        assert descriptors <= before[node][1] + 20
    found = {
        one.camera: one
        for name, look in watches.looks(watched.cluster, watched.cluster.compute).items()
        if not isinstance(look, Exception)
        for one in watches.cameras_of(watched.cluster.node(name), look)
    }
    assert {one.recording for one in found.values()} == {"yes"}
    assert len(found) == 4
    arrived_once(watched, accounts)


WATCH_BEHIND_S = 180.0
"""From when on the watch looks at less."""
VICTIMS = (
    "[s]hoal_detect watch",
    "[s]hoal_detect.child",
    "[s]hoal_detect.watch.child",
    "[r]ecorder.pyz",
    "[/]usr/bin/ffmpeg",
    "[o]utbox.pyz",
    "[r]clone --config",
)


def test_kills_at_random_lose_no_file_and_no_event(watched: Watched) -> None:
    dice = random.Random(18)
    began_s = time.time()
    kills = 0
    while time.time() < began_s + SPELL_S:
        node = dice.choice([node.name for node in watched.cluster.compute])
        kills += len(watched.on(node, f"pkill -9 -e -f '{dice.choice(VICTIMS)}' || true").splitlines())
        time.sleep(dice.uniform(1, 6))  # the moment of the next kill, anywhere
    assert kills > 5
    ended_s = time.time()

    def recorded_again() -> bool:
        return all(any(film.end > ended_s for film in one.films) for one in watched.accounts().values())

    until(recorded_again, "every camera is recorded again", 300)
    accounts = watched.caught_up()
    for camera, one in accounts.items():
        assert one.looked_at_twice() == []
        assert one.unaccounted_s(began_s, max(film.end for film in one.films)) == 0
        gaps = [gap.reason for gap in one.gaps if gap.end > began_s]
        to_stderr(f"{camera}: {len(one.films)} files, gaps {gaps}")
    to_stderr(f"{kills} processes killed")
    arrived_once(watched, accounts)


def test_a_full_disk_costs_none_of_others_footage(watched: Watched) -> None:
    """Today's film and others' files stay; where all is of today the recorder goes on as long as it can."""
    node, camera = "compute-2", "compute-2-b"
    settings = f"/etc/shoal/recorder/{camera}.json"
    watched.on(node, f"echo theirs > /videos/cameras/{camera}/theirs.mp4")
    watched.on(node, "mkdir -p /videos/other && echo theirs > /videos/other/film.mp4")
    watched.on(node, f"cp -p {settings} /tmp/settings.json")
    raw = json.loads(watched.on(node, f"cat {settings}"))
    raw["disk_floor_bytes"] = 10**15
    watched.on(node, f"cat > {settings} <<'END'\n{json.dumps(raw)}\nEND")
    try:
        watched.on(node, f"systemctl restart shoal-recorder@{camera}")
        before = watched.accounts()[camera]
        until(lambda: len(watched.accounts()[camera].films) >= len(before.films) + 2, "it goes on recording", 300)
        assert {film.file for film in before.films} <= {film.file for film in watched.accounts()[camera].films}
        there = f"cat /videos/cameras/{camera}/theirs.mp4 /videos/other/film.mp4"
        assert watched.on(node, there) == "theirs\ntheirs\n"
    finally:
        watched.on(node, f"cp -p /tmp/settings.json {settings} && systemctl restart shoal-recorder@{camera}")
        watched.on(node, f"rm -r /videos/other /videos/cameras/{camera}/theirs.mp4 /tmp/settings.json")
