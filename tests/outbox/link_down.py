"""Inside a network namespace of its own: ships, loses its link, and ships again. Driven by test_ship.py."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

from outbox import ship
from tests.outbox import stores
from tests.outbox.making import bench, event, run_folder


def main(folder: Path) -> None:
    link("up")
    made = bench(folder)
    with stores.s3(folder / "served") as port:
        store = stores.s3_store(folder, f"http://127.0.0.1:{port}")
        clock = [time.time()]

        def round_of() -> ship.Shipment:
            return ship.ship(made.settings, made.ledger, store, made.said.append, lambda: clock[0])

        run_folder(made.runs, "run-1", [event(1)])
        made.collect()
        say("shipped", round_of().shipped)
        link("down")
        run_folder(made.runs, "run-2", [event(2)])
        made.collect()
        done = round_of()
        assert done.trouble is not None, done
        waiting = sum(part.state == "waiting" for entry in made.ledger.open_entries() for part in entry.parts)
        say(done.trouble.code, "waiting", waiting)
        link("up")
        clock[0] += 1000
        say("shipped", round_of().shipped)


def say(*words: object) -> None:
    sys.stdout.write(" ".join(map(str, words)) + "\n")


def link(state: str) -> None:
    subprocess.run(["ip", "link", "set", "lo", state], check=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
