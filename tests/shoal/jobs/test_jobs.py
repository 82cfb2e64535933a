"""Job files: what a template makes, what the model refuses, and that no value can break out of its place."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from job_example import IMAGE, changed, values

from shoal import jobs
from shoal.cluster.document import Node
from shoal.errors import UsageError
from shoal.jobs.spec import Constraint, parse, parse_bytes, parse_cpu


def test_the_job_is_in_the_engines_own_format() -> None:
    job = jobs.render("yolov5", values(knobs={"conf": 0.4}, constraints=[jobs.label_is("site", "harbour")]))
    document = job.to_document()
    task = document["Tasks"][0]
    assert document["Type"] == "ops"
    assert document["Name"] == "shoal-r1-a1"
    assert document["Constraints"] == [{"Key": "site", "Operator": "=", "Values": ["harbour"]}]
    assert task["Engine"]["Type"] == "docker"
    assert task["Engine"]["Params"]["Image"] == IMAGE
    assert task["Engine"]["Params"]["Parameters"][-2:] == ["--conf", "0.4"]
    assert task["Network"] == {"Type": "None"}
    assert task["Resources"] == {"CPU": "1.6", "Memory": "2GB"}
    assert task["Timeouts"] == {"TotalTimeout": 60, "ExecutionTimeout": 60}
    sources = {entry["Target"]: entry["Source"] for entry in task["InputSources"]}
    assert sources["/videos"]["Params"] == {"SourcePath": "/videos", "ReadWrite": False, "CreateAs": "noCreate"}
    assert sources["/weights"]["Params"]["ReadWrite"] is False
    state = {"SourcePath": "/var/lib/shoal/runs/r1", "ReadWrite": True, "CreateAs": "dir"}
    assert sources["/state"] == {"Type": "local", "Params": state}
    assert parse(json.loads(json.dumps(document)), source="itself") == job


@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=60))
def test_no_value_breaks_out_of_its_place(text: str) -> None:
    job = jobs.render("yolov5", values(weights_name=text, knobs={"classes": text}))
    parameters = job.task.engine.params.parameters
    assert parameters[parameters.index("--weights-name") + 1] == text
    assert parameters[-2:] == ("--classes", text)


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_quoted_is_json_and_yaml_and_ascii(text: str) -> None:
    once = jobs.quoted({"k": [text]})
    assert once.isascii()
    assert "\n" not in once
    assert yaml.safe_load(once) == {"k": [text]}


def test_another_attempt_is_the_same_work_for_fewer_nodes() -> None:
    first = jobs.render("yolov5", values(constraints=[jobs.label_is("site", "x"), jobs.only_nodes(["a", "b"])]))
    again = first.again(name=jobs.job_name("r1", 2), nodes=["b"], labels=jobs.labels("r1", 2))
    assert again.name == "shoal-r1-a2"
    assert again.tasks == first.tasks
    assert [constraint.key for constraint in again.constraints] == ["site", "name"]
    assert again.constraints[-1].values == ("b",)
    assert again.labels == {"shoal-run": "r1", "shoal-attempt": "2"}


@pytest.mark.parametrize(
    ("path", "value", "where"),
    [
        ("Count", 2, "Count"),
        ("Type", "batch", "Type"),
        ("Name", "Shoal Run", "Name"),
        ("Tasks", [], "Tasks"),
        ("Tasks/0/Network/Type", "Host", "Tasks[0].Network.Type"),
        ("Tasks/0/Resources/CPU", "lots", "Tasks[0].Resources.CPU"),
        ("Tasks/0/Resources/Memory", "0GB", "Tasks[0].Resources.Memory"),
        ("Tasks/0/Resources/Memroy", "2GB", "Tasks[0].Resources.Memroy"),
        ("Tasks/0/Timeouts/TotalTimeout", 0, "Tasks[0].Timeouts.TotalTimeout"),
        ("Tasks/0/Engine/Params/Image", "--privileged", "Tasks[0].Engine.Params.Image"),
        (
            "Tasks/0/Engine/Params/EnvironmentVariables",
            ["BACALHAU_X=1"],
            "Tasks[0].Engine.Params.EnvironmentVariables[0]",
        ),
        ("Tasks/0/InputSources/0/Source/Type", "s3", "Tasks[0].InputSources[0].Source.Type"),
        ("Tasks/0/InputSources/0/Target", "relative", "Tasks[0].InputSources[0].Target"),
    ],
)
def test_what_shoal_cannot_run_is_refused_by_its_path(path: str, value: Any, where: str) -> None:
    with pytest.raises(UsageError) as raised:
        parse(changed(path, value), source="job.yaml")
    assert [fault.where for fault in raised.value.faults] == [where]


def test_a_template_of_ones_own(tmp_path: Path) -> None:
    own = tmp_path / "own.yaml.j2"
    text = (Path(jobs.__file__).parent / "yolov5.yaml.j2").read_text()
    own.write_text(text.replace("- --input", '- --key-frames\n          - "9"\n          - --input'))
    assert jobs.render(str(own), values()).task.engine.params.parameters[:2] == ("--key-frames", "9")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Name: {{ nmae | tojson }}", "cannot be filled in: 'nmae' is undefined"),
        ("Name: {{ name", "wrong in line 1"),
        ("Name: [", "does not make YAML"),
        ("just text", "is not a job that shoal can run"),
        ("", "is not a job that shoal can run"),
    ],
)
def test_a_wrong_template_says_what_is_wrong(tmp_path: Path, text: str, words: str) -> None:
    own = tmp_path / "own.yaml.j2"
    own.write_text(text)
    with pytest.raises(UsageError, match=words):
        jobs.render(str(own), values())


@pytest.mark.parametrize(("text", "cpus"), [("2", 2.0), ("0.5", 0.5), ("500m", 0.5)])
def test_cpus(text: str, cpus: float) -> None:
    assert parse_cpu(text) == cpus


@pytest.mark.parametrize("text", ["", "0", "-1", "two", "1e3", "500M"])
def test_wrong_cpus(text: str) -> None:
    with pytest.raises(ValueError, match="number of CPUs"):
        parse_cpu(text)


@pytest.mark.parametrize(
    ("text", "size_bytes"),
    [
        ("2GB", 2 * 10**9),
        ("2GiB", 2 * 2**30),
        ("512Mb", 512 * 10**6),
        ("1.5gb", 1_500_000_000),
        ("1000", 1000),
        ("2g", 2 * 10**9),
    ],
)
def test_bytes(text: str, size_bytes: int) -> None:
    assert parse_bytes(text) == size_bytes


@pytest.mark.parametrize(
    ("operator", "wanted", "yes"),
    [
        ("in", ["a", "b"], {"a", "b"}),
        ("=", ["a"], {"a"}),
        ("notin", ["a"], {"b", None}),
        ("!=", ["a"], {"b", None}),
        ("exists", [], {"a", "b"}),
        ("!", [], {None}),
        ("gt", ["1"], set()),
    ],
)
def test_constraints(operator: str, wanted: list[str], yes: set[str | None]) -> None:
    constraint = Constraint.model_validate({"Key": "k", "Operator": operator, "Values": wanted})
    assert {value for value in ("a", "b", None) if constraint.holds({"k": value} if value else {})} == yes


def test_figures_are_compared_as_figures() -> None:
    more = Constraint.model_validate({"Key": "ram", "Operator": "gt", "Values": ["9"]})
    assert more.holds({"ram": "10"})
    assert not more.holds({"ram": "8"})


def test_a_job_matches_compute_nodes_by_name_arch_and_label() -> None:
    node = Node(name="c1", roles=("compute",), address="x", arch="arm64", labels={"site": "y"})
    job = jobs.render("yolov5", values(constraints=[jobs.only_nodes(["c1"]), jobs.label_is("os_arch", "arm64")]))
    assert job.matches(node)
    assert not job.matches(node.model_copy(update={"roles": ("requester",)}))
    assert not job.matches(node.model_copy(update={"name": "c2"}))
