"""Two nodes with two cameras each, watched: steadily, killed at random, and with a disk that is full.

As long as a spell of `watched_lab`. Figures are printed; what is asserted holds on a slow machine.
"""

from __future__ import annotations

import json
import random
import time
from collections.abc import Iterator

import pytest
import undisturbed
from live_cameras import until
from watched_lab import SPELL_S, WATCH, Watched, brought_up, eventually

from shoal.paths import NODE_WATCH
from shoal.telling import to_stderr
from shoal.watch import status as watches
from shoal.watch.account import Account

pytestmark = [pytest.mark.lab, pytest.mark.timeout(7200)]


@pytest.fixture(scope="module")
def watched(lab_environment: None) -> Iterator[Watched]:
    # Who is behind gives alerts of the newest footage at once, which may be other ones than those of its turn.
    yield from brought_up(watch_behind_s=86_400)


def test_a_spell_of_steady_watching(watched: Watched) -> None:
    watched.caught_up()
    began_s = time.time()
    before = {node.name: watched.usage(node.name) for node in watched.cluster.compute}
    eventually(lambda: time.time() > began_s + SPELL_S, "a spell", SPELL_S + 60)
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
    to_stderr(f"{watched.arrived_once(accounts)} events, each there once")


WATCH_BEHIND_S = 180.0
"""From when on the watch looks at less, unless it is told not to."""
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

    eventually(recorded_again, "every camera is recorded again", 300)
    accounts = watched.caught_up(SPELL_S + 600)
    for camera, one in accounts.items():
        assert one.looked_at_twice() == []
        assert one.unaccounted_s(began_s, max(film.end for film in one.films)) == 0
        gaps = [gap.reason for gap in one.gaps if gap.end > began_s]
        to_stderr(f"{camera}: {len(one.films)} files, gaps {gaps}")
    to_stderr(f"{kills} processes killed")
    watched.arrived_once(accounts)
    equal_to_an_undisturbed_pass(watched, accounts)


def equal_to_an_undisturbed_pass(watched: Watched, accounts: dict[str, Account]) -> None:
    """The events of all film so far, with everything that is said of them, and the file that decided each."""
    nodes = [*watched.cluster.compute]
    films = {camera: {film.file for film in one.films} - {*one.waiting()} for camera, one in accounts.items()}
    with undisturbed.passes(watched, nodes, films, 120 + 30 * sum(map(len, films.values()))):
        for node in nodes:
            strides = {
                line["stride"]
                for camera in node.cameras
                for line in watched.lines(node.name, f"{NODE_WATCH}/cameras/{camera.name}/ledger.jsonl")
            }
            assert strides == {WATCH.stride}, "this lab was watched with another stride before: take it down"
            for camera in node.cameras:
                killed = undisturbed.found(watched, node, camera.name, films[camera.name])
                other = undisturbed.found(watched, node, camera.name, films[camera.name], undisturbed.STATE)
                assert killed.events
                assert killed.files == other.files
                assert killed.told == other.told
                assert killed.events == other.events
                to_stderr(f"{camera.name}: {len(killed.files)} files and {len(killed.events)} events, all equal")


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
