"""Role `yolov5`: one build per content, push, pull by digest; models; what passes from the requester to the others."""

from __future__ import annotations

import hashlib
import io
import json
import re
import subprocess
import sys
import tarfile
import zipfile

import pytest
from role_harness import CLUSTER, changed, file_answer, run, unit_answer

from roles import yolov5
from roles.common.knobs import RefusedError
from roles.yolov5 import context
from roles.yolov5.defaults import PINNED, Yolov5
from roles.yolov5.images import Target, record_of
from roles.yolov5.quota import contents

DIGEST = "sha256:" + "a" * 64


@pytest.fixture
def knobs(tmp_path):
    folder = tmp_path / "detector"
    (folder / "pkg" / "__pycache__").mkdir(parents=True)
    (folder / "Dockerfile").write_text("ARG BASE\nFROM ${BASE}\n", encoding="utf-8")
    (folder / "pkg" / "a.py").write_text("1\n", encoding="utf-8")
    (folder / "pkg" / "__pycache__" / "a.pyc").write_bytes(b"x")
    return {"yolov5_context": str(folder), "yolov5_weights": []}


@pytest.fixture
def target(knobs):
    return Target.of(Yolov5(yolov5_context=context.Path(knobs["yolov5_context"])), CLUSTER)


OTHER = "sha256:" + "b" * 64


def requester(record="", *, local="", base="", digest="", built="", pushed=""):
    return {
        "docker-content-digest": [
            f"record {record}", f"built {built}", f"pushed {pushed}", f"local {local}", f"base {base}",
            f"digest {digest}",
        ]
    }  # fmt: skip


def record(target):
    return json.dumps(record_of(target, DIGEST), sort_keys=True)


def test_fresh_requester_builds_and_pushes(knobs, target):
    outcome = run(yolov5.install, requester(), node="office", data=knobs)
    text = outcome.text()
    assert not outcome.failed
    assert changed(outcome) == [
        "yolov5 | Get the base of the image",
        "yolov5 | Get the inference image",
        "yolov5 | Push it to the site's registry",
    ]
    assert (
        text.index("debootstrap --variant=minbase")
        < text.index('build -t "$STAGES:unsettled"')
        < text.index('docker push -q "$TAG"')
    )
    assert f"TAG=127.0.0.1:5001/shoal/detector:{target.context[:16]}" in text


def test_converged_requester_is_left_alone(knobs, target):
    outcome = run(yolov5.install, requester(record(target), digest=DIGEST), node="office", data=knobs)
    assert changed(outcome) == []


def test_cut_off_before_the_push_it_does_not_build_again(knobs):
    outcome = run(yolov5.install, requester(local="sha256:1"), node="office", data=knobs)
    assert changed(outcome) == ["yolov5 | Push it to the site's registry"]
    assert "PUBLISHED=''\n" in outcome.text()


def test_cut_off_before_the_record_it_does_not_push_again(knobs):
    """The engine's own word for what it pushed stands for the record."""
    outcome = run(yolov5.install, requester(digest=DIGEST, pushed=DIGEST, local="sha256:1"), node="office", data=knobs)
    assert changed(outcome) == ["yolov5 | Push it to the site's registry"]
    assert f"PUBLISHED={DIGEST}" in outcome.text()


def test_an_image_made_before_is_taken_up_again(knobs):
    """An older checkout, whose image the registry still has: this requester made it, nothing is built."""
    outcome = run(yolov5.install, requester(digest=DIGEST, built=DIGEST), node="office", data=knobs)
    assert changed(outcome) == ["yolov5 | Push it to the site's registry"]
    assert f"PUBLISHED={DIGEST}" in outcome.text()


@pytest.mark.parametrize("own", ["record", "built", "pushed", "none"])
def test_another_image_under_the_tag_is_refused_and_both_are_named(knobs, target, own, capsys, caplog):
    """The tag is foreseeable; whatever the registry has under it, the requester's own record decides."""
    there = {
        "record": requester(record(target), digest=OTHER),
        "built": requester(built=DIGEST, digest=OTHER),
        "pushed": requester(pushed=DIGEST, local="sha256:1", digest=OTHER),
        "none": requester(digest=OTHER),
    }[own]
    outcome = run(yolov5.install, there, node="office", data=knobs)
    assert outcome.failed
    assert "docker push" not in outcome.text()
    said = caplog.text + capsys.readouterr().err
    assert OTHER in said
    assert (DIGEST if own != "none" else "no record") in said


def test_a_foreign_image_is_pushed_over_when_that_is_asked_for(knobs, target):
    data = knobs | {"yolov5_overwrite": True}
    outcome = run(yolov5.install, requester(record(target), local="sha256:1", digest=OTHER), node="office", data=data)
    assert changed(outcome) == ["yolov5 | Push it to the site's registry"]
    assert "PUBLISHED=''\n" in outcome.text()
    again = run(yolov5.install, requester(record(target), local="sha256:1", digest=DIGEST), node="office", data=data)
    assert changed(again) == []


def test_the_base_is_one_for_good():
    """By digest, and the same whether a role builds the image or a person does."""
    (named,) = re.findall(r"(?m)^ARG BASE=(.+)$", (Yolov5().yolov5_context / "Dockerfile").read_text())
    assert named == Yolov5().yolov5_base_image
    assert PINNED.fullmatch(named)


@pytest.mark.parametrize("image", ["ghcr.example/x:latest", "ghcr.example/x", "x@sha256:abc", f"-x@{DIGEST}"])
def test_a_published_image_is_named_by_digest(knobs, image):
    with pytest.raises(RefusedError) as caught:
        run(yolov5.install, {}, data=knobs | {"yolov5_image": image})
    assert "digest" in str(caught.value)


def test_the_registry_keeps_this_image_and_the_one_before(knobs, target):
    older = json.dumps(
        {"context": "x", "digest": DIGEST, "reference": "r", "tag": f"{target.authority}/x:0123456789abcdef"}
    )
    text = run(yolov5.install, requester(older, local="sha256:1"), node="office", data=knobs).text()
    assert "BEFORE=0123456789abcdef" in text
    assert "-X DELETE" in text


def test_archives_of_the_control_machine_come_first(knobs, tmp_path):
    archive = tmp_path / "image.tar"
    archive.write_bytes(b"tar")
    outcome = run(yolov5.install, requester(), node="office", data=knobs | {"yolov5_image_tarball": str(archive)})
    assert "docker load" in outcome.text()
    assert "debootstrap --variant" not in outcome.text()
    based = run(yolov5.install, requester(), node="office", data=knobs | {"yolov5_base_tarball": str(archive)})
    assert "docker import" in based.text()
    assert "debootstrap --variant" not in based.text()


WATCH = ["yolov5 | Place the watch over runs' folders", "yolov5 | Describe the watch to systemd",
         "yolov5 | Watch over runs' folders"]  # fmt: skip


def watched(limit_bytes=Yolov5.yolov5_state_bytes):
    """What a node answers whose runs' folders are watched."""
    files = {f"[ ! -f {path} ]": file_answer(text) for path, text in contents(limit_bytes).items()}
    return {**files, "UNIT=shoal-state-quota.service": unit_answer()}


def test_fresh_compute_node_pulls_what_the_requester_has(knobs, target):
    others = {"office": {"cat /var/lib/shoal/image.json": [record(target)]}}
    outcome = run(yolov5.install, {}, data=knobs, others=others)
    assert changed(outcome) == [*WATCH, "yolov5 | Pull the image by its digest"]
    assert f"REFERENCE=192.0.2.10:5000/shoal/detector@{DIGEST}" in outcome.text()


def test_converged_compute_node_is_left_alone(knobs, target):
    reference = target.reference(DIGEST)
    answers = {"docker image inspect": [f"record {record(target)}", f'digests ["{reference}"]'], **watched()}
    others = {"office": {"cat /var/lib/shoal/image.json": [record(target)]}}
    assert changed(run(yolov5.install, answers, data=knobs, others=others)) == []


def test_compute_node_without_repodigests_pulls_again(knobs, target):
    answers = {"docker image inspect": [f"record {record(target)}", "digests []"], **watched()}
    others = {"office": {"cat /var/lib/shoal/image.json": [record(target)]}}
    assert changed(run(yolov5.install, answers, data=knobs, others=others)) == ["yolov5 | Pull the image by its digest"]


@pytest.mark.parametrize("there", [[], ["{damaged"], ['{"context": "other"}']])
def test_requester_without_an_image_is_told(knobs, there):
    outcome = run(yolov5.install, {}, data=knobs, others={"office": {"cat /var/lib/shoal/image.json": there}})
    assert outcome.failed


def test_weights_are_placed_once(knobs, target, tmp_path):
    model = tmp_path / "w.onnx"
    model.write_bytes(b"model")
    sha256 = hashlib.sha256(b"model").hexdigest()
    data = knobs | {"yolov5_weights": [{"path": str(model), "sha256": sha256, "name": "w"}]}
    others = {"office": {"cat /var/lib/shoal/image.json": [record(target)]}}
    fresh = run(yolov5.install, {}, data=data, others=others)
    assert f"/var/lib/shoal/weights/{sha256}.onnx" in fresh.text()
    there = run(yolov5.install, watched() | {"sha256sum <": [f"{sha256} 644 root"]}, data=data, others=others)
    assert "yolov5 | Place the model" not in changed(there)
    wrong_mode = run(yolov5.install, watched() | {"sha256sum <": [f"{sha256} 600 root"]}, data=data, others=others)
    assert "yolov5 | Place the model" in changed(wrong_mode)


def test_faulty_knobs_are_all_told(tmp_path):
    data = {
        "yolov5_context": str(tmp_path),
        "yolov5_image_source": "tarball",
        "yolov5_base_tarball": str(tmp_path / "none.tar"),
        "yolov5_weights": [{"path": str(tmp_path / "w.onnx"), "sha256": "xyz", "name": "w"}],
    }
    with pytest.raises(RefusedError) as caught:
        run(yolov5.install, {}, data=data)
    assert len(caught.value.faults) == 5


def test_another_limit_restarts_the_watch(knobs, target):
    reference = target.reference(DIGEST)
    answers = {"docker image inspect": [f"record {record(target)}", f'digests ["{reference}"]'], **watched(5_000_000)}
    others = {"office": {"cat /var/lib/shoal/image.json": [record(target)]}}
    outcome = run(yolov5.install, answers, data=knobs, others=others)
    assert changed(outcome)[:1] == ["yolov5 | Describe the watch to systemd"]
    assert (
        " /var/lib/shoal/runs 20000000000 /run/docker.sock"
        in contents(20_000_000_000)["/etc/systemd/system/shoal-state-quota.service"]
    )


def test_remove(knobs):
    answers = {
        "docker images": ["files yes", "engine yes", "images sha256:1 sha256:2"],
        "onnx' -type f -print -quit": ["w.onnx"],
    }
    text = run(yolov5.remove, answers, data=knobs).text()
    assert "docker image rm -f $ids" in text
    assert "rm -rf /var/lib/shoal/image.json" in text
    assert "[.]onnx' -type f -delete" in text


def test_remove_on_a_bare_machine_does_nothing(knobs):
    assert changed(run(yolov5.remove, {}, data=knobs)) == []


def test_context_hash_follows_content_and_not_caches(knobs):
    folder = context.Path(knobs["yolov5_context"])
    before = context.context_hash(folder)
    (folder / "pkg" / "__pycache__" / "b.pyc").write_bytes(b"y")
    assert context.context_hash(folder) == before
    assert context.archive(folder, {}) == context.archive(folder, {})
    (folder / "pkg" / "a.py").write_text("2\n", encoding="utf-8")
    assert context.context_hash(folder) != before


def test_archive_holds_the_context_and_the_settings(knobs):
    packed = context.archive(context.Path(knobs["yolov5_context"]), {"x.whl": b"w"})
    with tarfile.open(fileobj=io.BytesIO(packed)) as tar:
        assert sorted(tar.getnames()) == ["Dockerfile", "build-settings/x.whl", "pkg/a.py"]


def test_pip_runs_from_its_wheel(tmp_path):
    name, content = context.pip_wheel()
    wheel = tmp_path / name
    wheel.write_bytes(content)
    assert zipfile.ZipFile(wheel).testzip() is None
    script = f"import sys; sys.path.insert(0, {str(wheel)!r}); import pip; print(pip.__file__)"
    done = subprocess.run([sys.executable, "-I", "-c", script], capture_output=True, text=True, check=True)
    assert str(wheel) in done.stdout
