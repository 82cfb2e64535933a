"""Disks that are full, read-only or slow, under a node that records and watches: it is named, nothing is lost that was
there, and all goes on by itself when the disk does.

The film's disk and the state's are two small ones in memory, so that others can fill them.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack

import pytest
from lab_under_test import Lab
from live_cameras import Camera, as_a_camera_has_it, until
from watched_node import WATCH, WatchedNode, watched_node

from shoal.site import camera_films
from shoal.telling import to_stderr

pytestmark = [pytest.mark.lab, pytest.mark.timeout(1800)]

CAMERA = "door"
UNIT = f"shoal-recorder@{CAMERA}.service"
THEIRS = "/videos/other/film.mp4"
OUTBOX = " ".join(f"shoal-outbox{name}.{kind}" for name in ("", "-collect") for kind in ("path", "timer"))
DISKS = {"/videos": "200m", "/var/lib/shoal": "700m"}


def small_disks(node: WatchedNode) -> None:
    """What ran before ends, and its state stays below."""
    node.on("systemctl stop 'shoal-*'", check=False)
    for place, size in DISKS.items():
        node.on(f"mkdir -p {place} && mount -t tmpfs -o size={size},mode=755 none {place}")


@pytest.fixture(scope="module")
def node(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Iterator[WatchedNode]:
    folder = tmp_path_factory.mktemp("cameras")
    clip = camera_films.films(say=to_stderr)[0]
    as_a_camera_has_it(clip, folder / f"{CAMERA}.mp4", (320, 240))
    camera = Camera(CAMERA, folder, lab.facts.gateway, 18800)
    with ExitStack() as stack:
        camera.start()
        stack.callback(camera.stop)
        entries = [{"name": CAMERA, "source": camera.source, "keep_days": 1}]
        made = stack.enter_context(watched_node(lab, folder, entries, small_disks))
        made.on(f"mkdir -p /videos/other && echo theirs > {THEIRS}")
        made.recorded_again(CAMERA)
        yield made
        made.on("systemctl stop 'shoal-*'; umount --lazy /videos /var/lib/shoal", check=False)


def fill(node: WatchedNode, place: str) -> None:
    """Others' files take all the room that is left."""
    node.on(f"dd if=/dev/zero of={place}/.big bs=4k status=none", check=False)


def alarms(node: WatchedNode) -> str:
    code, status = node.status()
    assert code == 3
    return " ".join(status[CAMERA]["alarms"])


def untouched(node: WatchedNode, films: list[str]) -> None:
    """Others' files and the film of before are there."""
    assert node.on(f"cat {THEIRS}") == "theirs\n"
    assert set(films) <= set(node.on(f"cd /videos/cameras/{CAMERA} && ls 2*/*.mp4").split())


def goes_on(node: WatchedNode, began_s: float, reason: str, films: list[str]) -> None:
    """Without anybody's doing: film, account, events; and the status is content."""
    account = node.recorded_again(CAMERA)
    assert node.accounted(CAMERA, began_s) == {reason}
    untouched(node, films)
    node.readable(CAMERA, [film.file for film in account.films if film.end > began_s])
    node.watched_well(CAMERA)
    until(lambda: "disk" not in " ".join(node.status()[1][CAMERA]["alarms"]), "the status is content", 60)


def test_the_disk_of_film_is_full_of_others_files(node: WatchedNode) -> None:
    account = node.account(CAMERA)
    films, began_s = [film.file for film in account.films], account.films[-1].start
    before = node.restarts(UNIT)
    fill(node, "/videos")
    try:
        until(lambda: node.now(CAMERA).get("reason") == "disk_full", "it is named")
        words = alarms(node)
        assert "not recorded: disk_full" in words
        assert f"the disk of /videos/cameras/{CAMERA} is full" in words
        assert "make room" in words
        assert "disk_full: the disk of its film is full" in node.journal(UNIT, began_s)
        time.sleep(10)  # full, and tried again
        untouched(node, films)
    finally:
        node.on("rm /videos/.big")
    goes_on(node, began_s, "disk_full", films)
    assert node.restarts(UNIT) == before


def read_only(node: WatchedNode, place: str, writers: str) -> None:
    """As an administrator does it, who ends whoever writes at that moment."""
    script = f"for i in $(seq 200); do {writers}; mount -o remount,ro {place} 2>/dev/null && exit 0; done; exit 1"
    node.on(script)


def test_the_disk_of_film_is_read_only(node: WatchedNode) -> None:
    account = node.recorded_again(CAMERA)
    films, began_s = [film.file for film in account.films], account.films[-1].start
    before = node.restarts(UNIT)
    read_only(node, "/videos", "pkill -9 -f '^/usr/bin/[f]fmpeg'")
    try:
        until(lambda: node.now(CAMERA).get("reason") == "disk_read_only", "it is named")
        words = alarms(node)
        assert "not recorded: disk_read_only" in words
        assert f"the disk of /videos/cameras/{CAMERA} is read-only" in words
        time.sleep(10)  # tried again
        untouched(node, films)
    finally:
        node.on("mount -o remount,rw /videos")
    goes_on(node, began_s, "disk_read_only", films)
    assert node.restarts(UNIT) == before


def test_the_disk_of_all_notes_is_full(node: WatchedNode) -> None:
    """Film goes on, and all of it is noted when there is room; no event is lost or made twice."""
    account = node.recorded_again(CAMERA)
    films, began_s = [film.file for film in account.films], account.films[-1].start
    recorder, watch = node.restarts(UNIT), node.restarts("shoal-watch.service")
    events = len(account.published)
    fill(node, "/var/lib/shoal")
    filled = time.monotonic()
    staged = f"ls /videos/cameras/{CAMERA}/.recording | grep -c mp4 || true"
    try:
        assert "the disk of /var/lib/shoal is full" in alarms(node)
        until(lambda: "the watch waits for that" in node.journal("shoal-watch.service", began_s), "the watch waits")
        # A line or two find room where the file's last block has some.
        until(lambda: int(node.on(staged)) > 3, "film goes on", 400)
        assert "the disk of its notes" in node.journal(UNIT, began_s)
        minutes = (time.monotonic() - filled) / 60
        assert node.restarts("shoal-watch.service") <= watch + 2 + minutes  # begun anew every minute
        assert node.restarts(UNIT) == recorder
    finally:
        node.on("rm /var/lib/shoal/.big")
    until(lambda: int(node.on(staged)) <= 1, "all film has its place")
    node.recorded_again(CAMERA)
    assert node.accounted(CAMERA, began_s) == set()
    untouched(node, films)
    until(lambda: len(node.account(CAMERA).published) > events, "there are new events", 300)
    node.watched_well(CAMERA)
    assert node.on(f"ls -A {WATCH}/.making 2>/dev/null || true") == ""


def test_the_disk_of_all_notes_is_read_only(node: WatchedNode) -> None:
    account = node.recorded_again(CAMERA)
    films, began_s = [film.file for film in account.films], account.films[-1].start
    writers = "docker kill shoal-watch >/dev/null 2>&1; systemctl stop 'shoal-outbox*' 2>/dev/null"
    read_only(node, "/var/lib/shoal", writers)
    staged = f"ls /videos/cameras/{CAMERA}/.recording | grep -c mp4 || true"
    try:
        until(lambda: int(node.on(staged)) > 3, "film goes on")
        assert "the disk of /var/lib/shoal is read-only" in alarms(node)
        until(lambda: "the watch waits for that" in node.journal("shoal-watch.service", began_s), "the watch waits")
    finally:
        node.on(f"mount -o remount,rw /var/lib/shoal; systemctl start {OUTBOX}")
    until(lambda: int(node.on(staged)) <= 1, "all film has its place")
    node.recorded_again(CAMERA)
    assert node.accounted(CAMERA, began_s) == set()
    untouched(node, films)
    node.watched_well(CAMERA)
