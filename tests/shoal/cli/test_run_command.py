"""`shoal run` and `shoal results` as typed: exit codes, plain output, JSON."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import typer
from fake_nodes import FakeNodes
from typer.testing import CliRunner, Result

from shoal.cli import job as job_command
from shoal.cli import results as results_command
from shoal.cli import resume as resume_command
from shoal.cli import run as run_command
from shoal.cluster import document as cluster
from shoal.engines.bacalhau import release
from shoal.errors import Exit, ShoalError, UsageError
from shoal.site import weights
from shoal.site.weights import WeightsFile


@pytest.fixture
def nodes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeNodes:
    fakes = FakeNodes.make(tmp_path, monkeypatch)
    document = tmp_path / "cluster.json"
    cluster.save(fakes.cluster, document)
    monkeypatch.setenv("SHOAL_CLUSTER", str(document))
    monkeypatch.setenv("SHOAL_CACHE", str(tmp_path / "cache"))
    order = fakes.order()
    assert order.weights_path
    model = WeightsFile(order.weights_path, "m", order.weights.sha256, "none")
    monkeypatch.setattr(weights, "from_file", lambda path: model)
    return fakes


def shoal(*words: str) -> Result:
    app = typer.Typer()
    app.add_typer(results_command.app, name="results")
    app.add_typer(job_command.app, name="job")
    for verb in (run_command, resume_command):
        app.registered_commands += verb.app.registered_commands
    return CliRunner().invoke(app, list(words))


def test_from_run_to_figures(nodes: FakeNodes) -> None:
    nodes.video("c1", "a.mp4")
    nodes.video("c2", "b.mp4", "exit 9")
    done = shoal("run", "--run", "r1", "--weights", "m.onnx", "--conf", "0.4", "--bring", "all", "--json")
    assert done.exit_code == Exit.INCOMPLETE
    assert "engine: ssh (no Bacalhau for amd64 in the artefact cache)" in done.stderr
    assert "c2: failed: the container failed (exit code 9)" in done.stderr
    assert "finish it with `shoal resume r1`" in done.stderr
    assert json.loads(done.stdout)["nodes"]["c1"]["outcome"] == "finished"
    assert json.loads(shoal("results", "list", "--json").stdout)[0]["state"] == "open"
    unfinished = shoal("results", "fetch", "r1")
    assert isinstance(unfinished.exception, ShoalError)
    assert unfinished.exception.exit_code is Exit.INCOMPLETE
    assert [fault.where for fault in unfinished.exception.faults] == ["c2"]
    again = shoal("resume", "r1", "--weights", "m.onnx")
    assert again.exit_code == Exit.OK, again.stderr
    assert "run r1 is whole" in again.stderr
    assert shoal("results", "verify", "r1").exit_code == Exit.OK
    assert "whole" in shoal("results", "list").stdout
    (nodes.root / "home/r1/c1/videos").rename(nodes.root / "home/r1/c1/moved")
    damaged = shoal("results", "verify", "r1").exception
    assert isinstance(damaged, ShoalError)
    assert damaged.exit_code is Exit.INCOMPLETE


def test_a_damaged_record_is_named_and_hides_no_other(nodes: FakeNodes) -> None:
    nodes.video("c1", "a.mp4")
    nodes.video("c2", "b.mp4")
    assert shoal("run", "--run", "r1", "--weights", "m.onnx").exit_code == Exit.OK
    damaged = nodes.root / "home" / "r2" / "run.json"
    damaged.parent.mkdir()
    damaged.write_text("{")
    listed = shoal("results", "list")
    assert "r1" in listed.stdout
    assert isinstance(listed.exception, ShoalError)
    assert listed.exception.exit_code is Exit.INCOMPLETE
    assert [fault.where for fault in listed.exception.faults] == ["r2"]


@pytest.mark.parametrize(
    "words", [["results", "fetch", "r9"], ["results", "verify", "r9"], ["resume", "r9"], ["run", "--resume", "r9"]]
)
def test_a_mistyped_run_leaves_no_folder(nodes: FakeNodes, words: list[str]) -> None:
    assert isinstance(shoal(*words).exception, UsageError)
    assert not (nodes.root / "home" / "r9").exists()


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--target", "site"], "is not KEY=VALUE"),
        (["--resume", "r1", "--conf", "0.5", "--node", "c1"], "leave out --node, --conf"),
        (["--resume", "r1", "--engine", "auto", "--template", "yolov5"], "leave out --engine, --template"),
        (["--resume", "r1", "--bacalhau-binary", __file__], "leave out --bacalhau-binary"),
        (["--engine", "ssh", "--bacalhau-binary", __file__], "engine ssh (as asked) has no use for it"),
        (["--resume", "r1"], "there is no run 'r1'"),
        (["--cluster", "/no/such.json"], "no cluster document"),
    ],
)
def test_bad_input(nodes: FakeNodes, words: list[str], says: str) -> None:
    done = shoal("run", "--weights", "m.onnx", *words)
    assert isinstance(done.exception, UsageError)
    assert says in str(done.exception)


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--since", "yesterday"], "--since 'yesterday': a day, a time (UTC) or 90m, 12h, 7d is wanted"),
        (["--since", "2h30"], "is wanted"),
        (["--since", "-2h"], "is wanted"),
        (["--since", "2999-01-01"], "is yet to come"),
        (["--since", "0001-01-01T00:00+14:00"], "there is no such time in UTC"),
        (["--cameras", "north"], "no camera called north"),
        (["--cameras", ","], "no camera is named"),
        (["--since", "2h", "--classes", "bycicle"], "there is no class 'bycicle'; did you mean bicycle"),
        (["--classes", "81"], "there is no class '81'"),
    ],
)
def test_a_question_to_the_archive_that_is_none_is_refused_before_a_node_is_asked(
    nodes: FakeNodes, words: list[str], says: str
) -> None:
    for verb in (["run"], ["job", "show"]):
        done = shoal(*verb, "--weights", "m.onnx", *words)
        assert isinstance(done.exception, UsageError)
        assert done.exception.exit_code is Exit.USAGE
        assert says in "\n".join((str(done.exception), *map(str, done.exception.faults)))
    assert not (nodes.root / "ssh.log").exists()


def test_a_question_to_the_archive_is_asked_without_clips_and_with_reuse_unless_given(nodes: FakeNodes) -> None:
    nodes.video("c1", "a.mp4")

    def flags(*words: str) -> dict[str, str]:
        done = shoal("job", "show", "--json", "--weights", "m.onnx", *words)
        assert done.exit_code == Exit.OK, done.stderr
        given = json.loads(done.stdout)["Tasks"][0]["Engine"]["Params"]["Parameters"]
        return dict(zip(given[::2], given[1::2], strict=True))

    plain, asked = flags(), flags("--since", "2h")
    assert not {"--reuse", "--clips", "--since"} & set(plain)
    assert (asked["--reuse"], asked["--clips"]) == ("on", "off")
    given = flags("--since", "2h", "--reuse", "off", "--clips", "on")
    assert (given["--reuse"], given["--clips"]) == ("off", "on")
    assert flags("--clips", "off")["--clips"] == "off"
    assert (
        "over the archive: --reuse on, --clips off, unless given"
        in shoal("run", "--weights", "m.onnx", "--since", "2h", "--run", "r7").stderr
    )


def test_a_template_that_knows_no_archive_says_so_of_what_was_typed(nodes: FakeNodes) -> None:
    nodes.video("c1", "a.mp4")
    done = shoal("run", "--weights", "m.onnx", "--template", "yolov5-upstream", "--since", "2h")
    assert "template yolov5-upstream has no setting since" in str(done.exception)


def test_a_program_for_which_no_engine_is_chosen_is_refused(nodes: FakeNodes, tmp_path: Path) -> None:
    """The cluster's nodes are amd64: with this one the choice would still be ssh."""
    program = tmp_path / "bacalhau"
    program.write_bytes(b"\x7fELF\x02\x01\x01" + b"\0" * 9 + b"\x02\x00\xb7\x00")
    nodes.video("c1", "a.mp4")
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(release, "_version_of", lambda *_: "1.9.3")
        done = shoal("run", "--weights", "m.onnx", "--bacalhau-binary", str(program))
    assert isinstance(done.exception, UsageError)
    assert "engine ssh (no Bacalhau for amd64 in the artefact cache) has no use for it" in str(done.exception)
    assert nodes.containers("c1") == []


def test_the_old_flag_still_resumes_and_names_the_verb(nodes: FakeNodes) -> None:
    nodes.video("c1", "a.mp4")
    nodes.video("c2", "b.mp4", "exit 9")
    assert shoal("run", "--run", "r1", "--weights", "m.onnx").exit_code == Exit.INCOMPLETE
    again = shoal("run", "--resume", "r1", "--weights", "m.onnx", "--memory", "3GB", "--json")
    assert again.exit_code == Exit.OK, again.stderr
    assert "`shoal run --resume` goes away with the next release; type `shoal resume r1`" in again.stderr
    record = json.loads(again.stdout)
    assert record["job"]["Tasks"][0]["Resources"]["Memory"] == "3GB"
    assert "goes away" not in shoal("resume", "r1").stderr


def test_resume_has_no_option_that_would_change_the_run(nodes: FakeNodes) -> None:
    for words in (["--conf", "0.5"], ["--node", "c1"], ["--run", "r2"], ["--engine", "ssh"]):
        assert shoal("resume", "r1", *words).exit_code == Exit.USAGE


NOT_THE_JOBS = {"what", "adopted", "resume", "engine", "bacalhau_binary", "attempts", "fetch", "bring", "run", "json"}
"""Of `shoal run`: what says how a run is carried out, not what its job is."""


def test_a_job_is_shown_with_every_option_that_a_run_has_for_it(nodes: FakeNodes) -> None:
    run, show = typer.main.get_command(run_command.app), typer.main.get_group(job_command.app).commands["show"]
    wanted = {option.name for option in run.params} - NOT_THE_JOBS
    assert wanted <= {option.name for option in show.params}


def test_a_shown_job_is_the_one_that_a_run_would_begin(nodes: FakeNodes) -> None:
    nodes.video("c1", "a.mp4")
    nodes.video("c2", "b.mp4")
    words = ("--weights", "m.onnx", "--key-frames", "0", "--precision", "float32", "--stride", "5", "--memory", "900MB")
    shown = shoal("job", "show", *words, "--json")
    assert shown.exit_code == Exit.OK, shown.stderr
    begun = json.loads(shoal("run", "--run", "r1", *words, "--json").stdout)["job"]

    def arguments(job: dict[str, Any]) -> list[str]:
        given: list[str] = job["Tasks"][0]["Engine"]["Params"]["Parameters"]
        at = given.index("--run")
        return given[:at] + given[at + 2 :]

    assert arguments(json.loads(shown.stdout)) == arguments(begun)
    assert arguments(begun).count("--key-frames") == 1
