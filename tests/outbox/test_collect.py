"""What comes into the outbox, and what never does."""

from __future__ import annotations

import fcntl
import hashlib
import json
import shutil
import time
from pathlib import Path

import jsonschema
import pytest

from outbox import ship
from outbox.ledger import CLIP, EVENT
from outbox.status import status
from tests.outbox.making import MemoryStore, bench, event, finish, run_folder


def test_the_fixture_is_an_event_by_the_detectors_schema() -> None:
    schema = json.loads(Path("detector/schemas/event.schema.json").read_text(encoding="utf-8"))
    for document, _ in (event(1), event(2, severity="record", state="quarantined"), event(3, clip=None)):
        jsonschema.validate(document, schema)


def test_a_finished_run_comes_in_with_its_verified_clips(tmp_path: Path) -> None:
    made = bench(tmp_path)
    run_folder(made.runs, "run-1", [event(1, clip=b"one"), event(2, severity="record", clip=b"two")])
    found = made.collect()
    assert (found.events, found.clips, found.without_clip, found.faults) == (2, 2, 0, 0)
    entries = {entry.severity: entry for entry in made.ledger.open_entries()}
    clip = entries["alert"].part(CLIP)
    assert clip is not None
    assert clip.key.startswith(f"alerts/gate-1/2026-11-30/{1:032x}.")
    assert made.ledger.content(clip.sha256).read_bytes() == b"one"
    document = entries["record"].part(EVENT)
    assert document is not None
    line = (made.runs / "run-1" / "events.jsonl").read_bytes().splitlines(keepends=True)[1]
    assert made.ledger.content(document.sha256).read_bytes() == line


def test_a_run_that_is_not_finished_stays_out(tmp_path: Path) -> None:
    made = bench(tmp_path)
    folder = run_folder(made.runs, "run-1", [event(1)], finished=False)
    assert made.collect().events == 0
    finish(folder)
    assert made.collect().events == 1


def test_a_second_scan_brings_nothing_again(tmp_path: Path) -> None:
    made = bench(tmp_path)
    run_folder(made.runs, "run-1", [event(1)])
    assert made.collect().events == 1
    assert made.collect().events == 0
    (made.ledger.root / "runs" / "run-1.json").unlink()  # a scan that was cut off before its mark
    assert made.collect().events == 0
    assert len(made.ledger.open_entries()) == 1


@pytest.mark.parametrize("state", ["quarantined", "none", "unheard-of"])
def test_a_clip_that_is_not_verified_never_comes_in(tmp_path: Path, state: str) -> None:
    made = bench(tmp_path)
    document, clip = event(1, clip=b"a face", state=state)
    assert clip is not None
    folder = run_folder(made.runs, "run-1", [(document, clip)])
    # As hostile as it can be: the file is where a verified one would be, and the event names it.
    (folder / "clips" / f"{document['id']}.mp4").write_bytes(clip)
    document["clip"] |= {
        "file": f"clips/{document['id']}.mp4",
        "sha256": hashlib.sha256(clip).hexdigest(),
        "size_bytes": len(clip),
    }
    (folder / "events.jsonl").write_text(json.dumps(document) + "\n")
    finish(folder)
    found = made.collect()
    assert (found.events, found.clips, found.without_clip) == (1, 0, 1)
    assert all(b"a face" not in path.read_bytes() for path in made.ledger.root.rglob("*") if path.is_file())


def test_a_clip_with_another_hash_never_comes_in(tmp_path: Path) -> None:
    made = bench(tmp_path)
    document, _ = event(1, clip=b"masked")
    folder = run_folder(made.runs, "run-1", [(document, b"masked")], finished=False)
    (folder / "clips" / f"{document['id']}.mp4").write_bytes(b"a face")
    finish(folder)
    found = made.collect()
    assert (found.events, found.clips) == (1, 0)
    assert "hash" in made.warned[0]
    assert all(b"a face" not in path.read_bytes() for path in made.ledger.root.rglob("*") if path.is_file())


@pytest.mark.parametrize("what", ["file", "folder"])
def test_links_out_of_the_run_are_not_followed(tmp_path: Path, what: str) -> None:
    made = bench(tmp_path)
    document, _ = event(1, clip=b"secret")
    folder = run_folder(made.runs, "run-1", [(document, None)], finished=False)
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / f"{document['id']}.mp4").write_bytes(b"secret")
    if what == "file":
        (folder / "clips" / f"{document['id']}.mp4").symlink_to(outside / f"{document['id']}.mp4")
    else:
        (folder / "clips").rmdir()
        (folder / "clips").symlink_to(outside)
    finish(folder)
    assert made.collect().clips == 0


def test_lines_that_are_no_events_are_told_and_the_others_come_in(tmp_path: Path) -> None:
    made = bench(tmp_path)
    bad = b'[]\nnot json\n{"version": 2}\n' + json.dumps({**event(9)[0], "id": "../../etc/passwd"}).encode() + b"\n"
    run_folder(made.runs, "run-1", [event(1)], extra_lines=bad)
    found = made.collect()
    assert (found.events, found.faults) == (1, 4)
    assert len(made.warned) == 4
    assert "id is not as it must be" in made.warned[3]


def test_events_that_their_manifest_does_not_list_stay_out(tmp_path: Path) -> None:
    made = bench(tmp_path)
    folder = run_folder(made.runs, "run-1", [event(1)])
    (folder / "events.jsonl").write_text(json.dumps(event(2)[0]) + "\n")
    found = made.collect()
    assert (found.events, found.faults) == (0, 1)
    assert "manifest" in made.warned[0]


def test_a_full_disk_leaves_the_run_where_it_is_and_it_comes_in_later(tmp_path: Path) -> None:
    made = bench(tmp_path, disk_floor_bytes=1000)
    run_folder(made.runs, "run-1", [event(1, clip=b"x" * 500)])
    made.free = 1400
    assert made.collect().put_off == 1
    assert made.ledger.open_entries() == []
    made.free = 1 << 30
    assert made.collect().clips == 1


def test_a_detector_at_work_is_seen_by_its_lock_alone(tmp_path: Path) -> None:
    made = bench(tmp_path)
    folder = run_folder(made.runs, "run-1", [event(1)], finished=False)
    assert not made.collect().at_work
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert made.collect().at_work
    assert not made.collect().at_work


@pytest.mark.parametrize("shipped_between", [True, False])
@pytest.mark.parametrize("new_stays", [True, False])
def test_a_watchs_event_goes_before_its_clip_and_each_of_them_once(
    tmp_path: Path, shipped_between: bool, new_stays: bool
) -> None:
    """The folder `new-ID`, then `watch-ID`; however often it looks, and whatever it finds of the two."""
    made, store = bench(tmp_path), MemoryStore()
    whole, clip = event(7)
    pending = dict.fromkeys(("file", "sha256", "size_bytes", "frames"))
    early = {**whole, "clip": {**whole["clip"], **pending, "state": "pending", "reason": "it is being made"}}
    new = run_folder(made.runs, f"new-{whole['id']}", [(early, None)])
    for _ in range(2):
        made.collect()
        (entry,) = made.ledger.open_entries()
        assert ([part.kind for part in entry.parts], entry.run) == (["event"], f"watch-{whole['id']}")
    if shipped_between:
        ship.ship(made.settings, made.ledger, store, made.said.append)
        assert made.ledger.open_entries() == []
    run_folder(made.runs, f"watch-{whole['id']}", [(whole, clip)])
    if not new_stays:
        shutil.rmtree(new)
    for _ in range(2):
        made.collect()
        (entry,) = made.ledger.open_entries()
        assert [part.kind for part in entry.parts] == ["event", "clip"]
        assert [*made.ledger.closed_entries()] == []
    ship.ship(made.settings, made.ledger, store, made.said.append)
    made.collect()
    (entry,) = made.ledger.closed_entries()
    assert all((part.state, part.attempts) == ("shipped", 1) for part in entry.parts)
    assert [key.rpartition(".")[2] for key in store.puts] == ["json", "mp4"]
    assert json.loads(store.objects[store.puts[0]]) == early


def test_a_watchs_event_whose_clip_cannot_be_made_is_shipped_once_and_says_why(tmp_path: Path) -> None:
    made, store = bench(tmp_path), MemoryStore()
    whole, _ = event(7, state="quarantined")
    early = {**whole, "clip": {**whole["clip"], "state": "pending"}}
    run_folder(made.runs, f"new-{whole['id']}", [(early, None)])
    made.collect()
    ship.ship(made.settings, made.ledger, store, made.said.append)
    (entry,) = made.ledger.closed_entries()
    assert status(made.settings, made.ledger, time.time())["without_clip"] == 0  # it may come yet
    run_folder(made.runs, f"watch-{whole['id']}", [(whole, None)])
    made.collect()
    (entry,) = made.ledger.closed_entries()
    assert entry.no_clip == "quarantined"
    assert made.ledger.open_entries() == []
    assert status(made.settings, made.ledger, time.time())["without_clip"] == 1
    assert len(store.puts) == 1


def test_an_entry_that_was_opened_again_and_cut_off_is_one_entry(tmp_path: Path) -> None:
    """A kill between the entry's two places."""
    made = bench(tmp_path)
    run_folder(made.runs, "run-1", [event(7)])
    made.collect()
    (entry,) = made.ledger.open_entries()
    name = f"{entry.id}.json"
    shutil.copy(made.ledger.root / "open" / name, made.ledger.root / "closed" / name)
    with made.ledger.writing():
        made.ledger.mend()
    assert [*made.ledger.closed_entries()] == []
    assert made.ledger.open_entries() == [entry]
