"""Whole runs in this process: results, their schemas, taking up again, and what is refused."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import av
import pytest
from jsonschema import Draft202012Validator
from referencing import Registry, Resource
from shoal_detect.errors import DetectorError, Exit
from shoal_detect.run import run
from shoal_detect.state.settings import Settings
from shoal_detect.stop import Stop

from tests.detector import detector_making as making

MakeSettings = Callable[..., Settings]
SCHEMAS = {path.name: making.document(path) for path in sorted((making.DETECTOR / "schemas").glob("*.schema.json"))}
REGISTRY: Registry[Any] = Registry().with_resources(
    [(name, Resource.from_contents(schema)) for name, schema in SCHEMAS.items()]
)


def _check(name: str, content: object) -> None:
    schema = SCHEMAS[f"{name}.schema.json"]
    Draft202012Validator.check_schema(schema)
    Draft202012Validator(schema, registry=REGISTRY, format_checker=Draft202012Validator.FORMAT_CHECKER).validate(
        content
    )


def _check_folder(state: Path) -> dict[str, Any]:
    """Hold every document against its schema and the manifest against the files; return the run's summary."""
    manifest = making.document(state / "manifest.json")
    _check("manifest", manifest)
    listed = {entry["path"]: entry for entry in manifest["files"]}
    there = [name for name in making.tree(state) if (state / name).is_file()]
    assert list(listed) == sorted(set(there) - {"lock", "manifest.json"})
    for name, entry in listed.items():
        data = (state / name).read_bytes()
        assert (entry["size_bytes"], entry["sha256"]) == (len(data), hashlib.sha256(data).hexdigest())
    summary = making.document(state / "summary.json")
    _check("summary", summary)
    assert summary["exit_code"] == manifest["exit_code"]
    for video in summary["videos"]:
        folder = state / "videos" / video["video_id"]
        assert making.document(folder / "summary.json") == video
        lines = [json.loads(line) for line in (folder / "detections.jsonl").read_text().splitlines()]
        assert len(lines) == video["detections"] == sum(video["counts"].values())
        assert sum(sum(moment["counts"].values()) for moment in video["timeline"]) == video["detections"]
        for line in lines:
            _check("detection", line)
        for key_frame in video["key_frames"]:
            with av.open(str(folder / key_frame["file"])) as container:
                picture = next(container.decode(video=0))
            assert (picture.width, picture.height) == (key_frame["width"], key_frame["height"])
    return summary


def _without_times(summary: dict[str, Any]) -> dict[str, Any]:
    changing = {"started_at", "finished_at", "decode_and_infer_s", "frames_per_s"}
    kept = {name: value for name, value in summary.items() if name not in changing}
    return {**kept, "videos": [_without_times(video) for video in kept["videos"]]} if "videos" in kept else kept


def _refused(settings: Settings) -> DetectorError:
    with pytest.raises(DetectorError) as caught:
        run(settings, Stop())
    return caught.value


def test_a_run_finds_what_is_there_and_describes_it(
    videos: Path, state: Path, settings: MakeSettings, capsys: pytest.CaptureFixture[str]
) -> None:
    making.write_video(videos / "cam01.mp4", making.moving(20), codec="libx264")
    (videos / "yard").mkdir()
    making.write_video(videos / "yard" / "cam 02.avi", making.moving(10))
    assert run(settings("--stride", "2"), Stop()) is Exit.DONE

    summary = _check_folder(state)
    assert summary["weights"]["name"] == "squares"
    assert summary["settings"]["stride"] == 2
    assert summary["runtime"]["threads"] == 1
    first, second = summary["videos"]
    assert (first["video"], second["video"]) == ("cam01.mp4", "yard/cam 02.avi")
    assert (first["frames"], first["frames_inferred"]) == (20, 10)
    assert first["counts"] == {"person": 10, "car": 5}
    assert first["frames_with"] == {"person": 10, "car": 5}
    assert [moment["time_s"] for moment in first["timeline"]] == [0, 1]
    assert first["timeline"][1]["counts"] == {"person": 5, "car": 5}
    assert summary["totals"] == {
        "videos": 2, "faulty": 0, "frames": 30, "frames_inferred": 15, "detections": 22,
        "counts": {"person": 15, "car": 7},
    }  # fmt: skip

    folder = state / "videos" / first["video_id"]
    lines = [json.loads(line) for line in (folder / "detections.jsonl").read_text().splitlines()]
    assert [line["frame"] for line in lines if line["class"] == "person"] == list(range(0, 20, 2))
    third = lines[1]
    assert third["confidence"] > 0.9
    assert third == {
        "video": "cam01.mp4", "frame": 2, "time_s": 0.2, "class": "person", "class_id": 0,
        "confidence": third["confidence"], "box": [0.0, 32.0, 32.0, 64.0],
    }  # fmt: skip
    out = making.events(capsys.readouterr().out)
    sizes = [video["size_bytes"] for video in summary["videos"]]
    assert out[0] == {
        "event": "run", "run": "run-1", "videos": 2, "videos_done": 0, "size_bytes": sum(sizes), "done_size_bytes": 0,
    }  # fmt: skip
    assert out[1] == {
        "event": "video_done", "number": 1, "videos": 2, "video": "cam01.mp4", "size_bytes": sizes[0],
        "frames": 20, "detections": 15, "decode_errors": 0,
    }  # fmt: skip
    assert out[-1] == {"event": "done", "videos": 2, "faulty": 0, "frames": 30, "detections": 22}


def test_boxes_are_in_pixels_of_the_original_frame(videos: Path, state: Path, settings: MakeSettings) -> None:
    making.write_video(videos / "wide.avi", [making.picture({(2, 1): making.RED}, 128, 96)])
    # 128 x 96 with a border of 16 below and above: the squares of the frame lie across those of the model.
    boxes = {}
    for img in ("128", "256"):
        assert run(settings("--img", img), Stop()) is Exit.DONE
        (content,) = making.detections(state).values()
        boxes[img] = sorted(json.loads(line)["box"] for line in content.splitlines())
        shutil.rmtree(state)
    assert boxes["128"] == [[64.0, 16.0, 96.0, 48.0], [64.0, 48.0, 96.0, 80.0]]
    assert boxes["256"] == [
        [64.0, 32.0, 80.0, 48.0],
        [64.0, 48.0, 80.0, 64.0],
        [80.0, 32.0, 96.0, 48.0],
        [80.0, 48.0, 96.0, 64.0],
    ]


def test_classes_confidence_and_limit_are_kept_to(videos: Path, state: Path, settings: MakeSettings) -> None:
    making.write_video(videos / "a.avi", [making.picture({(0, 0): making.RED, (1, 1): making.MAGENTA})] * 4)
    run(settings("--classes", "car,bus"), Stop())
    summary = _check_folder(state)
    assert summary["totals"]["counts"] == {"car": 4}
    assert summary["settings"]["classes"] == ["car", "bus"]
    shutil.rmtree(state)
    run(settings("--max-det", "1"), Stop())
    assert _check_folder(state)["totals"]["detections"] == 4
    shutil.rmtree(state)
    run(settings("--conf", "1"), Stop())
    assert _check_folder(state)["totals"]["detections"] == 0


def test_nothing_found_is_said_and_one_frame_kept(
    videos: Path, state: Path, settings: MakeSettings, capsys: pytest.CaptureFixture[str]
) -> None:
    making.write_video(videos / "dark.avi", [making.picture({})] * 5)
    assert run(settings(), Stop()) is Exit.DONE
    (video,) = _check_folder(state)["videos"]
    assert [key_frame["frame"] for key_frame in video["key_frames"]] == [0]
    out = making.notes(capsys.readouterr().out)
    assert "nothing found: 0 detections in 5 inferred frames of 1 videos at confidence 0.35" in out


def test_faulty_videos_are_named_and_the_others_done(
    videos: Path, state: Path, settings: MakeSettings, capsys: pytest.CaptureFixture[str]
) -> None:
    making.write_video(videos / "good.avi", making.moving(10))
    making.write_video(videos / "whole.mp4", making.moving(30, noise=True), options={"movflags": "faststart"})
    data = (videos / "whole.mp4").read_bytes()
    (videos / "whole.mp4").unlink()
    (videos / "cut.mp4").write_bytes(data[: len(data) * 6 // 10])
    (videos / "empty.mp4").touch()
    (videos / "garbage.mkv").write_bytes(bytes(5000))
    (videos / "gone.mp4").symlink_to("nowhere")
    making.write_sound(videos / "sound.mp4")
    making.write_video(videos / "none.avi", [])
    assert run(settings(), Stop()) is Exit.FAULTY_VIDEOS

    summary = _check_folder(state)
    assert {video["video"]: video["fault"] and video["fault"]["kind"] for video in summary["videos"]} == {
        "cut.mp4": "truncated",
        "empty.mp4": "empty",
        "garbage.mkv": "unreadable",
        "gone.mp4": "unreadable",
        "good.avi": None,
        "none.avi": "no_frames",
        "sound.mp4": "no_video_stream",
    }
    assert summary["totals"]["faulty"] == 6
    cut = summary["videos"][0]
    assert 10 <= cut["frames"] <= 20
    assert cut["detections"] >= cut["frames"]
    out = making.events(capsys.readouterr().out)
    assert {
        "event": "video_fault", "number": 2, "videos": 7, "video": "empty.mp4", "size_bytes": 0,
        "kind": "empty", "message": "the file has 0 bytes", "frames": 0, "detections": 0,
    } in out  # fmt: skip
    assert {name: out[-1][name] for name in ("event", "videos", "faulty")} == {
        "event": "done", "videos": 7, "faulty": 6
    }  # fmt: skip
    # A finished run ends with the same code again.
    assert run(settings(), Stop()) is Exit.FAULTY_VIDEOS


NAMES = ["two  spaces.avi", "quote\"s and 'more'.avi", "line\nbreak.avi", "Höfe/日本 ☂.avi", "-rf.avi", "a:b%d.avi"]


def test_names_of_any_kind_are_read_and_kept(
    videos: Path, state: Path, settings: MakeSettings, capsys: pytest.CaptureFixture[str]
) -> None:
    (videos / "Höfe").mkdir()
    for name in NAMES:
        making.write_video(videos / "plain.avi", making.moving(3))
        (videos / "plain.avi").rename(videos / name)
    with open(bytes(videos) + b"/bad\xff.avi", "wb") as stream:  # noqa: PTH123 - not UTF-8
        stream.write((videos / NAMES[0]).read_bytes())
    assert run(settings(), Stop()) is Exit.DONE
    summary = _check_folder(state)
    assert {video["video"] for video in summary["videos"]} == {*NAMES, "bad\\xff.avi"}
    assert all(video["frames"] == 3 for video in summary["videos"])
    done = [one for one in making.events(capsys.readouterr().out) if one["event"] == "video_done"]
    assert ("line\nbreak.avi", 3) in [(one["video"], one["frames"]) for one in done]


def test_the_same_videos_give_the_same_bytes(videos: Path, state: Path, settings: MakeSettings) -> None:
    making.write_video(videos / "a.mp4", making.moving(30, noise=True), codec="libx264")
    run(settings(), Stop())
    first, pictures = making.detections(state), {path.name: path.read_bytes() for path in state.rglob("*.jpg")}
    summary = _without_times(making.document(state / "summary.json"))
    shutil.rmtree(state)
    run(settings(), Stop())
    assert making.detections(state) == first
    assert {path.name: path.read_bytes() for path in state.rglob("*.jpg")} == pictures
    assert _without_times(making.document(state / "summary.json")) == summary


def test_a_frame_that_changes_its_size_is_fitted_anew(videos: Path, state: Path, settings: MakeSettings) -> None:
    """Cameras that are set to another resolution while they record do this; MPEG-2 in a transport stream can."""
    for name, width in (("a.ts", 64), ("b.ts", 128)):
        pictures = [making.picture({(0, 0): making.RED}, width, width)] * 10
        making.write_video(videos / name, pictures, codec="mpeg2video", fps=25)
    (videos / "both.ts").write_bytes((videos / "a.ts").read_bytes() + (videos / "b.ts").read_bytes())
    (videos / "a.ts").unlink()
    (videos / "b.ts").unlink()
    run(settings("--conf", "0.2", "--img", "128"), Stop())
    (content,) = making.detections(state).values()
    boxes = {tuple(json.loads(line)["box"]) for line in content.splitlines()}
    assert boxes >= {(0.0, 0.0, 32.0, 32.0), (0.0, 0.0, 16.0, 16.0)}


# --- taking up again


def test_a_finished_run_ends_at_once_even_without_weights(
    videos: Path, state: Path, weights: Path, settings: MakeSettings, capsys: pytest.CaptureFixture[str]
) -> None:
    making.write_video(videos / "a.avi", making.moving(5))
    run(settings(), Stop())
    before = {name: (state / name).stat().st_mtime_ns for name in making.tree(state) if name != "lock"}
    weights.unlink()
    making.write_video(videos / "late.avi", making.moving(5))
    capsys.readouterr()
    assert run(settings(), Stop()) is Exit.DONE
    assert {name: (state / name).stat().st_mtime_ns for name in making.tree(state) if name != "lock"} == before
    out = making.notes(capsys.readouterr().out)
    assert "finished already" in out
    assert "1 videos appeared after it was finished and are not part of it" in out


def test_other_settings_are_refused_with_every_difference(videos: Path, state: Path, settings: MakeSettings) -> None:
    making.write_video(videos / "a.avi", making.moving(5))
    run(settings(), Stop())
    for finished in (True, False):
        error = _refused(settings("--conf", "0.5", "--classes", "car"))
        assert error.exit_code is Exit.USAGE
        assert "conf was 0.35, is 0.5; classes was None, is ['car']" in error.message
        assert (state / "manifest.json").exists() is finished
        (state / "manifest.json").unlink(missing_ok=True)
    other = making.model(height=64, width=64)
    settings().weights.write_bytes(other)
    assert "weights_sha256 was" in _refused(settings()).message
    # Threads and the weights' name change no result.
    settings().weights.write_bytes(making.model())
    assert run(settings("--threads", "2"), Stop()) is Exit.DONE


def test_done_videos_are_skipped_and_leftovers_removed(
    videos: Path, state: Path, settings: MakeSettings, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("a.avi", "b.avi", "c.avi"):
        making.write_video(videos / name, making.moving(5))
    run(settings(), Stop())
    whole = making.detections(state)
    folders = {path.name.split("-")[0]: path for path in (state / "videos").iterdir()}
    stays = folders["a"].stat().st_ino
    # As a kill leaves it: no manifest, a part, an older folder put aside, a file half-written.
    (state / "manifest.json").unlink()
    folders["b"].rename(folders["b"].with_name(f".{folders['b'].name}.part"))
    shutil.copytree(folders["c"], folders["c"].with_name(f".{folders['c'].name}.old"))
    (folders["c"] / "detections.jsonl").unlink()
    (state / ".summary.json.part").write_text("{")
    capsys.readouterr()
    assert run(settings(), Stop()) is Exit.DONE
    assert making.detections(state) == whole
    assert folders["a"].stat().st_ino == stays
    assert not [name for name in making.tree(state) if "/." in f"/{name}"]
    first, *others = making.events(capsys.readouterr().out)
    assert (first["videos"], first["videos_done"]) == (3, 1)
    done = [(one["number"], one["video"]) for one in others if one["event"] == "video_done"]
    assert done[0] == (2, "b.avi")
    _check_folder(state)


def test_files_of_a_finished_run_that_are_gone_or_changed_are_done_again(
    videos: Path, state: Path, settings: MakeSettings, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("a.avi", "b.avi"):
        making.write_video(videos / name, making.moving(5))
    run(settings(), Stop())
    whole = making.detections(state)
    first, second = sorted((state / "videos").iterdir())
    (first / "detections.jsonl").write_bytes(whole[first.name][:-10])
    next((second / "frames").iterdir()).unlink()
    (state / "summary.json").unlink()
    assert run(settings(), Stop()) is Exit.DONE
    out = making.notes(capsys.readouterr().out)
    assert f'"videos/{first.name}/detections.jsonl" has ' in out
    assert f'"videos/{second.name}/frames/' in out
    assert '"summary.json" is missing, doing it again' in out
    assert making.detections(state) == whole
    _check_folder(state)


def test_a_damaged_manifest_is_written_again(videos: Path, state: Path, settings: MakeSettings) -> None:
    making.write_video(videos / "a.avi", making.moving(5))
    run(settings(), Stop())
    (state / "manifest.json").write_text('{"exit_co')
    assert run(settings(), Stop()) is Exit.DONE
    _check_folder(state)


def test_a_damaged_settings_file_is_refused(videos: Path, state: Path, settings: MakeSettings) -> None:
    making.write_video(videos / "a.avi", making.moving(5))
    run(settings(), Stop())
    (state / "settings.json").write_text("")
    error = _refused(settings())
    assert error.exit_code is Exit.USAGE
    assert "settings.json is damaged" in error.message


def test_a_video_that_changed_is_done_again_and_one_that_is_gone_stays(
    videos: Path, state: Path, settings: MakeSettings, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("a.avi", "b.avi", "c.avi"):
        making.write_video(videos / name, making.moving(5))
    run(settings(), Stop())
    (state / "manifest.json").unlink()
    making.write_video(videos / "a.avi", making.moving(8))
    (videos / "c.avi").unlink()
    making.write_video(videos / "d.avi", making.moving(4))
    assert run(settings(), Stop()) is Exit.DONE
    summary = _check_folder(state)
    assert {video["video"]: video["frames"] for video in summary["videos"]} == {
        "a.avi": 8, "b.avi": 5, "c.avi": 5, "d.avi": 4,
    }  # fmt: skip
    out = making.notes(capsys.readouterr().out)
    assert '"a.avi" changed from ' in out
    assert '"c.avi" is done and no longer in the input folder' in out


# --- refused


def test_no_videos_is_an_outcome_of_its_own(videos: Path, state: Path, settings: MakeSettings) -> None:
    (videos / "notes.txt").write_text("nothing to see")
    error = _refused(settings())
    assert error.exit_code is Exit.NO_VIDEOS
    assert str(videos) in error.message
    assert making.tree(state) == ["lock"]


def test_unusable_weights_leave_nothing_behind(
    videos: Path, state: Path, weights: Path, settings: MakeSettings
) -> None:
    making.write_video(videos / "a.avi", making.moving(2))
    weights.write_bytes(b"no model")
    assert _refused(settings()).exit_code is Exit.WEIGHTS
    weights.write_bytes(making.model(height=96, width=96))
    error = _refused(settings())
    assert error.exit_code is Exit.USAGE
    assert "--img 96" in error.message
    assert making.tree(state) == ["lock"]


def test_a_state_folder_that_cannot_be_made_is_named(videos: Path, tmp_path: Path, settings: MakeSettings) -> None:
    making.write_video(videos / "a.avi", making.moving(2))
    (tmp_path / "file").touch()
    error = _refused(settings("--state", str(tmp_path / "file" / "state")))
    assert error.exit_code is Exit.STATE
    assert "Not a directory" in error.message
    assert str(tmp_path / "file" / "state") in error.message
