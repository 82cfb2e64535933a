from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from shoal.artifacts import kept_path, load_catalogue
from shoal.cli.artifacts import app
from shoal.errors import UsageError
from shoal.site.weights import yolov5s_path

run = CliRunner()


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SHOAL_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("SHOAL_BUNDLE", raising=False)
    return tmp_path / "cache"


def states() -> dict[str, str]:
    document = json.loads(run.invoke(app, ["list", "--json"]).stdout)
    return {one["name"]: one["state"] for one in document["artifacts"]}


def test_list_of_an_empty_cache() -> None:
    catalogue = load_catalogue()
    assert states() == dict.fromkeys([*catalogue.artifact, *catalogue.derived], "missing")
    ended = run.invoke(app, ["list"])
    assert ended.exit_code == 0
    assert "yolov5s-tfjs" in ended.stdout
    assert "26.7 MB" in ended.stdout


def test_list_tells_damage() -> None:
    for path in (kept_path(load_catalogue().get("vtest")), yolov5s_path()):
        path.parent.mkdir(parents=True)
        path.write_bytes(b"rubbish")
    found = states()
    assert found["vtest"] == "damaged"
    assert found["yolov5s.onnx"] == "damaged"
    assert found["photo-bus"] == "missing"


def test_verify_ends_with_3_and_names_the_files() -> None:
    ended = run.invoke(app, ["verify"])
    assert ended.exit_code == 3
    assert "vtest is missing" in ended.stderr
    assert json.loads(run.invoke(app, ["verify", "--json"]).stdout)["ok"] is False


def test_verify_json_has_what_a_script_wants() -> None:
    first = json.loads(run.invoke(app, ["verify", "--json"]).stdout)["artifacts"][0]
    assert first["kind"] == "fetched"
    assert {"name", "state", "size_bytes", "licence", "sha256", "path", "purpose", "origin", "version"} < set(first)


def test_unknown_names_are_refused_before_anything_is_fetched(cache: Path) -> None:
    ended = run.invoke(app, ["fetch", "vtest", "nix", "nada"])
    assert isinstance(ended.exception, UsageError)
    assert "'nix', 'nada'" in str(ended.exception)
    assert not cache.exists()


@pytest.mark.parametrize("arguments", [["fetch"], ["fetch", "--all", "vtest"]])
def test_fetch_wants_names_or_all(arguments: list[str]) -> None:
    assert isinstance(run.invoke(app, arguments).exception, UsageError)
