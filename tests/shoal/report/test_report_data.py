"""What the report takes from a run's folder, above all from one that is not whole."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path

import pytest

from shoal.errors import UsageError
from shoal.report import read_run
from shoal.report.model import Run, State, Verification
from shoal.results import record as runs
from shoal.results.record import NodeRecord, Outcome
from tests.shoal.report import report_example as example

RUN = "run-1"


def one_node(*, name: str = "compute-1", fetched: bool = True, outcome: Outcome = Outcome.FINISHED) -> Path:
    """A run of one finished node with one video; returns the node's folder."""
    folder = runs.run_dir(RUN) / name
    checked = example.finish(folder, RUN, [example.add_video(folder, "cam00.mp4", key_frames=1)])
    example.record(
        RUN,
        {
            name: NodeRecord(
                outcome=outcome,
                attempts=[example.attempt(1, outcome, 0)],
                fetched=checked if fetched else None,
            )
        },
    )
    return folder


def edit(path: Path, **changes: object) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def zeroed(path: Path) -> None:
    """As a power cut may leave it: the length is right."""
    path.write_bytes(bytes(path.stat().st_size))


def all_words(run: Run) -> str:
    return "\n".join([run.state_text, *run.problems, *run.notices])


def test_whole_run() -> None:
    run = read_run(example.whole_run())

    assert run.state is State.COMPLETE
    assert run.problems == []
    assert (run.nodes_done, run.nodes_expected) == (2, 2)
    assert run.totals.videos == 12
    assert run.totals.frames == 1320
    assert run.totals.footage_s == 132
    assert run.totals.detections == sum(run.totals.counts.values()) > 0
    assert list(run.totals.counts.values()) == sorted(run.totals.counts.values(), reverse=True)
    assert run.wall_time_s == 74
    assert run.frames_per_wall_s == pytest.approx(1320 / 74)
    assert run.totals.frames_per_work_s == pytest.approx(run.totals.frames / run.totals.work_s)
    assert run.totals.video_bytes == sum(612_345 + 1000 * n for n in range(1, 13))
    assert run.home_bytes == sum(node.home_bytes for node in run.nodes) > 100_000
    assert run.unverified_home_bytes == 0
    assert run.headline == f"{run.totals.detections:,} detections in 12 videos"


def test_still_photos_are_named() -> None:
    run = read_run(example.whole_run())

    assert [v.video for n in run.nodes for v in n.videos if v.still_photo] == [
        "cam10-still-photo-bus.mp4",
        "cam11-still-photo-two-men.mp4",
    ]
    assert "2 of 12 videos are moving crops of a still photo, not camera footage." in run.notices


def test_partly_failed_run() -> None:
    run = read_run(example.partly_failed_run())

    assert run.state is State.INCOMPLETE
    assert run.state_text == "Incomplete: 1 of 3 nodes finished with verified results."
    first, second, third = run.nodes
    assert [node.verification for node in run.nodes] == [
        Verification.VERIFIED,
        Verification.NOT_VERIFIED,
        Verification.ABSENT,
    ]
    assert first.totals.faulty_videos == 2
    assert len(second.videos) == 3
    assert not any(video.verified for video in second.videos)
    assert third.videos == []
    text = all_words(run)
    for words in (
        "no recorded end",
        "“cam04-broken.mp4” (truncated: the file ends inside frame 41 of about 99)",
        "“cam05-notes.mp4” (unreadable",
        "compute-2: out of memory, exit code 137: the container was killed at its limit of 512 MB",
        "Of its results 3 videos came home, not verified.",
        "compute-3: unreachable, no attempt was recorded. No results at home.",
        "include 3 videos whose results are not verified",
    ):
        assert words in text
    assert run.wall_time_s is None
    assert run.frames_per_wall_s is None


def test_faulty_videos_alone() -> None:
    folder = runs.run_dir(RUN) / "a"
    fault = {"kind": "empty", "message": "0 bytes"}
    videos = [
        example.add_video(folder, "x.mp4"),
        example.add_video(folder, "y.mp4", seconds=0, classes=(), fault=fault),
    ]
    fetched = example.finish(folder, RUN, videos)
    example.record(RUN, {"a": NodeRecord(outcome=Outcome.FAULTY_VIDEOS, fetched=fetched)})

    run = read_run(RUN)

    assert run.state is State.FAULTY_VIDEOS
    assert run.state_text == "Finished with 1 faulty video: 1 of 1 node done, results verified."
    assert "a: faulty video “y.mp4” (empty: 0 bytes)" in run.problems


def test_no_videos() -> None:
    run = read_run(example.empty_run())

    assert run.state is State.INCOMPLETE
    assert run.headline == "No video was processed"
    assert "compute-1: no videos found, exit code 4: no videos under /videos. No results at home." in run.problems
    assert "Zero videos" in all_words(run)


def test_no_nodes() -> None:
    example.record(RUN, {})

    run = read_run(RUN)

    assert run.state is State.INCOMPLETE
    assert "No node was expected" in run.problems[0]
    assert run.cost_text == "Unknown: there are no nodes."


def test_zero_detections_are_said() -> None:
    folder = runs.run_dir(RUN) / "a"
    fetched = example.finish(folder, RUN, [example.add_video(folder, "night.mp4", classes=())])
    example.record(RUN, {"a": NodeRecord(outcome=Outcome.FINISHED, fetched=fetched)})

    run = read_run(RUN)

    assert run.state is State.COMPLETE
    assert run.headline == "Nothing was detected in 1 video"
    assert any(notice.startswith("Zero detections") for notice in run.notices)


def test_finished_but_not_brought_home() -> None:
    example.record(RUN, {"a": NodeRecord(outcome=Outcome.FINISHED, attempts=[example.attempt(1, Outcome.FINISHED, 0)])})

    run = read_run(RUN)

    assert run.state is State.INCOMPLETE
    assert "a: not verified: it finished, but its results were not brought home." in run.problems


def test_fetch_not_recorded_is_not_verified() -> None:
    one_node(fetched=False)

    run = read_run(RUN)

    assert run.state is State.INCOMPLETE
    assert run.nodes_done == 0
    assert run.nodes[0].verification is Verification.NOT_VERIFIED
    assert run.unverified_home_bytes == run.home_bytes > 0


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda node: (node / "manifest.json").unlink(), "manifest.json is missing"),
        (lambda node: (node / "manifest.json").write_text("{"), "manifest.json cannot be read"),
        (lambda node: edit(node / "manifest.json", run="run-2"), "manifest.json belongs to run run-2"),
        (lambda node: edit(node / "manifest.json", schema_version=2), "manifest.json is damaged: schema_version"),
        (lambda node: edit(node / "manifest.json", files=[{"path": 1}]), "manifest.json is damaged: files[0].path"),
        (
            lambda node: next(node.rglob("*.jpg")).unlink(),
            "1 of 5 files in the manifest missing here: videos/cam00-mp4-",
        ),
        (
            lambda node: next(node.rglob("detections.jsonl")).write_text("{}\n"),
            "1 of 5 files with another size than in the manifest: videos/cam00-mp4-",
        ),
        (
            lambda node: zeroed(next(node.rglob("detections.jsonl"))),
            "1 of 5 files with another content than in the manifest: videos/cam00-mp4-",
        ),
        (
            lambda node: edit(node / "manifest.json", files=[{"path": "../run.json", "size_bytes": 1}]),
            "manifest.json is damaged: files[0]",
        ),
    ],
)
def test_half_fetched_is_never_taken_for_whole(damage, words: str) -> None:
    damage(one_node())

    run = read_run(RUN)

    assert run.state is State.INCOMPLETE
    assert run.nodes[0].verification is Verification.NOT_VERIFIED
    assert words in "\n".join(run.nodes[0].notes)
    assert "not verified" in all_words(run)
    assert not any(video.verified for video in run.nodes[0].videos)


def test_video_known_only_from_the_node_summary_is_shown() -> None:
    node = one_node()
    for path in sorted((node / "videos").rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()

    run = read_run(RUN)

    assert [video.video for video in run.nodes[0].videos] == ["cam00.mp4"]
    assert run.nodes[0].videos[0].key_frames[0].path is None
    assert run.nodes[0].verification is Verification.NOT_VERIFIED


def test_film_that_went_before_the_run_came_to_it_is_said() -> None:
    folder = one_node()
    gone = {"pictures": 0, "sound": 0, "other": 0, "hidden": 0, "gone": 2, "names": []}
    edit(folder / "summary.json", not_read=gone)
    assert "compute-1: 2 files of film went by its days before the run came to it." in read_run(RUN).notices


def test_unfinished_video_folder_is_not_read() -> None:
    node = one_node()
    part = node / "videos" / ".cam01.part"
    part.mkdir()
    (part / "summary.json").write_text("{}")

    assert [video.video for video in read_run(RUN).nodes[0].videos] == ["cam00.mp4"]


def test_video_that_the_manifest_does_not_name() -> None:
    node = one_node()
    example.add_video(node, "later.mp4", key_frames=0)

    run = read_run(RUN)

    assert {video.video: video.verified for video in run.nodes[0].videos} == {"cam00.mp4": True, "later.mp4": False}
    assert "is not in the manifest" in all_words(run)
    assert run.state is State.INCOMPLETE


def test_a_document_that_cannot_be_read_is_never_a_whole_node() -> None:
    node = one_node()
    for summary in node.rglob("summary.json"):
        # The same size as the manifest says.
        summary.write_text(summary.read_text().replace('"schema_version": 1', '"schema_version": 9'))

    run = read_run(RUN)

    assert run.state is State.INCOMPLETE
    assert run.nodes[0].videos == []
    assert "compute-1: not verified: 2 of 5 files with another content than in the manifest" in all_words(run)
    assert "summary.json is damaged: schema_version" in all_words(run)


def test_says_what_to_do() -> None:
    failed = read_run(example.partly_failed_run())
    one_node(fetched=False)

    assert f"To run it again on compute-2, compute-3: shoal resume {failed.run}" in failed.problems
    assert f"To bring home and check the results of compute-1: shoal results fetch {RUN}" in read_run(RUN).problems


@pytest.mark.parametrize("value", ["NaN", "-1", "1e999", "-Infinity", '"many"'])
def test_impossible_figures_are_refused_and_named(value: str) -> None:
    node = one_node()
    summary = next((node / "videos").rglob("summary.json"))
    document = json.loads(summary.read_text())
    document["frames_per_s"] = "HERE"
    summary.write_text(json.dumps(document).replace('"HERE"', value))

    notes = "\n".join(read_run(RUN).nodes[0].notes)
    assert "summary.json is damaged: frames_per_s" in notes or f"cannot be read: {value} is not a figure" in notes


@pytest.mark.parametrize("path", ["../../../secret.jpg", "/etc/hostname", "frames/\0.jpg", "link/x.jpg"])
def test_key_frames_outside_of_the_folder_are_not_read(path: str, tmp_path: Path) -> None:
    node = one_node()
    (runs.run_dir(RUN) / "secret.jpg").write_bytes(example.picture(1))
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "x.jpg").write_bytes(example.picture(1))
    folder = next((node / "videos").iterdir())
    (folder / "link").symlink_to(tmp_path / "outside")
    frame = {"file": path, "frame": 1, "time_s": 0.1, "detections": 1, "width": 9, "height": 9}
    edit(folder / "summary.json", key_frames=[frame])

    assert read_run(RUN).nodes[0].videos[0].key_frames[0].path is None


def test_other_weights_than_the_run_names() -> None:
    folder = runs.run_dir(RUN) / "a"
    fetched = example.finish(folder, RUN, [example.add_video(folder, "x.mp4")], weights="cd" * 32)
    example.record(RUN, {"a": NodeRecord(outcome=Outcome.FINISHED, fetched=fetched)})

    assert f"it ran weights with sha256 {'cd' * 32}" in all_words(read_run(RUN))


def test_names_that_are_no_unicode_damage_their_document() -> None:
    node = one_node()
    summary = next((node / "videos").rglob("summary.json"))
    edit(summary, video="caf\udce9.mp4")

    # No detector writes one: it spells out the bytes of such names.
    assert "summary.json cannot be read: 'caf\\udce9.mp4' is not text" in all_words(read_run(RUN))


def test_cost_is_time_times_price() -> None:
    run = read_run(example.whole_run(price=3.6))

    assert run.cost_usd == pytest.approx(2 * 62 / 3600 * 3.6)
    assert run.cost_text.startswith("$0.12 (machine time")


def test_cost_unknown_is_said_and_not_invented() -> None:
    run = read_run(example.whole_run(price=None))

    assert run.cost_usd is None
    assert run.cost_text == "Unknown: no price per hour is recorded for compute-1, compute-2."


def test_cost_known_in_part_is_a_lower_bound() -> None:
    run = read_run(example.partly_failed_run())

    assert run.cost_usd == pytest.approx(62 / 3600 * 0.0675)
    assert run.cost_text.startswith("At least $0.0012")
    assert "no price per hour is recorded for compute-2, compute-3" in run.cost_text


def test_a_clock_that_was_set_back_gives_no_length_rather_than_a_negative_one() -> None:
    first = example.attempt(1, Outcome.FAILED, 1)
    back = first.model_copy(update={"ended_at": first.started_at - timedelta(hours=1)})
    example.record(
        RUN,
        {"a": NodeRecord(attempts=[back], price_usd_per_hour=1.0)},
        finished_at=example.START - timedelta(hours=1),
    )

    run = read_run(RUN)

    assert run.wall_time_s is None
    assert run.frames_per_wall_s is None
    assert run.nodes[0].attempts[0].duration_s is None
    assert run.nodes[0].machine_time_open


def test_attempt_without_an_end_makes_the_cost_a_lower_bound() -> None:
    last = example.attempt(2, Outcome.PENDING, None).model_copy(update={"ended_at": None})
    example.record(
        RUN,
        {"a": NodeRecord(attempts=[example.attempt(1, Outcome.FAILED, 1), last], price_usd_per_hour=1.0)},
    )

    run = read_run(RUN)

    assert run.nodes[0].machine_time_open
    assert "At least $0.017" in run.cost_text


def test_no_such_run() -> None:
    with pytest.raises(UsageError, match="there is no run 'nope'"):
        read_run("nope")
