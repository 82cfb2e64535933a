"""The program's verbs on a node: `collect` and `ship` for systemd, `status`, `events` and `test` for people."""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from outbox import age, collect, disk, retention, ship, status
from outbox.ledger import Ledger, LedgerError
from outbox.settings import Settings, SettingsError, load
from outbox.store import Store, StoreError

SETTINGS = Path("/etc/shoal/outbox/settings.json")
OK, FAILED, USAGE, INCOMPLETE, BUSY = 0, 1, 2, 3, 0
LOOK_AGAIN_S = 2.0


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit codes: 0 done, 1 failed, 2 settings that cannot be used, 3 something needs a person (`status`)."""
    parser = argparse.ArgumentParser(prog="outbox", description=__doc__)
    parser.add_argument("--settings", type=Path, default=SETTINGS)
    verbs = parser.add_subparsers(dest="verb", required=True)
    collecting = verbs.add_parser("collect", help="bring finished runs in, and keep the ages and the disk's floor")
    collecting.add_argument("--follow", action="store_true", help="go on while a detector writes a run")
    verbs.add_parser("ship", help="ship what waits")
    for name, words in (
        ("status", "what waits and what was shipped, as JSON"),
        ("events", "every event that is known here, a JSON object a line"),
        ("test", "ship a small object, and say in one line what is wrong"),
    ):
        verbs.add_parser(name, help=words)
    given = parser.parse_args(arguments)
    try:
        return _carry_out(given, load(given.settings))
    except SettingsError as error:
        _say(f"<3>{error}")
        return USAGE
    except (LedgerError, ValueError) as error:
        _say(f"<3>the outbox's own files: {error}")
    except OSError as error:
        _say(f"<3>{error.filename or 'this machine'}: {error.strerror or error}")
    return FAILED


def _carry_out(given: argparse.Namespace, settings: Settings) -> int:
    ledger = Ledger(Path(settings.root))
    if given.verb == "collect":
        return _collect(settings, ledger, follow=given.follow)
    if given.verb == "ship":
        return _ship(settings, ledger)
    if given.verb == "test":
        return _test(settings)
    if given.verb == "events":
        for event in status.events(ledger):
            _out(json.dumps(event))
        return OK
    found = status.status(settings, ledger, time.time())
    _out(json.dumps(found, indent=1))
    return INCOMPLETE if found["alarms"] else OK


def _collect(settings: Settings, ledger: Ledger, *, follow: bool) -> int:
    try:
        with disk.locked(ledger.root / "collect.lock", wait=False):
            ledger.make()
            while True:
                found = _collect_once(settings, ledger)
                if not (follow and found.at_work):
                    return OK
                time.sleep(LOOK_AGAIN_S)
    except disk.HeldError:
        return BUSY


def _collect_once(settings: Settings, ledger: Ledger) -> collect.Collected:
    def warn(text: str) -> None:
        _say(f"<3>{text}")

    def free() -> int:
        return retention.free_bytes(ledger.root)

    def room(wanted_bytes: int) -> bool:
        keeper.make_room(wanted_bytes)
        return free() - wanted_bytes >= settings.disk_floor_bytes

    now_s = time.time()
    keeper = retention.Keeper(settings, ledger, age.advance(ledger.root, now_s), free, warn)
    found = collect.Scan(settings, ledger, now_s, room, warn).collect()
    keeper.tidy()
    if found.events:
        _say(f"<6>{found.events} events came in, {found.clips} of them with a clip")
    return found


def _ship(settings: Settings, ledger: Ledger) -> int:
    try:
        with disk.locked(ledger.root / "ship.lock", wait=False) as lock:
            done = ship.ship(settings, ledger, _store(settings, (lock,)), _say)
    except disk.HeldError:
        return BUSY
    if done.shipped or done.trouble:
        _say(
            f"<6>shipped {done.shipped} objects ({done.found_there} were there already), "
            f"sent {done.sent_bytes} bytes; {done.why_ended}"
        )
    # A store that is down is no failure of this unit: the status and the alarms tell it, and the timer comes again.
    return OK


def _test(settings: Settings) -> int:
    # Under a name that is new each time: the credential may not replace, and the bucket's own rules remove it.
    store = _store(settings, ())
    began = time.monotonic()
    text = f"shoal outbox test of {settings.node} at {time.time_ns()}\n".encode()
    content = disk.content_of(text)
    key = f"tests/{settings.node}/{content.sha256[:16]}.txt"
    source = Path(os.environ.get("TMPDIR", "/tmp")) / f"shoal-outbox-test-{os.getpid()}"  # noqa: S108 - private in the unit
    try:
        disk.write(source, text)
        store.put(source, key, content.size_bytes)
        there = store.look(key)
        sha256, _ = store.read_back(key, content.size_bytes)
    except StoreError as error:
        _out(f"{settings.to}: {error}")
        return FAILED
    finally:
        with contextlib.suppress(FileNotFoundError):
            source.unlink()
    if there is None or there.size_bytes != content.size_bytes or sha256 != content.sha256:
        _out(f"{settings.to}: what was sent as {key} is not what is there")
        return FAILED
    hashes = "knows its hash" if there.md5 else "knows no hashes: what is shipped is read back, which costs twice"
    _out(f"{settings.to}: good, {key} is there ({hashes}), {time.monotonic() - began:.1f} s")
    return OK


def _store(settings: Settings, pass_fds: tuple[int, ...]) -> Store:
    return Store(settings.rclone, settings.rclone_config, settings.remote, settings.two_steps, pass_fds)


def _say(text: str) -> None:
    """A line for the journal, with its level in front as systemd takes it; names in it may be anybody's."""
    line = text.replace("\n", " ")
    sys.stderr.write("".join(sign if sign.isprintable() else ascii(sign)[1:-1] for sign in line) + "\n")
    sys.stderr.flush()


def _out(text: str) -> None:
    sys.stdout.write(text + "\n")
