"""What a node answers about its outbox, held against its schema and against the control side's model."""

from __future__ import annotations

import json
import time
from pathlib import Path

import jsonschema
import pytest

from outbox import cli, ship, status
from outbox.trouble import Trouble
from shoal.outbox.documents import events_of, status_of
from tests.outbox.making import Bench, MemoryStore, bench, event, run_folder

SCHEMA = json.loads(Path("outbox/schemas/status.schema.json").read_text(encoding="utf-8"))


def of(made: Bench) -> dict:
    found = status.status(made.settings, made.ledger, time.time())
    jsonschema.validate(found, SCHEMA)
    assert status_of(json.dumps(found).encode(), source="x").model_dump(mode="json") == found
    return found


def test_waiting_shipped_and_dropped_are_counted(tmp_path: Path) -> None:
    made = bench(tmp_path, budget_bytes_per_day=50_000)
    assert of(made)["alarms"] == []
    run_folder(made.runs, "run-1", [event(1, clip=b"x" * 1000), event(2, severity="record", clip=b"y" * 100_000)])
    run_folder(made.runs, "run-2", [event(3, state="quarantined")])
    made.collect()
    before = of(made)
    assert (before["waiting"]["alerts"]["events"], before["waiting"]["alerts"]["clips"]) == (2, 1)
    assert before["without_clip"] == 1
    ship.ship(made.settings, made.ledger, MemoryStore(), made.said.append)
    after = of(made)
    assert (after["shipped"]["events"], after["shipped"]["clips"]) == (3, 1)
    assert after["budget"]["spent_bytes"] == after["shipped"]["size_bytes"]
    assert after["alarms"] == ["1 objects are larger than a day's budget and wait for a larger one"]
    made.free = -1
    made.tidy(time.time())
    last = of(made)
    assert (last["dropped"]["clips"], last["dropped"]["size_bytes"]) == (1, 100_000)
    assert last["dropped"]["recent"][0]["camera"] == "yard"
    assert "1 objects were dropped unshipped within 7 days, 0 of them of alerts" in last["alarms"]


def test_a_refused_credential_is_an_alarm_at_once_and_a_link_that_is_down_after_an_hour(tmp_path: Path) -> None:
    made = bench(tmp_path)
    run_folder(made.runs, "run-1", [event(1)])
    made.collect()
    store = MemoryStore(fail=[Trouble("link", "the store is not reached")])
    ship.ship(made.settings, made.ledger, store, made.said.append)
    assert of(made)["alarms"] == []
    assert of(made)["store"]["trouble"] == "the store is not reached"
    later = status.status(made.settings, made.ledger, time.time() + 4000)
    assert later["alarms"] == ["s3:bucket: the store is not reached"]
    store.fail = [Trouble("credentials", "the store refuses")]
    ship.ship(made.settings, made.ledger, store, made.said.append, lambda: time.time() + 1000)
    assert of(made)["alarms"] == ["s3:bucket: the store refuses"]


def test_events_say_where_their_parts_are(tmp_path: Path) -> None:
    made = bench(tmp_path)
    run_folder(made.runs, "run-1", [event(1), event(2, state="quarantined")])
    made.collect()
    ship.ship(made.settings, made.ledger, MemoryStore(), made.said.append)
    lines = "\n".join(json.dumps(one) for one in status.events(made.ledger))
    second, first = events_of(lines.encode(), source="x")
    assert (first.state("event"), first.state("clip")) == ("shipped", "shipped")
    assert (second.state("clip"), second.no_clip) == ("", "quarantined")
    assert first.parts[1].key.startswith("alerts/gate-1/2026-11-30/")


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"version": 1, "node": 3}'])
def test_settings_that_cannot_be_used_are_one_line(tmp_path: Path, capsys: pytest.CaptureFixture, text: str) -> None:
    path = tmp_path / "settings.json"
    path.write_text(text)
    assert cli.main(["--settings", str(path), "status"]) == 2
    told = capsys.readouterr().err
    assert told.startswith("<3>")
    assert len(told.splitlines()) == 1


def test_an_outbox_into_which_nothing_came_yet_is_empty(tmp_path: Path) -> None:
    made = bench(tmp_path)
    for name in ("open", "closed", "runs", "sha256"):
        (made.ledger.root / name).rmdir()
    assert of(made)["alarms"] == []
    assert [*status.events(made.ledger)] == []
    assert ship.ship(made.settings, made.ledger, MemoryStore(), made.said.append).shipped == 0
