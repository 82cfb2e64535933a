"""Builds the report's view model from `run.json` and the node folders of a run, whole or not."""

from __future__ import annotations

from collections.abc import Iterator

from shoal.report import formats as words
from shoal.report.model import Node, Run, State, Totals, Verification
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
    cost_usd, cost_text = _cost(nodes)
    return Run(
        run=record.run,
        state=state,
        state_text=_state_text(state, done, len(nodes), sums),
        headline=_headline(sums, files),
        problems=list(_problems(record, nodes, sums)),
        notices=list(_notices(nodes, sums)),
        nodes_expected=len(nodes),
        nodes_done=done,
        totals=sums,
        wall_time_s=wall_s,
        frames_per_wall_s=sums.frames / wall_s if wall_s and wall_s > 0 and sums.frames else None,
        home_bytes=sum(node.home_bytes for node in nodes),
        unverified_home_bytes=sum(node.home_bytes for node in nodes if node.verification is not Verification.VERIFIED),
        cost_usd=cost_usd,
        cost_text=cost_text,
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
        yield f"To run it again on {words.listing(again, 8)}: shoal run --resume {record.run}"
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
            if video.decode_errors and not video.fault:
                yield (
                    f"{node.name}: “{printable(video.video)}” had "
                    f"{words.count(video.decode_errors, 'decoding error')} and was processed nevertheless."
                )


def _cost(nodes: list[Node]) -> tuple[float | None, str]:
    """The sum of what is known, and a sentence on how far that goes. Nothing is guessed."""
    known = [node.cost_usd for node in nodes if node.cost_usd is not None]
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
    if not known:
        return None, f"Unknown: {'; '.join(gaps) or 'there are no nodes'}."
    total = sum(known)
    scope = "machine time of the job's attempts times price per hour; idle time and the requester are not counted"
    if gaps:
        return total, f"At least {words.usd(total)} ({scope}); {'; '.join(gaps)}."
    return total, f"{words.usd(total)} ({scope})."
