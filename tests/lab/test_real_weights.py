"""The real YOLOv5s on the two photos whose contents are known, through the detector's whole path.

Needs the weights' and photos' packages (cached after the first time), no lab.
"""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import av
import pytest
from shoal_detect.cli import parse_settings
from shoal_detect.errors import Exit
from shoal_detect.run import run
from shoal_detect.stop import Stop

from shoal import artifacts
from shoal.site import weights

pytestmark = pytest.mark.lab

EXPECTED = {"photo-bus": {"person": 4, "bus": 1}, "photo-zidane": {"person": 2, "tie": 1}}


def _as_video(photo: Path, video: Path) -> None:
    """Put the JPEG as it is into a video of one frame: nothing is encoded anew."""
    with av.open(str(photo), "r") as source, av.open(str(video), "w") as target:
        stream = target.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(video=0):
            if packet.size:
                packet.stream = stream
                target.mux(packet)


@pytest.mark.parametrize("img", [640, 320])
@pytest.mark.parametrize("name", EXPECTED)
def test_the_converted_weights_find_what_is_on_the_photo(tmp_path: Path, name: str, img: int) -> None:
    (tmp_path / "in").mkdir()
    _as_video(artifacts.resolve(name), tmp_path / "in" / "photo.mkv")
    model = weights.yolov5s()
    settings = parse_settings(
        [
            *("--input", str(tmp_path / "in"), "--state", str(tmp_path / "state"), "--run", "photo"),
            *("--weights", str(model.path), "--weights-name", model.name, "--weights-sha256", model.sha256),
            *("--conf", "0.25", "--iou", "0.45", "--img", str(img)),
        ]
    )
    assert run(settings, Stop()) is Exit.DONE
    (lines,) = (tmp_path / "state").glob("videos/*/detections.jsonl")
    found = [json.loads(line) for line in lines.read_text().splitlines()]
    assert Counter(one["class"] for one in found) == EXPECTED[name]
    if name == "photo-bus":
        # The bus fills the upper half of the 810 x 1080 photo.
        (bus,) = (one["box"] for one in found if one["class"] == "bus")
        assert bus == pytest.approx([20, 230, 805, 750], abs=30)
