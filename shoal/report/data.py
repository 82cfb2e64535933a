"""Builds the report's view model from `run.json` and the node folders of a run, whole or not."""

from __future__ import annotations

from collections.abc import Iterator

from shoal.cost.prices import load_prices
from shoal.report import formats as words
from shoal.report.cost import cost_lines, cost_of_nodes
from shoal.report.events import all_bytes
from shoal.report.model import Node, Run, State, Totals, Verification, Video
from shoal.report.nodes import read_node, totals
from shoal.results import record as runs
from shoal.results.record import HAS_MANIFEST, Outcome, RunRecord
from shoal.terminal import printable


def read_run(run: str) -> Run:
    """The report of run `run`. Raises UsageError where there is no valid `run.json`; other faults stand in it."""
    record = runs.load(run)
    folder = runs.run_dir(run)
    nodes = [read_node(name, record, folder / name) for name in record.nodes]
    return build(record, nodes)


def build(record: RunRecord, nodes: list[Node]) -> Run:
    """The view model of `record` with its nodes as read."""
    sums = totals([video for node in nodes for video in node.videos])
    done = sum(_is_done(node) for node in nodes)
    files = sum(len(node.files) for node in nodes)
    state = _state(nodes, done, sums, files)
    wall_s = words.seconds_between(record.created_at, record.finished_at)
    shipped = [node.shipped_bytes for node in nodes if node.shipped_bytes is not None]
    cost = cost_of_nodes(nodes, sums.footage_s, sums.frames, load_prices())
    return Run(
        run=record.run,
        state=state,
        state_text=_state_text(state, done, len(nodes), sums),
        headline=_event_headline(nodes) or _headline(sums, files),
        problems=list(_problems(record, nodes, sums)),
        notices=list(_notices(nodes, sums)),
        nodes_expected=len(nodes),
        nodes_done=done,
        totals=sums,
        wall_time_s=wall_s,
        frames_per_wall_s=sums.frames / wall_s if wall_s and wall_s > 0 and sums.frames else None,
        home_bytes=sum(node.home_bytes for node in nodes),
        unverified_home_bytes=sum(node.home_bytes for node in nodes if node.verification is not Verification.VERIFIED),
        cost_usd=cost.usd,
        cost_text=_cost_text(nodes, cost.usd),
        cost_lines=cost_lines(cost),
        created_at=words.utc(record.created_at),
        finished_at=words.utc(record.finished_at) if record.finished_at else None,
        cluster=record.cluster,
        substrate=record.substrate,
        engine=record.engine,
        engine_reason=record.engine_reason,
        template=record.template,
        options=dict(record.options),
        image_reference=record.image.reference,
        image_digest=record.image.digest,
        weights_name=record.weights.name,
        weights_sha256=record.weights.sha256,
        weights_licence=record.weights.licence,
        job=dict(record.job),
        cameras=[camera for node in nodes for camera in node.cameras],
        event_bytes=all_bytes([node.event_bytes for node in nodes]),
        shipped_bytes=sum(shipped) if shipped else None,
        nodes=nodes,
    )


def _is_done(node: Node) -> bool:
    return node.outcome in HAS_MANIFEST and node.verification is Verification.VERIFIED


def _state(nodes: list[Node], done: int, sums: Totals, files: int) -> State:
    if not nodes or done < len(nodes) or not (sums.videos or files):
        return State.INCOMPLETE
    faulty = sums.faulty_videos or any(node.outcome is Outcome.FAULTY_VIDEOS for node in nodes)
    return State.FAULTY_VIDEOS if faulty else State.COMPLETE


def _state_text(state: State, done: int, expected: int, sums: Totals) -> str:
    nodes = f"{done} of {words.count(expected, 'node')}"
    if state is State.COMPLETE:
        return f"Complete: {nodes} finished, results verified."
    if state is State.FAULTY_VIDEOS:
        return f"Finished with {words.count(sums.faulty_videos, 'faulty video')}: {nodes} done, results verified."
    return f"Incomplete: {nodes} finished with verified results."


def _event_headline(nodes: list[Node]) -> str | None:
    """What happened; None where no node reports events, or none looked at a frame."""
    if not any(node.event_bytes and node.totals.frames_inferred for node in nodes):
        return None
    events = [event for node in nodes for camera in node.cameras for event in camera.events]
    alerts = sum(event.severity == "alert" for event in events)
    parts = [
        words.count(number, name) for number, name in ((alerts, "alert"), (len(events) - alerts, "record")) if number
    ]
    cameras = sum(len(node.cameras) for node in nodes)
    return f"{' and '.join(parts)} on {words.count(cameras, 'camera')}" if parts else "Nothing significant happened"


def _headline(sums: Totals, files: int) -> str:
    videos = words.count(sums.videos, "video")
    if files and not sums.videos:
        return f"{words.count(files, 'file')} of results, no figures"
    if not sums.videos:
        return "No video was processed"
    if not sums.frames_inferred:
        return f"No frame could be looked at in {videos}"
    if not sums.detections:
        return f"Nothing was detected in {videos}"
    return f"{words.count(sums.detections, 'detection')} in {videos}"


def _problems(record: RunRecord, nodes: list[Node], sums: Totals) -> Iterator[str]:
    if not nodes:
        yield "No node was expected to run this job, so there is nothing to report."
    if record.finished_at is None:
        yield "The run has no recorded end: it still goes on, or the control machine stopped before it ended."
    for node in nodes:
        if node.outcome not in HAS_MANIFEST:
            yield _node_problem(node)
        if node.verification is not Verification.VERIFIED and node.outcome in HAS_MANIFEST:
            yield f"{node.name}: not verified: {'; '.join(node.notes)}."
        elif node.notes and node.outcome in HAS_MANIFEST:
            yield f"{node.name}: {'; '.join(node.notes)}."
        for video in node.videos:
            if video.fault:
                message = f": {printable(video.fault.message)}" if video.fault.message else ""
                yield (f"{node.name}: faulty video “{printable(video.video)}” ({printable(video.fault.kind)}{message})")
    if again := [node.name for node in nodes if node.outcome not in HAS_MANIFEST]:
        yield f"To run it again on {words.listing(again, 8)}: shoal resume {record.run}"
    unfetched = [
        node.name for node in nodes if node.outcome in HAS_MANIFEST and node.verification is not Verification.VERIFIED
    ]
    if unfetched:
        yield f"To bring home and check the results of {words.listing(unfetched, 8)}: shoal results fetch {record.run}"
    if sums.unverified_videos:
        yield (
            f"The figures below include {words.count(sums.unverified_videos, 'video')} whose results are not verified."
        )


def _node_problem(node: Node) -> str:
    text = f"{node.name}: {node.outcome_text}"
    last = node.attempts[-1] if node.attempts else None
    if last and last.exit_code is not None:
        text += f", exit code {last.exit_code}"
    if last and last.message:
        text += f": {printable(last.message).rstrip('.')}"
    if not node.attempts:
        text += ", no attempt was recorded"
    if node.verification is Verification.ABSENT:
        return f"{text}. No results at home."
    return f"{text}. Of its results {words.count(len(node.videos), 'video')} came home, not verified."


def _notices(nodes: list[Node], sums: Totals) -> Iterator[str]:
    listed = [node for node in nodes if node.files]
    for node in listed:
        yield (
            f"{node.name}: the job's program wrote no summary, so there is nothing to count; its results are "
            f"{words.count(len(node.files), 'file')}: {words.listing(node.files, 8)}."
        )
    if not sums.videos and not listed:
        yield "Zero videos: no summary of any video is at home."
    elif sums.videos and not sums.detections:
        yield "Zero detections: the model found none of the wanted classes at the given confidence."
    for node in nodes:
        if _is_done(node) and not node.videos and not node.files:
            yield f"{node.name}: zero videos."
        elif _is_done(node) and node.videos and sums.detections and not node.totals.detections:
            yield f"{node.name}: zero detections."
    if sums.still_photo_videos:
        are = "is a moving crop" if sums.still_photo_videos == 1 else "are moving crops"
        yield (
            f"{sums.still_photo_videos} of {words.count(sums.videos, 'video')} {are} of a still photo, "
            "not camera footage."
        )
    for node in nodes:
        for video in node.videos:
            yield from _recording_notices(node, video)
        yield from _not_read(node)


def _recording_notices(node: Node, video: Video) -> Iterator[str]:
    """What is odd about a recording and no fault."""
    of = f"{node.name}: “{printable(video.video)}”"
    if video.decode_errors and not video.fault:
        yield f"{of} had {words.count(video.decode_errors, 'decoding error')} and was processed nevertheless."
    if video.missing_frames and not video.fault:
        yield f"{of} lost {words.count(video.missing_frames, 'frame')}; the others were processed."
    if video.clock_jumps:
        yield (
            f"{of}: its clock begins anew or jumps in {words.count(video.clock_jumps, 'place')}; "
            "times here go on without the jumps."
        )
    for stream in video.streams_not_read:
        size = f" of {stream.width} x {stream.height} px" if stream.width and stream.height else ""
        yield f"{of}: its video stream {stream.stream}{size} was not read: {printable(stream.why)}."


def _not_read(node: Node) -> Iterator[str]:
    """Files that are no footage are named: one of them may be meant as footage."""
    files = node.not_read
    kinds = [
        words.count(files.pictures, "picture"),
        f"{words.count(files.sound, 'file')} of sound",
        words.count(files.other, "other file"),
    ]
    numbers = (files.pictures, files.sound, files.other)
    parts = [text for text, number in zip(kinds, numbers, strict=True) if number]
    if files.gone:
        yield f"{node.name}: {words.count(files.gone, 'file')} of film went by its days before the run came to it."
    if parts:
        names = words.listing(list(files.names))
        yield f"{node.name}: beside its videos lie {', '.join(parts)}, which are no footage and were not read: {names}."


def _cost_text(nodes: list[Node], usd: float | None) -> str:
    """A sentence on how far `usd`, the sum of what is known, goes. Nothing is guessed."""
    unpriced = [node.name for node in nodes if node.price_usd_per_hour is None]
    untimed = [node.name for node in nodes if node.price_usd_per_hour is not None and node.cost_usd is None]
    open_ends = [node.name for node in nodes if node.cost_usd is not None and node.machine_time_open]
    gaps = []
    if unpriced:
        gaps.append(f"no price per hour is recorded for {words.listing(unpriced, 8)}")
    if untimed:
        gaps.append(f"no ended attempt is recorded for {words.listing(untimed, 8)}")
    if open_ends:
        gaps.append(f"an attempt without a recorded end is left out for {words.listing(open_ends, 8)}")
    if usd is None:
        return f"Unknown: {'; '.join(gaps) or 'there are no nodes'}."
    scope = "machine time of the job's attempts times price per hour; idle time and the requester are not counted"
    if gaps:
        return f"At least {words.usd(usd)} ({scope}); {'; '.join(gaps)}."
    return f"{words.usd(usd)} ({scope})."
