"""The node's privacy policy: read where the footage is, kept whatever a run asks for, closed where it is unclear."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import av
import pytest
from shoal_detect.cli import parse_settings
from shoal_detect.errors import DetectorError, Exit
from shoal_detect.privacy import Policy, read_policy
from shoal_detect.run import run
from shoal_detect.state.settings import Settings
from shoal_detect.stop import Stop

from tests.detector import detector_making as making

MakeSettings = Callable[..., Settings]


def place(folder: Path, text: str | None = None, **changes: object) -> Path:
    path = folder / ".shoal" / "privacy.json"
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps({"version": 1, "key_frames": 0, **changes}) if text is None else text)
    return path


def test_without_a_policy_a_run_gets_what_it_asks_for(tmp_path: Path) -> None:
    assert read_policy(str(tmp_path)) == Policy(None)
    assert Policy(None).key_frames_of(7) == 7


def test_the_strictest_policy_on_the_way_up_holds(tmp_path: Path) -> None:
    inner = tmp_path / "a" / "b"
    inner.mkdir(parents=True)
    place(tmp_path, key_frames=1)
    place(tmp_path / "a", key_frames=5)
    assert read_policy(str(inner)) == Policy(1)
    (tmp_path / "link").symlink_to(inner)
    assert read_policy(str(tmp_path / "link")) == Policy(1)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        "[" * 4000,
        "null",
        "{}",
        '{"version": 1}',
        '{"version": 2, "key_frames": 0}',
        '{"version": 1, "key_frames": 0, "masks": true}',
        '{"version": 1, "key_frames": -1}',
        '{"version": 1, "key_frames": true}',
        '{"version": 1, "key_frames": "0"}',
        '{"version": 1, "key_frames": 0.5}',
        '{"version": 1, "key_frames": 0' + " " * 5000 + "}",
    ],
)
def test_a_policy_that_cannot_be_read_lets_nothing_go_on(tmp_path: Path, text: str) -> None:
    place(tmp_path, text)
    with pytest.raises(DetectorError, match=r"privacy policy .* cannot be read .*deploy the site again") as raised:
        read_policy(str(tmp_path))
    assert raised.value.exit_code is Exit.USAGE


def test_a_link_to_nowhere_is_a_policy_that_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / ".shoal").mkdir()
    (tmp_path / ".shoal" / "privacy.json").symlink_to(tmp_path / "nowhere")
    with pytest.raises(DetectorError):
        read_policy(str(tmp_path))


@pytest.mark.parametrize(("asked", "allowed"), [(3, 1), (1, 1), (0, 0)])
def test_a_run_cannot_ask_for_more_than_the_policy(
    tmp_path: Path, asked: int, allowed: int, capsys: pytest.CaptureFixture[str]
) -> None:
    place(tmp_path, key_frames=1)
    words = ["--input", str(tmp_path), "--state", "s", "--run", "r", "--weights", "w", "--weights-name", "n"]
    assert parse_settings([*words, "--key-frames", str(asked)]).key_frames == allowed
    assert ("privacy policy keeps pictures to 1 a video" in capsys.readouterr().out) == (asked > 1)


def test_no_picture_leaves_a_node_that_permits_none(
    videos: Path, state: Path, settings: MakeSettings, capsys: pytest.CaptureFixture[str]
) -> None:
    making.write_video(videos / "cam.avi", [making.picture({(0, 0): making.RED})] * 5)
    place(videos)
    assert run(settings(), Stop()) is Exit.DONE
    summary = json.loads((state / "summary.json").read_text())
    assert summary["totals"]["detections"] > 0
    assert summary["settings"]["key_frames"] == 0
    assert not list(state.rglob("*.jpg"))
    assert "hidden" not in capsys.readouterr().out


CANARY = "canary+52.5206+013.4098"


def test_what_a_recording_says_of_itself_beside_its_pictures_does_not_leave(
    videos: Path, state: Path, settings: MakeSettings, tmp_path: Path
) -> None:
    """Place, title and owner stand in a phone's and a camera's files; pictures and clips are made anew without them."""
    plain, named = tmp_path / "plain.mp4", videos / "cam.mp4"
    pictures = [making.picture({(number // 3 % 4, 1): making.RED}, 128, 64) for number in range(30)]
    making.write_video(plain, pictures, codec="libx264")
    with av.open(str(plain)) as source, av.open(str(named), "w", options={"movflags": "use_metadata_tags"}) as target:
        for name in ("title", "location", "comment", "artist", "com.apple.quicktime.location.ISO6709"):
            target.metadata[name] = CANARY
        stream = target.add_stream_from_template(source.streams.video[0])
        stream.metadata["handler_name"] = CANARY
        for packet in source.demux(video=0):
            if packet.dts is not None:
                packet.stream = stream
                target.mux(packet)
    assert named.read_bytes().count(CANARY.encode()) > 3
    assert run(settings("--img", "128"), Stop()) is Exit.DONE
    left = [path for path in state.rglob("*") if path.is_file()]
    assert {".jpg", ".mp4", ".json", ".jsonl"} <= {path.suffix for path in left}
    assert [path.name for path in left if CANARY.encode() in path.read_bytes()] == []
