"""A run's folder belongs to a container: what it holds ends neither the others' shipping nor what waits already."""

from __future__ import annotations

import hashlib
import json
import os
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from outbox import age, disk, retention, ship
from outbox.collect import BadEventError, Collected, Scan, parse_event
from outbox.ledger import CLIP, WAITING, LedgerError
from tests.outbox.making import Bench, MemoryStore, bench, event, finish, run_folder

GB = 10**9


def with_honest_run(tmp_path: Path) -> Bench:
    """An outbox beside one honest run, whose name comes after the hostile one's."""
    made = bench(tmp_path)
    run_folder(made.runs, "z-honest", [event(1, clip=b"honest")])
    return made


def honest_came_in(made: Bench) -> bool:
    return any(entry.run == "z-honest" and entry.part(CLIP) is not None for entry in made.ledger.open_entries())


@pytest.mark.parametrize(
    "manifest",
    [
        b"[" * 200_000,
        b'{"files": ' + b"[" * 200_000,
        b"[]",
        b"7",
        b"",
        b"\xff",
        b'{"files": [[]]}',
        b'{"files": {"a": 1}}',
    ],
)
def test_a_hostile_manifest_ends_nobody_elses_shipping(tmp_path: Path, manifest: bytes) -> None:
    made = with_honest_run(tmp_path)
    (run_folder(made.runs, "a-hostile", [event(2)]) / "manifest.json").write_bytes(manifest)
    found = made.collect()
    assert (found.events, found.faults) == (1, 1)
    assert honest_came_in(made)


@pytest.mark.parametrize("name", ["events.jsonl", "clips/" + f"{2:032x}.mp4"])
def test_a_pipe_in_place_of_a_file_is_not_waited_for(tmp_path: Path, name: str) -> None:
    made = with_honest_run(tmp_path)
    folder = run_folder(made.runs, "a-hostile", [event(2)])
    (folder / name).unlink()
    os.mkfifo(folder / name)
    made.collect()
    assert honest_came_in(made)
    assert all(entry.part(CLIP) is None for entry in made.ledger.open_entries() if entry.run == "a-hostile")


def claimed(made: Bench, size_bytes: int, real_bytes: int) -> None:
    """A run whose clip says it is that large, and is a file of so many bytes, all of them holes."""
    document, _ = event(2)
    document["clip"]["size_bytes"] = size_bytes
    folder = run_folder(made.runs, "z-hostile", [(document, b"x")], finished=False)
    os.truncate(folder / document["clip"]["file"], real_bytes)
    (folder / "manifest.json").write_text(
        json.dumps(
            {
                "files": [
                    {
                        "path": "events.jsonl",
                        "sha256": hashlib.sha256((folder / "events.jsonl").read_bytes()).hexdigest(),
                    }
                ]
            }
        )
    )


def dropping(made: Bench) -> Collected:
    """One scan with the node's own way to make room: by dropping what waits."""
    now_s = time.time()
    keeper = retention.Keeper(
        made.settings, made.ledger, age.advance(made.ledger.root, now_s), lambda: made.free, made.warned.append
    )

    def room(wanted_bytes: int) -> bool:
        keeper.make_room(wanted_bytes)
        return made.free - wanted_bytes >= 0

    return Scan(made.settings, made.ledger, now_s, room, made.warned.append).collect()


@pytest.mark.parametrize(("size_bytes", "real_bytes"), [(10**18, 1), (50 * GB, 50 * GB), (1, 50 * GB), (10**400, 1)])
def test_what_waits_is_not_dropped_for_a_clip_that_is_only_claimed(
    tmp_path: Path, size_bytes: int, real_bytes: int
) -> None:
    made = bench(tmp_path)
    run_folder(made.runs, "a-honest", [event(1, clip=b"honest")])
    made.collect()
    claimed(made, size_bytes, real_bytes)
    made.free = 1 << 30
    found = dropping(made)
    assert (found.clips, found.put_off) == (0, 0)
    waiting = [part for entry in made.ledger.open_entries() for part in entry.parts if part.kind == CLIP]
    assert [part.state for part in waiting] == [WAITING]
    assert sum(path.stat().st_size for path in made.ledger.root.rglob("*") if path.is_file()) < 1 << 20


ODD = st.sampled_from(["\ud800", 10**400])
JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(st.characters())
    | st.sampled_from(["\ud800", 10**400]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)
FIELDS = sorted(event(1)[0])


@settings(max_examples=150, suppress_health_check=list(HealthCheck))
@given(field=st.sampled_from(FIELDS), value=JSON)
def test_an_event_is_taken_or_refused_in_words(field: str, value: Any) -> None:
    document = {**event(1)[0], field: value}
    try:
        taken = parse_event(json.dumps(document).encode())
    except BadEventError as error:
        assert str(error).isprintable()
    else:
        json.dumps(taken, ensure_ascii=False).encode("utf-8", "surrogatepass")
        taken["camera"].encode()


@pytest.mark.parametrize("field", ["severity", "privacy", "camera"])
@pytest.mark.parametrize("value", [[], {}, "\ud800", 5])
def test_fields_of_other_kinds_fault_that_line_alone(tmp_path: Path, field: str, value: Any) -> None:
    made = with_honest_run(tmp_path)
    run_folder(made.runs, "a-hostile", [event(2, **{field: value}), event(3)])
    found = made.collect()
    assert (found.events, found.faults) == (2, 1)
    assert honest_came_in(made)


@pytest.mark.parametrize("name", ["lock", "events.jsonl", "clips"])
def test_a_folder_in_place_of_a_file_ends_nothing(tmp_path: Path, name: str) -> None:
    made = with_honest_run(tmp_path)
    folder = run_folder(made.runs, "a-hostile", [event(2)], finished=False)
    finish(folder)
    place = folder / name
    if place.is_dir():
        place.rename(folder / "aside")
        place.write_bytes(b"")
    else:
        place.unlink()
        place.mkdir()
    made.collect()
    assert honest_came_in(made)


def test_a_run_whose_lock_is_none_stays_and_the_others_go(tmp_path: Path) -> None:
    made = bench(tmp_path, keep_runs_days=1)
    store = MemoryStore()
    for name in ("a-hostile", "z-honest"):
        run_folder(made.runs, name, [event(1 if name == "z-honest" else 2)])
    made.collect()
    ship.ship(made.settings, made.ledger, store, made.said.append)
    (made.runs / "a-hostile" / "lock").unlink()
    (made.runs / "a-hostile" / "lock").mkdir()
    gone = made.tidy(time.time() + 5 * 86_400)
    assert gone.runs == ("z-honest",)


@pytest.mark.parametrize("place", ["open", "closed", "sha256"])
def test_root_writes_through_no_link_in_the_shippers_folder(tmp_path: Path, place: str) -> None:
    """The folder is the shipper's user's, who has a network and a credential; the collector is root."""
    made = bench(tmp_path)
    other = tmp_path / "somebody-elses"
    other.write_bytes(b"as it was")
    before = other.stat()
    folder = run_folder(made.runs, "run-1", [event(1, clip=b"one")])
    line = (folder / "events.jsonl").read_bytes()
    entry = hashlib.sha256(line).hexdigest()
    names = {
        "open": [made.ledger.root / "open" / f".{entry[:32]}.json.part"],
        "closed": [made.ledger.root / "runs" / ".run-1.json.part", made.ledger.root / ".arrived.part"],
        "sha256": [made.ledger.root / "sha256" / f".{hashlib.sha256(b'one').hexdigest()}.part"],
    }[place]
    for name in names:
        name.symlink_to(other)
    assert made.collect().clips == 1
    assert other.read_bytes() == b"as it was"
    assert (other.stat().st_uid, other.stat().st_mode) == (before.st_uid, before.st_mode)
    (entered,) = made.ledger.open_entries()
    clip = entered.part(CLIP)
    assert clip is not None
    assert made.ledger.content(clip.sha256).read_bytes() == b"one"


def test_a_lock_or_a_folder_that_is_a_link_is_not_followed(tmp_path: Path) -> None:
    other = tmp_path / "other"
    (tmp_path / "lock").symlink_to(other)
    with pytest.raises(OSError, match="symbolic links"), disk.locked(tmp_path / "lock", wait=False):
        pass
    assert not other.exists()
    other.mkdir()
    (tmp_path / "folder").symlink_to(other)
    with pytest.raises(OSError, match="symbolic links"):
        disk.folder(tmp_path / "folder")


@pytest.mark.parametrize("kind", ["pipe", "link", "deep"])
def test_an_entry_that_is_none_is_told_and_not_waited_for(tmp_path: Path, kind: str) -> None:
    """`shoal outbox status` asks as root, in the shipper's folder."""
    made = bench(tmp_path)
    entry = made.ledger.root / "open" / "x.json"
    if kind == "pipe":
        os.mkfifo(entry)
    elif kind == "link":
        entry.symlink_to("/dev/zero")
    else:
        entry.write_text("[" * 200_000)
    with pytest.raises(LedgerError, match=r"x\.json"):
        made.ledger.open_entries()
