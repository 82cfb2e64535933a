"""Inside a network namespace of its own: an hour without a link, a round a minute by a clock of its own, then the link.

Prints what happened as JSON. Driven by test_ship.py.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

from outbox import ship, status
from outbox.budget import Budget
from tests.outbox import stores
from tests.outbox.making import bench, event, run_folder

MINUTES = 62
"""An hour, from the first round that fails."""
EVERY_MIN = 12
"""A run with an event ends so often; every other one is an alert."""
LATEST_MIN = 17
"""After which it has to be asked again, once the link is there: the longest wait, and a round."""


def main(folder: Path) -> None:
    ip("link", "set", "lo", "up")
    # The rule that reaches local addresses makes room for one before it.
    ip("rule", "add", "pref", "10", "lookup", "local")
    ip("rule", "del", "pref", "0")
    made = bench(folder)
    clock = [time.time()]
    tries = waits = 0
    with stores.s3(folder / "served") as port:
        store = stores.s3_store(folder, f"http://127.0.0.1:{port}")

        def round_of() -> ship.Shipment:
            clock[0] += 60
            made.collect()
            return ship.ship(made.settings, made.ledger, store, made.said.append, lambda: clock[0])

        ip("rule", "add", "pref", "5", "to", "127.0.0.1", "unreachable")
        for minute in range(MINUTES):
            if minute % EVERY_MIN == 0:
                number = minute // EVERY_MIN + 1
                clip = bytes([number]) * 1000 * number
                severity = "alert" if number % 2 else "record"
                run_folder(made.runs, f"run-{number}", [event(number, severity=severity, clip=clip)])
            done = round_of()
            tries += done.trouble is not None
            waits += done.trouble is None
        spent_down = Budget(made.ledger.root / "budget.json", None).read(clock[0]).spent_bytes
        alarms = status.status(made.settings, made.ledger, clock[0])["alarms"]
        ip("rule", "del", "pref", "5")
        until_asked = 0
        while not done.shipped and until_asked < LATEST_MIN:
            done = round_of()
            until_asked += 1
        parts = [part for entry in made.ledger.closed_entries() for part in entry.parts]
        there = [path for path in (folder / "served" / stores.BUCKET).rglob("*") if path.is_file()]
        result = {
            "tries": tries,
            "waits": waits,
            "alarms": alarms,
            "spent_while_down": spent_down,
            "caught_up_after_min": until_asked,
            "order": done.order,
            "waiting": len(list(made.ledger.open_entries())),
            "objects": len(there),
            "bytes_there": sum(path.stat().st_size for path in there),
            "attempts": [part.attempts for part in parts],
            "spent": Budget(made.ledger.root / "budget.json", None).read(clock[0]).spent_bytes,
        }
    sys.stdout.write(json.dumps(result) + "\n")


def ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
