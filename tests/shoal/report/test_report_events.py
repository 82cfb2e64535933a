"""The report begins with events: by camera, with covered clips in the page, and says why where there is none."""

from __future__ import annotations

import base64
from pathlib import Path

import pytest

from shoal.report import html, read_run
from shoal.report.html import render
from shoal.results import record as runs
from tests.shoal.report import report_example as example


def test_events_by_camera_with_what_they_are(runs_folder: Path) -> None:
    view = read_run(example.events_run())
    assert view.headline == "3 alerts and 1 record on 2 cameras"
    assert [(one.camera, len(one.events), one.length_s) for one in view.cameras] == [
        ("gate", 2, 60),
        ("yard <b>", 2, 30),
    ]
    assert [event.clip is not None for camera in view.cameras for event in camera.events] == [True, True, True, False]
    assert view.event_bytes is not None
    assert view.event_bytes.leaving == 36_000


def test_the_page_begins_with_events_and_plays_their_clips_from_within(runs_folder: Path) -> None:
    run = example.events_run()
    page = render(read_run(run), runs.run_dir(run))
    assert page.index('<h2 id="events">') < page.index('<h2 id="classes">')
    data = base64.b64encode(example.film()).decode()
    assert page.count(f'src="data:video/mp4;base64,{data}"') == 3
    assert "media-src data:;" in page
    assert "yard &lt;b&gt;" in page
    assert "yard <b>" not in page
    assert "clip kept on the node" in page
    assert "somebody is still seen in 2 of its frames" in page
    assert "2026-11-25T08:00:45.000Z" in page
    assert "3.4 %" in page  # clips and pictures, of the footage


def test_what_was_shipped_is_on_the_page_once_it_is_known(runs_folder: Path) -> None:
    run = example.events_run()
    assert "Shipped to the store" not in render(read_run(run), runs.run_dir(run))
    record = runs.load(run)
    record.nodes["compute-1"].shipped = runs.Shipped(size_bytes=30_000, asked_at=record.created_at)
    runs.save(record)
    view = read_run(run)
    assert view.shipped_bytes == 30_000
    page = render(view, runs.run_dir(run))
    assert "Shipped to the store, as of the last look" in page
    assert "30.0 kB" in page


def test_a_clip_that_is_not_what_its_event_says_is_not_played(runs_folder: Path) -> None:
    run = example.events_run()
    for clip in runs.run_dir(run).glob("compute-1/clips/*.mp4"):
        clip.write_bytes(clip.read_bytes()[:-1] + b"?")
    view = read_run(run)
    assert not any(event.clip for camera in view.cameras for event in camera.events)
    assert "data:video" not in render(view, runs.run_dir(run))


def test_clips_that_do_not_fit_are_linked(runs_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = example.events_run()
    monkeypatch.setattr(html, "DEFAULT_CLIPS_MAX_BYTES", len(example.film()) * 3 // 2)
    page = render(read_run(run), runs.run_dir(run))
    assert page.count('src="data:video/mp4') == 1
    assert page.count("Clip beside this page") == 2


def test_damaged_events_are_told_and_not_taken_for_none(runs_folder: Path) -> None:
    run = example.events_run()
    path = runs.run_dir(run) / "compute-1" / "events.jsonl"
    path.write_text("{" + path.read_text()[1:].replace("alert", "loud"))
    view = read_run(run)
    assert any("events.jsonl is damaged" in problem for problem in view.problems)


def test_runs_of_older_detectors_have_no_events_section(runs_folder: Path) -> None:
    run = example.whole_run()
    view = read_run(run)
    assert view.event_bytes is None
    assert 'id="events"' not in render(view, runs.run_dir(run))
