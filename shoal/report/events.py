"""Reads the events that came home from a node, by camera, each with its clip as far as it is what the event says."""

from __future__ import annotations

from pathlib import Path

from shoal.files import sha256_file
from shoal.report.documents import inside
from shoal.report.model import Bytes, CameraEvents, EventObject, SeenEvent
from shoal.results.documents import RunSummary
from shoal.results.events import EVENTS_FILE, Event, read_events
from shoal.untrusted import DamagedDocumentError


def read_cameras(node: str, folder: Path, summary: RunSummary | None, notes: list[str]) -> list[CameraEvents]:
    """The cameras of `folder` (`runs/<run id>/<node>`) that have events; what is wrong goes to `notes`."""
    if summary is None or summary.events is None:
        return []
    try:
        events = read_events(folder / EVENTS_FILE)
    except OSError as error:
        notes.append(f"{EVENTS_FILE} cannot be read: {error.strerror}")
        return []
    except DamagedDocumentError as error:
        notes.append(f"{EVENTS_FILE} is damaged: {error.message}")
        return []
    lengths = {video.video: video.duration_s or 0.0 for video in summary.videos}
    cameras: dict[str, list[Event]] = {}
    for event in events:
        cameras.setdefault(event.camera, []).append(event)
    return [_camera(node, folder, name, found, lengths) for name, found in sorted(cameras.items())]


def _camera(node: str, folder: Path, name: str, found: list[Event], lengths: dict[str, float]) -> CameraEvents:
    known = {video for event in found for video in event.videos}
    length_s = max([sum(lengths.get(video, 0.0) for video in known), *(event.end_s for event in found)])
    ordered = sorted(found, key=lambda event: (event.start_s, event.id))
    return CameraEvents(
        node=node, camera=name, length_s=length_s, events=[_event(node, folder, one) for one in ordered]
    )


def _event(node: str, folder: Path, event: Event) -> SeenEvent:
    clip = event.clip
    path = None
    if clip is not None and clip.file is not None and clip.state == "verified":
        file = inside(folder, clip.file)
        # Played are only bytes that the detector verified.
        if file is not None and file.is_file() and file.stat().st_size == clip.size_bytes:
            path = f"{node}/{clip.file}" if sha256_file(file) == clip.sha256 else None
    picture = inside(folder, event.key_frame) if event.key_frame else None
    return SeenEvent(
        node=node,
        id=event.id,
        camera=event.camera,
        videos=list(event.videos),
        start_utc=event.start_utc,
        end_utc=event.end_utc,
        start_s=event.start_s,
        end_s=event.end_s,
        severity=event.severity,
        rule=event.rule,
        reason=event.reason,
        privacy=event.privacy,
        objects=[
            EventObject(
                class_name=one.class_name,
                confidence=one.confidence,
                rule=one.rule,
                start_s=one.start_s,
                end_s=one.end_s,
            )
            for one in event.objects
        ],
        key_frame=f"{node}/{event.key_frame}" if picture is not None and picture.is_file() else None,
        clip=path,
        clip_bytes=(clip.size_bytes or 0) if clip else 0,
        clip_sha256=clip.sha256 if clip else None,
        clip_state=clip.state if clip else "none",
        clip_reason=clip.reason if clip else "no clips were made",
    )


def node_bytes(summary: RunSummary | None) -> Bytes | None:
    """What became of a node's footage."""
    return Bytes(**summary.events.bytes.model_dump()) if summary is not None and summary.events is not None else None


def all_bytes(nodes: list[Bytes | None]) -> Bytes | None:
    """The sum over nodes; None where none says it."""
    known = [one for one in nodes if one is not None]
    if not known:
        return None
    return Bytes(**{name: sum(getattr(one, name) for one in known) for name in Bytes.model_fields})
