"""The demo's two ends: what it refuses before it touches anything, and that nothing of it is left behind."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path

import pytest

from shoal import paths
from shoal.cluster import overlay
from shoal.demo import down as demo_down
from shoal.demo import launcher
from shoal.demo import up as demo
from shoal.engines.bacalhau import release, secrets
from shoal.errors import UsageError
from shoal.lab.down import Down
from shoal.paths import cache_dir, cluster_document, state_dir
from shoal.site import document as site


@pytest.fixture(autouse=True)
def _folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("STATE", "CACHE", "RUNS"):
        monkeypatch.setenv(f"SHOAL_{name}", str(tmp_path / name.lower()))
    monkeypatch.delenv("SHOAL_SITE", raising=False)


def quiet(_: str) -> None:
    pass


def refused(options: demo.Options) -> str:
    with pytest.raises(UsageError) as caught:
        demo.run(options, quiet, lambda: nullcontext(lambda event: None), demo.Timings(quiet))
    return str(caught.value)


def test_what_is_the_users_own_is_refused_before_any_machine_is_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def too_late(*_: object, **__: object) -> None:
        raise AssertionError("an engine was asked for")

    monkeypatch.setattr("shoal.lab.engine.find_or_bring", too_late)
    (tmp_path / "empty").mkdir()
    (tmp_path / "model.onnx").write_bytes(b"no model")
    assert "there is no video" in refused(demo.Options(videos=tmp_path / "empty"))
    assert "not a whole ONNX model" in refused(demo.Options(weights=tmp_path / "model.onnx"))
    assert "is not a Linux program" in refused(demo.Options(bacalhau_binary=tmp_path / "model.onnx"))
    given = demo.Options(engine="ssh", bacalhau_binary=tmp_path / "model.onnx")
    assert "engine ssh (as asked) has no use for it" in refused(given)
    assert "must be 1 to 50" in refused(demo.Options(compute=99))
    assert "'gcp' is the name of a stack's" in refused(demo.Options(lab="gcp"))


def everything_of(lab: str) -> list[Path]:
    """Every file that a cluster of this name gets in the state folder, by the modules that make them."""
    return [
        cluster_document(lab),
        site.document_path(lab),
        paths.ssh_config_path(lab),
        secrets.path(lab),
        secrets.path(lab).with_name(f".{lab}.lock"),
        overlay.path(lab),
        state_dir() / "deploys" / f"{lab}.lock",
    ]


def made(paths: list[Path]) -> list[Path]:
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("{")
    return paths


@pytest.fixture
def _no_lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(demo_down, "down", lambda *_, **__: Down(existed=True, proofs=()))
    monkeypatch.setattr(launcher, "repository", lambda: tmp_path / "checkout")


@pytest.mark.usefixtures("_no_lab")
def test_nothing_named_after_the_lab_stays_tokens_least_of_all() -> None:
    made(everything_of("lab"))
    releases = made([release._record_path()])[0]
    assert releases.name == demo_down.RELEASES
    made([cache_dir() / "downloads" / "x"])
    result = demo_down.take_down("lab", keep_cache=False, say=quiet)
    assert result.clean
    assert not state_dir().exists()
    assert not cache_dir().exists()


@pytest.mark.usefixtures("_no_lab")
def test_what_other_clusters_have_stays_and_is_told() -> None:
    others = made([*everything_of("plant"), *everything_of("lab-2")])
    made(everything_of("lab"))
    result = demo_down.take_down("lab", keep_cache=True, say=quiet)
    assert result.clean
    assert all(path.exists() for path in others)
    assert not any(path.exists() for path in everything_of("lab"))
    assert any(f"{len(others)} files of other clusters" in line for line in result.kept)


@pytest.mark.usefixtures("_no_lab")
def test_what_the_launcher_installed_goes_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    note = tmp_path / "checkout" / ".tools" / "packages"
    note.parent.mkdir(parents=True)
    note.write_text("python3-wheel\npython3-pip\npython3-pip\n")
    asked: list[tuple[str, ...]] = []
    monkeypatch.setattr("shoal.lab.engine_setup.remove_packages", lambda _, packages: asked.append(packages))
    monkeypatch.setattr("shoal.lab.engine_setup.still_installed", lambda packages: ["python3-wheel"])
    result = demo_down.take_down("lab", keep_cache=False, say=quiet)
    assert asked == [("python3-pip", "python3-wheel")]
    assert not note.exists()
    assert [proof.left for proof in result.proofs if proof.what == "the launcher's packages"] == [("python3-wheel",)]
    assert any(str(note.parent) in line for line in result.kept)
