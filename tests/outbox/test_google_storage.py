"""Shipping to Google Cloud Storage's API, with the configuration that a site has for it."""

from __future__ import annotations

import random
import time
from pathlib import Path

import pytest

from outbox import ship
from outbox.ledger import SHIPPED
from outbox.store import Store
from tests.outbox import google_storage
from tests.outbox.making import Bench, bench, event, run_folder
from tests.outbox.stores import free_port

pytestmark = pytest.mark.skipif(google_storage.SERVER is None, reason="fake-gcs-server is not on this machine")


def shipped(made: Bench, store: Store, after_s: float = 0.0) -> ship.Shipment:
    return ship.ship(made.settings, made.ledger, store, made.said.append, lambda: time.time() + after_s)


def collected(folder: Path, count: int) -> Bench:
    made = bench(folder)
    clips = [random.Random(number).randbytes(300_000) for number in range(count)]
    run_folder(made.runs, "run-1", [event(number, clip=clip) for number, clip in enumerate(clips)])
    made.collect()
    return made


def test_events_and_clips_arrive_whole_by_their_hash_without_being_read_back(tmp_path: Path) -> None:
    made = collected(tmp_path, 3)
    with google_storage.serving(tmp_path / "gcs", "depot") as port, google_storage.tokens([]) as (tokens, asked):
        store = google_storage.store(tmp_path, "depot", port, tokens)
        done = shipped(made, store)
        parts = [part for entry in made.ledger.closed_entries() for part in entry.parts]
        assert (done.shipped, len(parts)) == (6, 6), made.said
        for part in parts:
            assert part.state == SHIPPED
            assert store.read_back(part.key, part.size_bytes) == (part.sha256, part.size_bytes)
        assert done.sent_bytes == sum(part.size_bytes for part in parts)
        assert shipped(made, store).shipped == 0
        assert {one["iss"] for one in asked} == {google_storage.ACCOUNT}


def test_what_is_there_already_is_not_sent_again(tmp_path: Path) -> None:
    made = collected(tmp_path, 1)
    with google_storage.serving(tmp_path / "gcs", "depot") as port, google_storage.tokens([]) as (tokens, _):
        store = google_storage.store(tmp_path, "depot", port, tokens)
        part = next(part for entry in made.ledger.open_entries() for part in entry.parts)
        store.put(made.ledger.content(part.sha256), part.key, part.size_bytes)
        done = shipped(made, store)
        assert (done.shipped, done.found_there) == (2, 1)


def test_a_clock_that_is_wrong_a_bucket_that_is_not_there_and_a_store_that_is_down(tmp_path: Path) -> None:
    made = collected(tmp_path, 1)
    wrong_clock = (
        400,
        {
            "error": "invalid_grant",
            "error_description": "Invalid JWT: Token must be a short-lived token (60 minutes) and in a reasonable "
            "timeframe. Check your iat and exp values in the JWT claim.",
        },
    )
    with google_storage.serving(tmp_path / "gcs", "depot") as port:
        # The client asks more than once.
        with google_storage.tokens([wrong_clock] * 1000) as (tokens, _):
            assert code(shipped(made, google_storage.store(tmp_path, "depot", port, tokens))) == "clock"
        with google_storage.tokens([]) as (tokens, _):
            assert code(shipped(made, google_storage.store(tmp_path, "elsewhere", port, tokens), 1000)) == "bucket"
            down = google_storage.store(tmp_path, "depot", free_port(), tokens)
            assert code(shipped(made, down, 3000)) == "link"
            done = shipped(made, google_storage.store(tmp_path, "depot", port, tokens), 9000)
            assert (done.shipped, done.trouble) == (2, None)


def code(done: ship.Shipment) -> str | None:
    return done.trouble and done.trouble.code
