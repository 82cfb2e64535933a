"""Role `videos`: what is placed, replaced, removed and left alone, with names that hold anything."""

from __future__ import annotations

import hashlib
import json
import shlex
import subprocess
import sys

import pytest
from role_harness import changed, run

from roles import videos
from roles.common.knobs import RefusedError
from roles.videos.defaults import VideoFile
from roles.videos.facts import SCRIPT, FolderFact, VideosState
from roles.videos.plan import Known, Marker, doubtful, plan, read_marker, render_marker

NAME = 'it\'s "gate" ä.mp4'


@pytest.fixture
def clip(tmp_path):
    path = tmp_path / "clip.mp4"
    path.write_bytes(b"x" * 100)
    return VideoFile(NAME, path, hashlib.sha256(b"x" * 100).hexdigest(), 100)


def data(*clips: VideoFile):
    return {
        "videos_files": [
            {"name": clip.name, "path": str(clip.path), "sha256": clip.sha256, "size_bytes": clip.size_bytes}
            for clip in clips
        ]
    }


def answer(files, marker=None, hashes=None, exists=True, free_bytes=1 << 40):
    state = {"exists": exists, "files": files, "marker": marker, "hashes": hashes or {}, "free_bytes": free_bytes}
    return {"stat -c '%a %U:%G'": ["755 root:root"] if exists else [], "python3 -c": [json.dumps(state)]}


def marker(clip, mtime_ns=7, **more):
    return render_marker(Marker({clip.name: Known(clip.sha256, clip.size_bytes, mtime_ns)}, **more))


def test_fresh_machine(clip):
    outcome = run(videos.install, answer({}, exists=False), data=data(clip))
    text = outcome.text()
    assert not outcome.failed
    assert "mkdir -p /videos && chown root:root /videos" in text
    assert f"FileUploadCommand({clip.path}" in text
    # Checked on the node before it gets its name, which is quoted.
    assert text.index(f'[ "$found" = {clip.sha256} ]') < text.index(f"mv -f /videos/.{clip.sha256[:16]}.part")
    assert shlex.quote(f"/videos/{NAME}") in text


def test_converged_machine_is_left_alone(clip):
    outcome = run(videos.install, answer({NAME: [100, 7], "own.mp4": [5, 5]}, marker(clip)), data=data(clip))
    assert changed(outcome) == []


def test_folder_of_an_owner_is_left_as_it_is(clip):
    answers = answer({NAME: [100, 7]}, marker(clip)) | {"stat -c '%a %U:%G'": ["2770 recorder:video"]}
    assert changed(run(videos.install, answers, data=data(clip))) == []
    asked = run(videos.install, answers, data=data(clip) | {"videos_mode": "755", "videos_owner": "root:root"})
    assert changed(asked) == ["videos | Make the videos folder"]


def test_no_space_is_told_before_anything_is_sent(clip):
    outcome = run(videos.install, answer({}, free_bytes=1000), data=data(clip))
    assert outcome.failed
    assert "FileUpload" not in outcome.text()


def test_a_foreign_file_of_the_same_name_is_never_overwritten(clip):
    outcome = run(videos.install, answer({NAME: [99, 7]}), data=data(clip))
    assert outcome.failed
    assert outcome.commands == ["FunctionCommand(fail, (), {})"]


@pytest.mark.parametrize(
    ("files", "known", "hashes", "expected"),
    [
        pytest.param({}, False, {}, "place", id="missing"),
        pytest.param({NAME: (100, 7)}, True, {}, "nothing", id="right"),
        pytest.param({NAME: (100, 8)}, True, {NAME: "right"}, "remember", id="touched"),
        pytest.param({NAME: (100, 8)}, True, {NAME: "wrong"}, "place", id="ours, other content, same size"),
        pytest.param({NAME: (99, 7)}, True, {}, "place", id="ours, cut off"),
        pytest.param({NAME: (100, 7)}, False, {NAME: "right"}, "remember", id="marker lost"),
        pytest.param({NAME: (100, 7)}, False, {NAME: "wrong"}, "foreign", id="somebody else's"),
        pytest.param({NAME: (99, 7)}, False, {}, "foreign", id="somebody else's, other size"),
    ],
)
def test_plan(clip, files, known, hashes, expected):
    state = FolderFact(exists=True, files=files)
    ours = Marker({NAME: Known(clip.sha256, 100, 7)} if known else {})
    assert doubtful(state, ours, [clip]) == list(hashes)
    found = {name: clip.sha256 if value == "right" else "0" * 64 for name, value in hashes.items()}
    todo = plan(state, ours, [clip], found)
    assert bool(todo.place) is (expected == "place")
    assert bool(todo.foreign) is (expected == "foreign")
    assert todo.remember is (expected in {"place", "remember"})
    assert todo.remove == []


def test_clips_of_ours_that_are_not_wanted_go_and_others_stay(clip):
    outcome = run(videos.install, answer({NAME: [100, 7], "own.mp4": [5, 5]}, marker(clip)), data=data())
    assert f"rm -f -- {shlex.quote('/videos/' + NAME)}" in outcome.text()
    assert "own.mp4" not in outcome.text()


def test_remove_takes_ours_only(clip):
    answers = answer({NAME: [100, 7], "own.mp4": [5, 5]}, marker(clip, made_folder=True))
    text = run(videos.remove, answers).text()
    assert f"rm -f -- {shlex.quote('/videos/' + NAME)}" in text
    assert "own.mp4" not in text
    assert "rmdir --ignore-fail-on-non-empty -- /videos" in text


def test_remove_on_a_bare_machine_does_nothing():
    assert changed(run(videos.remove, answer({}, exists=False))) == []


def test_missing_local_files_are_all_told_before_any_change(tmp_path, clip):
    gone = VideoFile("a.mp4", tmp_path / "gone.mp4", "0" * 64, 1)
    grown = VideoFile("b.mp4", clip.path, clip.sha256, 99)
    outside = VideoFile("../c.mp4", clip.path, "zz", 100)
    with pytest.raises(RefusedError) as caught:
        run(videos.install, {}, data=data(gone, grown, outside))
    assert len(caught.value.faults) == 4


def test_marker_that_is_damaged_counts_as_none():
    for text in ("{", "[]", '{"files": {"a": {}}}', '{"files": {"a": 1}, "made_folder": true}', None):
        assert read_marker(text) == Marker()
    assert read_marker(render_marker(Marker({"ä": Known("a", 1, 2)}, True))) == Marker({"ä": Known("a", 1, 2)}, True)


def test_the_nodes_own_program(tmp_path):
    folder, note = tmp_path / "videos", tmp_path / "note.json"
    (folder / "sub").mkdir(parents=True)
    (folder / "sub" / NAME).write_bytes(b"abc")
    note.write_text("noted", encoding="utf-8")
    name = f"sub/{NAME}"
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(folder), str(note), name], capture_output=True, text=True, check=True
    )
    state = VideosState().process(done.stdout.splitlines())
    assert state.exists
    assert state.marker == "noted"
    assert state.files[name][0] == 3
    assert state.hashes == {name: hashlib.sha256(b"abc").hexdigest()}
    assert state.free_bytes > 0
