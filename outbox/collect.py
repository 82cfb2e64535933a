"""From finished run folders into the outbox: events as they are, and clips whose verification and hash hold.

The scan with its marks is the truth; whoever wakes it may be late or wrong. Run folders are data from a stranger.
"""

from __future__ import annotations

import json
import os
import re
import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from outbox import age, disk
from outbox.ledger import CLIP, EVENT, Entry, Ledger, Part
from outbox.settings import Settings
from outbox.telling import Say

RUN = re.compile(r"[a-z0-9][a-z0-9-]{0,47}")
_ID = re.compile(r"[0-9a-f]{32}")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_CLIP = re.compile(r"clips/[0-9a-f]{32}\.mp4")
_UTC = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z")
DOCUMENT_BYTES = 64 << 20
LINE_BYTES = 4 << 20
VERIFIED = "verified"
PENDING = "pending"
NEW, WHOLE = "new-", "watch-"
"""A watch publishes an event when it is decided, as the run `new-ID`; with its clip it is the run `watch-ID`."""
AWAITED = "is yet to be made"
"""Why there is no clip of an event that is new."""
BLOCK_BYTES = 512
"""In which st_blocks counts."""
SMALL_BYTES = 1 << 20
_WITHOUT = {PENDING: AWAITED, "quarantined": "quarantined"}

Room = Callable[[int], bool]


class BadEventError(ValueError):
    """A line that is no event."""


@dataclass(frozen=True, slots=True)
class Collected:
    """What one scan brought in."""

    events: int = 0
    clips: int = 0
    without_clip: int = 0
    faults: int = 0
    put_off: int = 0
    """Runs that wait in their folder because the disk has no room for a copy."""
    known: int = 0
    """Events that were in already: a scan that was cut off, or the same event of another run."""
    at_work: bool = False
    """Whether a detector writes a run at the moment."""

    def plus(self, other: Collected) -> Collected:
        """Both together."""
        return Collected(
            events=self.events + other.events,
            clips=self.clips + other.clips,
            without_clip=self.without_clip + other.without_clip,
            faults=self.faults + other.faults,
            put_off=self.put_off + other.put_off,
            known=self.known + other.known,
            at_work=self.at_work or other.at_work,
        )


@dataclass(frozen=True, slots=True)
class Scan:
    """One look over the run folders, and what it needs."""

    settings: Settings
    ledger: Ledger
    now_s: float
    room: Room
    """Whether so many bytes may still be written."""
    warn: Say

    def collect(self) -> Collected:
        """Bring in every finished run that is not in yet."""
        found = Collected()
        for folder in run_folders(self.settings):
            if not (folder / "manifest.json").is_file():
                found = replace(found, at_work=found.at_work or _held(folder / "lock"))
                continue
            mark = self.ledger.root / "runs" / f"{folder.name}.json"
            if mark.exists():
                continue
            one = self._run(folder)
            if not one.put_off:
                document = {"version": 1, "events": one.events + one.known, "faults": one.faults}
                with self.ledger.writing():
                    disk.write_json(mark, document)
            found = found.plus(one)
        if found.events or found.clips:
            disk.write(self.ledger.root / "arrived", f"{self.now_s}\n".encode())
        return found

    def _run(self, folder: Path) -> Collected:
        found = Collected()
        try:
            data = _events_file(folder)
        except OSError as error:
            self.warn(f"run {folder.name}: its events cannot be read now: {error.strerror}")
            return replace(found, put_off=1)
        except ValueError as error:
            self.warn(f"run {folder.name}: its events are not shipped: {error}")
            return replace(found, faults=1)
        for number, line in enumerate(data.splitlines(), start=1):
            try:
                event = parse_event(line)
            except BadEventError as error:
                self.warn(f"run {folder.name}: line {number} of events.jsonl is not shipped: {error}")
                found = replace(found, faults=found.faults + 1)
                continue
            document = line + b"\n"
            content = disk.content_of(document)
            clip = event["clip"] or {}
            before = self.ledger.latest(_entry_id(folder, event, content))
            if before is not None and (before.no_clip != AWAITED or clip.get("state") == PENDING):
                found = replace(found, known=found.known + 1)
                continue
            size_bytes = _clip_bytes(folder, clip)
            if not self.room(size_bytes + content.size_bytes):
                self.warn(f"run {folder.name}: waits in its folder, the disk has no room for a copy of its clips")
                return replace(found, put_off=1)
            with self.ledger.writing():
                entry = self._bring_in(folder, event, document, content)
            without = entry.no_clip not in {None, AWAITED}
            found = found.plus(Collected(int(before is None), int(entry.no_clip is None), int(without)))
            if entry.no_clip and clip.get("state") == VERIFIED:
                self.warn(f"run {folder.name}: event {event['id']} goes without its clip: {entry.no_clip}")
        return found

    def _bring_in(self, folder: Path, event: dict[str, Any], document: bytes, content: disk.Content) -> Entry:
        """A new entry; or the one from before with the clip, whose document is not shipped again."""
        day = event["start_utc"][:10] if event["start_utc"] else "undated"
        name = f"{event['severity']}s/{self.settings.node}/{day}/{event['id']}"
        clip, no_clip = _clip(self.ledger, folder, event["clip"])
        entry_id = _entry_id(folder, event, content)
        if (before := self.ledger.latest(entry_id)) is not None:
            more = (_part(CLIP, name, clip, "mp4"),) if clip else ()
            whole = replace(before, parts=(*before.parts, *more), no_clip=no_clip)
            self.ledger.save(whole)
            if more:
                self.ledger.forget(before)  # it waits again, where it was closed
            return whole
        target = self.ledger.content(content.sha256)
        disk.folder(target.parent)
        disk.write(target, document)
        parts = [_part(EVENT, name, content, "json")]
        if clip:
            parts.append(_part(CLIP, name, clip, "mp4"))
        entry = Entry(
            id=entry_id,
            event=event["id"],
            # One event is of one run, before it has its clip and after.
            run=WHOLE + folder.name.removeprefix(NEW) if folder.name.startswith(NEW) else folder.name,
            camera=event["camera"],
            severity=event["severity"],
            start_utc=event["start_utc"],
            start_s=float(event["start_s"]),
            end_s=float(event["end_s"]),
            privacy=event["privacy"],
            collected_at_s=self.now_s,
            collected_age_s=age.read(self.ledger.root).age_s,
            parts=tuple(parts),
            no_clip=no_clip,
        )
        self.ledger.save(entry)
        return entry


def _entry_id(folder: Path, event: dict[str, Any], content: disk.Content) -> str:
    """By its content; a watch's event by its own id, as its document is another one when its clip was made."""
    return str(event["id"]) if folder.name.startswith((NEW, WHOLE)) else content.sha256[:32]


def run_folders(settings: Settings) -> Iterator[Path]:
    """Every folder that may be a run's, by name."""
    for source in settings.sources:
        try:
            folders = sorted(Path(source).iterdir())
        except FileNotFoundError:
            continue
        for folder in folders:
            if RUN.fullmatch(folder.name) and folder.is_dir() and not folder.is_symlink():
                yield folder


def _clip_bytes(folder: Path, clip: dict[str, Any]) -> int:
    """The room that a clip needs which may leave. What waits already is never dropped for what is only claimed."""
    file, size_bytes = clip.get("file"), clip.get("size_bytes")
    if clip.get("state") != VERIFIED or not isinstance(file, str) or not _CLIP.fullmatch(file):
        return 0
    return int(size_bytes) if isinstance(size_bytes, int) and _is_there(folder / file, size_bytes) else 0


def _is_there(file: Path, size_bytes: int) -> bool:
    """Whether a plain file of that size is there, and not mostly holes, which cost whoever made them nothing."""
    try:
        found = file.lstat()
    except OSError:
        return False
    holes_bytes = found.st_size - found.st_blocks * BLOCK_BYTES
    few = holes_bytes <= max(found.st_size // 2, SMALL_BYTES)
    return stat.S_ISREG(found.st_mode) and found.st_size == size_bytes and few


def _events_file(folder: Path) -> bytes:
    """The bytes of events.jsonl, which must be those of the manifest; none where the run made no events."""
    try:
        manifest = json.loads(_bounded(folder / "manifest.json"))
    except RecursionError:
        raise ValueError("its manifest.json is nested too deep") from None
    try:
        listed = {str(file["path"]): str(file["sha256"]) for file in manifest["files"]}
    except (KeyError, TypeError) as error:
        raise ValueError(f"its manifest.json has no list of files ({error!r})") from None
    if "events.jsonl" not in listed:
        return b""
    data = _bounded(folder / "events.jsonl")
    if disk.content_of(data).sha256 != listed["events.jsonl"]:
        raise ValueError("events.jsonl is not the file that its manifest.json lists")
    return data


def _bounded(path: Path) -> bytes:
    try:
        with disk.plain_file(path) as stream:
            data = stream.read(DOCUMENT_BYTES + 1)
    except disk.NotPlainError as error:
        raise ValueError(str(error)) from None
    if len(data) > DOCUMENT_BYTES:
        raise ValueError(f"{path.name} is larger than {DOCUMENT_BYTES >> 20} MiB")
    return data


def parse_event(line: bytes) -> dict[str, Any]:
    """One line of events.jsonl, checked as far as it is used here. Raises BadEventError."""
    if len(line) > LINE_BYTES:
        raise BadEventError(f"it is longer than {LINE_BYTES >> 20} MiB")
    try:
        event = json.loads(line)
    except (ValueError, RecursionError):
        raise BadEventError("it is no JSON") from None
    if not isinstance(event, dict):
        raise BadEventError("it is no JSON object")
    wanted: tuple[tuple[str, Callable[[Any], bool]], ...] = (
        ("version", lambda value: value == 1),
        ("id", lambda value: isinstance(value, str) and bool(_ID.fullmatch(value))),
        ("camera", lambda value: isinstance(value, str) and 0 < len(value) <= 1024 and _whole_text(value)),
        ("severity", lambda value: value in ("alert", "record")),
        ("start_utc", lambda value: value is None or (isinstance(value, str) and bool(_UTC.fullmatch(value)))),
        ("start_s", _seconds),
        ("end_s", _seconds),
        ("privacy", lambda value: value in ("people", "people-and-vehicles", "off")),
        ("clip", lambda value: value is None or isinstance(value, dict)),
    )
    for name, good in wanted:
        if name not in event or not good(event[name]):
            raise BadEventError(f"{name} is {'missing' if name not in event else 'not as it must be'}")
    return event


def _whole_text(value: str) -> bool:
    """Without halves of characters, which whoever lists the outbox would refuse, and with them all it lists."""
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def _seconds(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < 1e12


def _part(kind: str, name: str, content: disk.Content, suffix: str) -> Part:
    # The hash is in the name: the same thing shipped again has the same name, and another thing never.
    key = f"{name}.{content.sha256[:16]}.{suffix}"
    return Part(kind, key, content.sha256, content.md5, content.size_bytes)


def _clip(ledger: Ledger, folder: Path, clip: dict[str, Any] | None) -> tuple[disk.Content | None, str | None]:
    """The clip's content, placed, or why the event goes without one. What is not verified is not even read.

    Raises OSError where this machine's disk is at fault: then the clip waits in its folder.
    """
    if clip is None:
        return None, "none was made"
    if clip.get("state") != VERIFIED:
        return None, _WITHOUT.get(str(clip.get("state")), "none could be made")
    file, sha256, size_bytes = clip.get("file"), clip.get("sha256"), clip.get("size_bytes")
    if not (
        (isinstance(file, str) and _CLIP.fullmatch(file))
        and (isinstance(sha256, str) and _SHA256.fullmatch(sha256))
        and isinstance(size_bytes, int)
    ):
        return None, "its event does not say where it lies, how large it is and with which hash"
    if (folder / file).exists() and not _is_there(folder / file, size_bytes):
        return None, "its file is not what its event says"
    part = ledger.root / "sha256" / f".{sha256}{disk.PART}"
    content, why = _copied(folder / file, part, size_bytes)
    if content and (content.sha256 != sha256 or content.size_bytes != size_bytes):
        content, why = None, "its hash is not the one of its verification"
    if content is None:
        disk.remove(part)
        return None, why
    target = ledger.content(sha256)
    disk.folder(target.parent)
    disk.move(part, target)
    return content, None


def _copied(source: Path, part: Path, size_bytes: int) -> tuple[disk.Content | None, str]:
    if source.parent.is_symlink() or source.is_symlink():
        return None, "its file is a link"
    try:
        return disk.copy(source, part, size_bytes), ""
    except (FileNotFoundError, NotADirectoryError, disk.NotPlainError):
        return None, "its file is not there"


def _held(lock: Path) -> bool:
    """Whether a detector holds the run's lock: by the kernel's list, so that the lock itself is not touched."""
    try:
        facts = lock.stat()
        listed = Path("/proc/locks").read_text(encoding="ascii", errors="replace")
    except OSError:
        return False
    device = f"{os.major(facts.st_dev):02x}:{os.minor(facts.st_dev):02x}:{facts.st_ino}"
    return any(device in line.split() for line in listed.splitlines())
