"""Order, budget, timetable and retention: what goes when, and what is dropped."""

from __future__ import annotations

import json
import random
import time
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from outbox import age, order, ship
from outbox.budget import Budget
from outbox.ledger import CLIP, DROPPED, SHIPPED, WAITING, Ledger
from outbox.settings import DAY_S, SettingsError, parsed
from outbox.timetable import TimetableError, parse
from tests.outbox.making import MemoryStore, bench, event, run_folder

NOON_S = 1_796_040_000.0  # 2026-11-30 12:00 UTC
MB = 1_000_000


def test_documents_first_alerts_before_records_the_newest_first(tmp_path: Path) -> None:
    made = bench(tmp_path)
    numbers = list(range(1, 9))
    random.Random(3).shuffle(numbers)
    run_folder(made.runs, "run-1", [event(n, severity="alert" if n % 2 else "record") for n in numbers])
    made.collect()
    store = MemoryStore()
    done = ship.ship(made.settings, made.ledger, store, made.said.append)
    sent = [(key.split("/")[0], int(key.split("/")[-1][:32], 16), key.rpartition(".")[2]) for key in done.order]
    alerts, records = [7, 5, 3, 1], [8, 6, 4, 2]
    assert sent == [
        *(("alerts", n, "json") for n in alerts),
        *(("records", n, "json") for n in records),
        *(("alerts", n, "mp4") for n in alerts),
        *(("records", n, "mp4") for n in records),
    ]


def test_what_comes_in_while_shipping_takes_its_place(tmp_path: Path) -> None:
    made = bench(tmp_path)
    run_folder(made.runs, "run-1", [event(1, severity="record"), event(2, severity="record")])
    made.collect()

    class Interrupting(MemoryStore):
        def put(self, source: Path, key: str, size_bytes: int, rate: str = "") -> int:
            if not self.puts:
                run_folder(made.runs, "run-2", [event(3)])
                made.collect()
            return super().put(source, key, size_bytes, rate)

    done = ship.ship(made.settings, made.ledger, Interrupting(), made.said.append)
    assert [key.split("/")[0] for key in done.order[:3]] == ["records", "alerts", "records"]


def test_a_clip_waits_for_its_events_document(tmp_path: Path) -> None:
    made = bench(tmp_path)
    run_folder(made.runs, "run-1", [event(1)])
    made.collect()
    assert [part.kind for _, part in order.ready(made.ledger.open_entries(), time.time())] == ["event"]


@given(
    limit=st.integers(0, 5000),
    steps=st.lists(
        st.tuples(st.integers(1, 2000), st.floats(0, 1), st.sampled_from(["sent", "killed", "next day", "clock back"])),
        max_size=40,
    ),
)
@example(limit=1, steps=[(1, 0.0, "sent"), (1, 1.0, "clock back"), (1, 1.0, "sent")])
@example(limit=1, steps=[(2, 0.0, "sent"), (1, 1.0, "clock back"), (1, 1.0, "sent")])
def test_a_day_never_sends_more_than_its_budget(tmp_path_factory, limit: int, steps: list) -> None:
    path = tmp_path_factory.mktemp("budget") / "budget.json"
    budget, now_s = Budget(path, limit), NOON_S
    over_the_link: dict[int, int] = {}
    latest_day = 0
    for wanted, share, what in steps:
        if what == "next day":
            now_s += DAY_S
        elif what == "clock back":
            now_s -= 1000 * DAY_S
        # What counts is the day as the world has it: a clock that went back does not begin a new one.
        latest_day = max(latest_day, int(now_s // DAY_S))
        budget = Budget(path, limit)
        budget.recover(now_s)
        if budget.reserve(now_s, wanted):
            sent = int(wanted * share)
            over_the_link[latest_day] = over_the_link.get(latest_day, 0) + sent
            if what != "killed":
                budget.settle(now_s, wanted, sent)
        if what == "clock back":
            now_s += 1000 * DAY_S
    assert all(sent <= limit for sent in over_the_link.values())


def test_what_does_not_fit_waits_for_the_next_day(tmp_path: Path) -> None:
    made = bench(tmp_path, budget_bytes_per_day=1500)
    run_folder(made.runs, "run-1", [event(1, clip=b"x" * 900), event(2, clip=b"y" * 901)])
    made.collect(NOON_S)
    documents = [part for entry in made.ledger.open_entries() for part in entry.parts if part.kind == "event"]
    free_bytes = 1500 - sum(part.size_bytes for part in documents)
    store, clock = MemoryStore(), [NOON_S]
    first = ship.ship(made.settings, made.ledger, store, made.said.append, lambda: clock[0])
    assert first.sent_bytes <= 1500
    assert free_bytes < 900
    assert first.why_ended == "the day's budget is spent"
    clock[0] += DAY_S
    second = ship.ship(made.settings, made.ledger, store, made.said.append, lambda: clock[0])
    assert [key.rpartition(".")[2] for key in second.order] == ["mp4"]
    clock[0] += DAY_S
    assert ship.ship(made.settings, made.ledger, store, made.said.append, lambda: clock[0]).shipped == 1
    assert made.ledger.open_entries() == []


@pytest.mark.parametrize(
    ("text", "when", "rate"),
    [
        ("", "Mon 03:00", "off"),
        ("512k", "Mon 03:00", "512k"),
        ("08:00,512k 18:00,off", "Mon 07:59", "off"),
        ("08:00,512k 18:00,off", "Mon 08:00", "512k"),
        ("08:00,pause 18:00,2M", "Sun 12:00", "pause"),
        ("08:00,512k Sat-00:00,off", "Sat 07:00", "off"),
        ("08:00,512k Sat-00:00,off", "Sun 03:00", "512k"),
        ("Wed-10:00,1M", "Mon 00:00", "1m"),
    ],
)
def test_the_timetable(monkeypatch: pytest.MonkeyPatch, text: str, when: str, rate: str) -> None:
    moment = time.strptime(f"2026-11-{23 + ['Mon', 'Sat', 'Sun'].index(when[:3]) % 7} {when[4:]}", "%Y-%m-%d %H:%M")
    day = {"Mon": 23, "Sat": 28, "Sun": 29}[when[:3]]
    moment = time.strptime(f"2026-11-{day} {when[4:]}", "%Y-%m-%d %H:%M")
    assert parse(text).rate(time.mktime(moment)) == rate.lower()


@pytest.mark.parametrize(
    "text", ["8:00,512k", "08:00", "25:00,1M", "08:00,fast", "08:00,1M 08:00,2M", "Foo-08:00,1M", "0"]
)
def test_a_timetable_that_cannot_be_read_is_refused(text: str) -> None:
    with pytest.raises(TimetableError, match="timetable"):
        parse(text)


def test_a_pause_begins_nothing(tmp_path: Path) -> None:
    made = bench(tmp_path, timetable="00:00,pause")
    run_folder(made.runs, "run-1", [event(1)])
    made.collect()
    store = MemoryStore()
    assert ship.ship(made.settings, made.ledger, store, made.said.append).why_ended == "the timetable says pause"
    assert store.looks == 0


def test_at_the_floor_shipped_runs_go_first_then_records_then_alerts_and_each_is_named(tmp_path: Path) -> None:
    made = bench(tmp_path, disk_floor_bytes=10 * MB)
    run_folder(made.runs, "run-old", [event(1)])
    made.collect()
    ship.ship(made.settings, made.ledger, MemoryStore(), made.said.append)
    run_folder(made.runs, "run-new", [event(2), event(3), event(4, severity="record"), event(5, severity="record")])
    made.collect()

    class Filling:
        """A disk on which each removal gives a megabyte."""

    left = {"free": 9 * MB}
    made_free = lambda: left["free"] + MB * (len(made.warned))  # noqa: E731

    def tidy() -> tuple[tuple[str, ...], tuple[str, ...]]:
        from outbox.retention import Keeper

        now = age.advance(made.ledger.root, time.time())
        done = Keeper(made.settings, made.ledger, now, made_free, made.warned.append).tidy()
        return done.runs, done.dropped

    assert tidy() == (("run-old",), ())
    assert (made.runs / "run-new").is_dir()
    left["free"] = 9 * MB - MB * len(made.warned)
    _, dropped = tidy()
    assert [int(key.split("/")[-1][:32], 16) for key in dropped] == [4]
    left["free"] = 7 * MB - MB * len(made.warned)
    _, dropped = tidy()
    assert [int(key.split("/")[-1][:32], 16) for key in dropped] == [5, 2, 3]
    assert all("run-old" in line or "disk floor" in line for line in made.warned)
    # Their events still go, and say what is missing.
    kinds = [part.kind for _, part in order.ready(made.ledger.open_entries(), time.time())]
    assert kinds == ["event"] * 4
    clips = [entry.part(CLIP) for entry in made.ledger.open_entries()]
    assert all(clip is not None and clip.state == DROPPED and "disk floor" in (clip.why or "") for clip in clips)


def test_a_run_of_which_anything_waits_is_not_removed(tmp_path: Path) -> None:
    made = bench(tmp_path, disk_floor_bytes=10 * MB, keep_runs_days=1)
    run_folder(made.runs, "run-1", [event(1, clip=None)])
    made.collect()
    made.free = 0
    assert made.tidy(time.time() + 10 * DAY_S).runs == ()
    assert (made.runs / "run-1" / "manifest.json").is_file()


def test_what_waits_too_long_is_dropped_and_named(tmp_path: Path) -> None:
    made = bench(tmp_path, keep_records_days=30, keep_alerts_days=90)
    now_s = NOON_S
    made.tidy(now_s)
    run_folder(made.runs, "run-1", [event(1), event(2, severity="record")])
    made.collect(now_s)
    for day in range(1, 32):
        made.tidy(now_s + day * DAY_S)
    assert [entry.severity for entry in made.ledger.open_entries()] == ["alert"]
    assert len([line for line in made.warned if "30 days" in line]) == 2


def test_a_clock_that_jumps_ahead_drops_nothing(tmp_path: Path) -> None:
    made = bench(tmp_path)
    made.tidy(NOON_S)
    run_folder(made.runs, "run-1", [event(1, severity="record")])
    made.collect(NOON_S)
    made.tidy(NOON_S + 3650 * DAY_S)
    made.tidy(NOON_S)
    assert made.warned == []
    assert all(part.state == WAITING for entry in made.ledger.open_entries() for part in entry.parts)


def test_the_ledger_forgets_what_was_shipped_only_when_its_run_is_gone(tmp_path: Path) -> None:
    made = bench(tmp_path, keep_ledger_days=2)
    made.tidy(NOON_S)
    folder = run_folder(made.runs, "run-1", [event(1)])
    made.collect(NOON_S)
    ship.ship(made.settings, made.ledger, MemoryStore(), made.said.append)
    for day in range(1, 5):
        assert made.tidy(NOON_S + day * DAY_S).forgotten == 0
    for path in sorted(folder.rglob("*"), reverse=True):
        path.unlink() if path.is_file() else path.rmdir()
    folder.rmdir()
    assert made.tidy(NOON_S + 5 * DAY_S).forgotten == 1


def test_contents_go_as_soon_as_they_are_shipped(tmp_path: Path) -> None:
    made = bench(tmp_path)
    run_folder(made.runs, "run-1", [event(1, clip=b"same"), event(2, clip=b"same")])
    made.collect()
    ship.ship(made.settings, made.ledger, MemoryStore(), made.said.append)
    assert [path for path in (made.ledger.root / "sha256").rglob("*") if path.is_file()] == []
    assert all(part.state == SHIPPED for entry in made.ledger.closed_entries() for part in entry.parts)


def test_a_content_that_went_bad_on_the_disk_is_not_shipped_and_is_named(tmp_path: Path) -> None:
    made = bench(tmp_path)
    run_folder(made.runs, "run-1", [event(1, clip=b"good")])
    made.collect()
    clip = made.ledger.open_entries()[0].part(CLIP)
    assert clip is not None
    made.ledger.content(clip.sha256).write_bytes(b"bad!")
    store = MemoryStore()
    ship.ship(made.settings, made.ledger, store, made.said.append)
    assert [key for key in store.objects if key.endswith("mp4")] == []
    assert any(line.startswith("<3>dropped") and "damaged" in line for line in made.said)


def test_settings_with_faults_are_refused() -> None:
    good = {"version": 1, "node": "a", "remote": "store:b", "to": "s3:b", "rclone": "r", "rclone_config": "c"}
    assert parsed(good, "x").budget_bytes_per_day is None
    for bad in ({**good, "version": 2}, {**good, "speed": 1}, {**good, "timetable": "8:00,1M"}, {"version": 1}, []):
        with pytest.raises(SettingsError, match="x"):
            parsed(bad, "x")


def test_a_damaged_entry_is_named_and_stops_the_round(tmp_path: Path) -> None:
    made = bench(tmp_path)
    (made.ledger.root / "open" / "bad.json").write_text(json.dumps({"version": 1}))
    with pytest.raises(Exception, match=r"bad\.json"):
        Ledger(made.ledger.root).open_entries()


@given(st.integers(1, 1000), st.floats(0, 1))
def test_waits_grow_and_end_at_a_quarter_of_an_hour(failures: int, jitter: float) -> None:
    wait_s = ship.wait_s(failures, jitter)
    assert 2.5 <= wait_s <= 900
    assert ship.wait_s(failures + 1, jitter) >= wait_s
