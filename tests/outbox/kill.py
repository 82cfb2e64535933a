"""Kills the collector and the shipper at random moments, as `kill -9` does, and looks at what arrived.

`python -m tests.outbox.kill TIMES SEED`; `./just kill-outbox` has the long form.
"""

from __future__ import annotations

import json
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from outbox import disk
from outbox.ledger import Ledger
from tests.outbox import stores
from tests.outbox.making import bench, event, run_folder

EVENTS_PER_RUN = 3
A_RUN_EVERY = 8
LONGEST_S = 0.9


@dataclass(frozen=True)
class Seen:
    """What the kills came to."""

    kills: int
    events: int
    objects: int
    uploads: int
    """That the store took whole."""
    found_there: int
    duration_s: float


def killed(folder: Path, times: int, seed: int) -> Seen:
    """Kill so many times, then let it come to rest. Raises AssertionError where anything is lost, half or twice."""
    dice = random.Random(seed)
    made = bench(folder)
    began = time.monotonic()
    with stores.s3(folder / "served") as port, stores.proxied(port) as proxy:
        store = stores.s3_store(folder, proxy.endpoint)
        settings = folder / "settings.json"
        document = replace(made.settings, rclone=store.rclone, rclone_config=store.config)
        settings.write_text(json.dumps({"version": 1, **asdict(document)}))
        events = 0
        wanted: Counter[bytes] = Counter()
        for number in range(times):
            if number % A_RUN_EVERY == 0:
                batch = []
                for _ in range(EVENTS_PER_RUN):
                    events += 1
                    clip = dice.randbytes(dice.choice([1_000, 200_000]))
                    batch.append(event(events, severity=dice.choice(["alert", "record"]), clip=clip))
                    wanted[clip] += 1
                run_folder(made.runs, f"run-{number}", batch)
            _killed_once(settings, dice)
        for _ in range(1000):
            (made.ledger.root / "backoff.json").unlink(missing_ok=True)
            _to_the_end(settings)
            if not made.ledger.open_entries() and not _uncollected(made.runs, made.ledger):
                break
        else:
            raise AssertionError("it does not come to rest")
        there = {path: path.read_bytes() for path in (folder / "served" / stores.BUCKET).rglob("*") if path.is_file()}
        uploads = Counter(proxy.put)
    parts = [part for entry in made.ledger.closed_entries() for part in entry.parts]
    by_name = {str(path.relative_to(folder / "served" / stores.BUCKET)): data for path, data in there.items()}
    assert len(parts) == 2 * events, f"{len(parts)} objects of {events} events are in the ledger"
    assert {part.key: part.sha256 for part in parts} == {
        key: disk.content_of(data).sha256 for key, data in by_name.items()
    }, "what the store holds is not what came in"
    assert Counter(data for key, data in by_name.items() if key.endswith("mp4")) == wanted, "clips were lost or changed"
    twice = [path for path, count in uploads.items() if count > 1]
    assert not twice, f"uploaded twice: {twice}"
    left = [path for path in (made.ledger.root / "sha256").rglob("*") if path.is_file()]
    assert not left, f"contents that nobody waits for: {left}"
    found_there = len(parts) - sum(part.attempts == 1 for part in parts)
    return Seen(times, events, len(parts), sum(uploads.values()), found_there, time.monotonic() - began)


def _killed_once(settings: Path, dice: random.Random) -> None:
    after_s = dice.uniform(0, LONGEST_S)
    verb = dice.choice(["collect", "ship", "ship", "ship"])
    (settings.parent / "outbox" / "backoff.json").unlink(missing_ok=True)
    process = subprocess.Popen(
        [sys.executable, "-m", "outbox", "--settings", str(settings), verb], stderr=subprocess.DEVNULL
    )
    try:
        process.wait(after_s)
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGKILL)
        process.wait()


def _to_the_end(settings: Path) -> None:
    for verb in ("collect", "ship"):
        subprocess.run(
            [sys.executable, "-m", "outbox", "--settings", str(settings), verb], check=True, stderr=subprocess.DEVNULL
        )


def _uncollected(runs: Path, ledger: Ledger) -> bool:
    return any(not (ledger.root / "runs" / f"{run.name}.json").exists() for run in runs.iterdir())


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as scratch:
        sys.stdout.write(f"{killed(Path(scratch) / 'site', int(sys.argv[1]), int(sys.argv[2]))}\n")
