"""Documents of strangers: bounds that hold, and every reader of such a document fuzzed with what nobody meant."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from pydantic import BaseModel
from pyinfra.api.exceptions import FactProcessError

from roles.tailscale.facts import TailscaleStatus
from roles.videos.facts import VideosState
from roles.yolov5.facts import BuildRecord
from shoal import node_limits, report, untrusted
from shoal.engines import killed, orphans
from shoal.engines.bacalhau.client import EngineError, refusal
from shoal.engines.bacalhau.models import JobList, JobView, LogFrame, NodeList, Submitted, VersionInfo
from shoal.engines.container import read_inspect
from shoal.engines.protocol import Execution, State
from shoal.engines.ssh import _listed
from shoal.errors import ShoalError, UsageError
from shoal.fleet import drain as draining
from shoal.fleet import remains
from shoal.lifecycle import overrides
from shoal.mesh.membership import _read as membership
from shoal.results import documents
from shoal.results import record as runs
from shoal.results.damaged import DamagedResultsError
from shoal.results.documents import Detection, Manifest, RunSummary, VideoSummary
from shoal.results.fetch import parse_manifest, verify_node
from shoal.results.record import Image, NodeRecord, Outcome, RunRecord, Weights
from shoal.run import detector_lines
from shoal.run.detector_lines import Progress
from shoal.run.preflight import _read as node_facts
from shoal.terminal import printable
from shoal.untrusted import Bounds, DamagedDocumentError, json_value

DEEP = "[" * 200_000
SMALL = Bounds(size_bytes=10_000, depth=4, marks=100, key_chars=10, text_chars=20, digits=5)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (DEEP[:9_000], "more than 100 values"),
        ("[" * 90, "line 1"),
        ("[" * 90 + "]" * 90, "nested more than 4 deep"),
        ("[[[[[1]]]]]", "nested more than 4 deep"),
        ('{"a": {"a": {"a": {"a": {"a": 1}}}}}', "nested more than 4 deep"),
        ("123456", "more than 5 digits"),
        ("-123456", "more than 5 digits"),
        ("1" * 6000, "more than 5 digits"),
        ("1e5", "too large"),
        ("1e999", "too large"),
        ("1." + "0" * 100, "more than 64 characters"),
        ("5e-324", "too small"),
        ("NaN", "is not a figure"),
        ("-Infinity", "is not a figure"),
        ('{"a": 1, "b": 2, "a": 3}', "'a' comes twice"),
        (json.dumps("x" * 21), "more than 20 characters"),
        (json.dumps({"k" * 11: 1}), "more than 10 characters"),
        (json.dumps(["\ud800"]), "halves of characters"),
        (json.dumps({"\udfff": 1}), "halves of characters"),
        ("\ud800", "halves of characters"),
        (" " * 10_001, "larger than 10000 bytes"),
        ("", "not JSON"),
        ("{", "not JSON"),
        ('"\x00"', "not JSON"),
    ],
)
def test_what_is_beyond_the_bounds_is_refused_in_words(text: str, words: str) -> None:
    with pytest.raises(DamagedDocumentError, match=words) as raised:
        json_value(text, source="c1:x.json", bounds=SMALL)
    assert raised.value.message.startswith("c1:x.json cannot be read: ")


def test_bytes_that_are_no_text_are_refused() -> None:
    with pytest.raises(DamagedDocumentError, match=r"not UTF-8 \(byte 1\)"):
        json_value(b'"\xff"', source="x")


@given(
    st.recursive(
        st.none()
        | st.booleans()
        | st.integers(-99_999, 99_999)
        | st.text(max_size=5, alphabet=st.characters(codec="utf-8")),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("abc", max_size=3), inner, max_size=3),
        max_leaves=10,
    )
)
def test_what_is_within_the_bounds_is_read_as_it_is(value: Any) -> None:
    assert json_value(json.dumps(value), source="x", bounds=Bounds(digits=5)) == value


def test_hostile_documents_take_no_time_and_faults_are_few() -> None:
    class Row(BaseModel):
        number: int

    class Rows(BaseModel):
        rows: list[Row]

    wide = json.dumps({"rows": [{"number": "x"}] * 60_000})
    begun = time.process_time()
    with pytest.raises(DamagedDocumentError) as raised:
        untrusted.document(wide, Rows, source="x")
    assert len(raised.value.faults) == untrusted.FAULTS_SHOWN + 1
    assert "59980 more faults" in str(raised.value)
    for text in (DEEP, '"' + '\\"' * 1_000_000, "[" + "[]," * 60_000, "{" * 199_999):
        with pytest.raises(DamagedDocumentError):
            json_value(text, source="x")
    assert time.process_time() - begun < 10


def test_a_file_that_is_no_plain_file_or_too_large_is_not_read(tmp_path: Path) -> None:
    with (tmp_path / "large").open("wb") as stream:
        stream.truncate(1 << 40)
    with pytest.raises(DamagedDocumentError, match="larger"):
        untrusted.read_bytes(tmp_path / "large")
    with pytest.raises(DamagedDocumentError, match="not a plain file"):
        untrusted.read_bytes(Path("/dev/zero"))
    with pytest.raises(FileNotFoundError):
        untrusted.read_bytes(tmp_path / "none")


# --- every reader, fuzzed ---------------------------------------------------------------------------------------------

SHA = "0" * 64
HOSTILE_NAME = "\x1b[2J\u202e\x9b" * 500
MANIFEST = {
    "schema_version": 1,
    "run": "r1",
    "finished_at": "2026-11-25T09:00:00+00:00",
    "exit_code": 0,
    "files": [{"path": "summary.json", "size_bytes": 2, "sha256": SHA}],
}
VIDEO = {
    "schema_version": 1, "video": "a.mp4", "video_id": "a", "size_bytes": 9, "width": 8, "height": 8, "fps": 25.0,
    "frames": 4, "frames_inferred": 4, "duration_s": 0.2, "decode_and_infer_s": 0.5, "frames_per_s": 8.0,
    "detections": 1, "counts": {"car": 1}, "frames_with": {"car": 1}, "fault": {"kind": "truncated", "message": "cut"},
    "decode_errors": 1, "timeline": [{"time_s": 0, "counts": {"car": 1}}],
    "key_frames": [{"file": "frames/0.jpg", "frame": 0, "time_s": 0.0, "detections": 1, "width": 8, "height": 8}],
}  # fmt: skip
SUMMARY = {
    "schema_version": 1, "run": "r1", "started_at": "x", "finished_at": "y", "detector_version": "1",
    "weights": {"name": "m", "sha256": SHA}, "settings": {"conf": 0.3, "classes": ["car"]}, "runtime": {"threads": 2},
    "videos": [VIDEO], "exit_code": 0,
    "totals": {"videos": 1, "faulty": 0, "frames": 4, "frames_inferred": 4, "detections": 1, "counts": {"car": 1}},
}  # fmt: skip
DETECTION = {
    "video": "a",
    "frame": 1,
    "time_s": 0.1,
    "class": "car",
    "class_id": 2,
    "confidence": 0.5,
    "box": [1, 2, 3, 4],
}
INSPECT = {"Status": "exited", "ExitCode": 0, "OOMKilled": False, "Error": ""}
TAILNET = {
    "BackendState": "Running",
    "Self": {"Online": True, "DNSName": "a.b.", "TailscaleIPs": ["100.1.1.1"]},
    "Health": ["x"],
}
PREFS = {"ControlURL": "x", "Hostname": "a", "NetfilterMode": 2}
FOLDER = {"exists": True, "files": {"a": [1, 2]}, "marker": None, "hashes": {"a": SHA}, "free_bytes": 5}
JOBS = {"Items": [{"ID": "j", "Name": "n", "State": {"StateType": "Running"}, "CreateTime": 1_764_000_000_000_000_000}]}
NODES = {"Nodes": [{"Info": {"NodeID": "a", "NodeType": "Compute"}, "Membership": "APPROVED"}]}
REFUSAL = {"status": 500, "message": "no", "code": "x", "component": "JobStore", "details": {"reason": "y"}}
LOG = {"value": {"type": 1, "line": "text"}}
RECORD = RunRecord(
    run="r1",
    created_at="2026-11-25T09:00:00Z",  # type: ignore[arg-type]
    cluster="c",
    substrate="onprem",
    engine="ssh",
    image=Image(reference="x"),
    weights=Weights(name="m", sha256=SHA),
    nodes={"c1": NodeRecord(outcome=Outcome.FINISHED)},
).model_dump(mode="json")

HOSTILE = st.sampled_from(
    [
        None, True, -1, 0, 10**14, 10**400, 1e308, -1e-320, float("nan"), float("inf"), "", "\ud800",
        "\x1b]52;c;eA==\x07",
        "x" * 20_000, "../../etc/passwd", [], {}, [[]], {"": None}, "1", "NaN", [0] * 50, {"car": -1}, {"\udc80": 1},
    ]
)  # fmt: skip


@st.composite
def mutated(draw: st.DrawFn, document: Any) -> str:
    """A document with some of its parts replaced, dropped, doubled or nested, or its text cut or stirred."""
    value = json.loads(json.dumps(document))
    for _ in range(draw(st.integers(1, 3))):
        value = _changed(draw, value)
    text = json.dumps(value)
    match draw(st.integers(0, 7)):
        case 0:
            text = text[: draw(st.integers(0, len(text)))]
        case 1:
            at = draw(st.integers(0, len(text)))
            text = text[:at] + draw(st.text(max_size=5)) + text[at:]
        case 2:
            text = text.replace(":", ":" + "[" * draw(st.sampled_from([40, 900, 5000])), 1)
        case 3:
            text = text.replace("{", '{"schema_version": 1, ', 1)
        case _:
            pass
    return text


def _changed(draw: st.DrawFn, value: Any) -> Any:
    if isinstance(value, dict) and value and draw(st.integers(0, 4)):
        key = draw(st.sampled_from(sorted(value)))
        if draw(st.integers(0, 5)) == 0:
            return {name: entry for name, entry in value.items() if name != key}
        return {**value, key: _changed(draw, value[key])}
    if isinstance(value, list) and value and draw(st.integers(0, 4)):
        at = draw(st.integers(0, len(value) - 1))
        return [*value[:at], _changed(draw, value[at]), *value[at:]]
    return draw(HOSTILE)


def tailscale(text: str) -> object:
    return TailscaleStatus().process([*text.split("\n"), "---prefs", *text.split("\n")])


def refused(text: str) -> object:
    raise refusal(500, text.encode(errors="surrogatepass"), "GET /x")


def of(kind: type[BaseModel], bounds: Bounds = untrusted.ANSWER) -> Callable[[str], object]:
    return lambda text: untrusted.document(text, kind, source="x", bounds=bounds)


READERS: dict[str, tuple[Any, Callable[[str], object]]] = {
    "manifest": (MANIFEST, lambda text: parse_manifest(text.encode(errors="surrogatepass"), source="x")),
    "manifest as such": (MANIFEST, of(Manifest)),
    "summary": (SUMMARY, of(RunSummary, documents.BOUNDS)),
    "video summary": (VIDEO, of(VideoSummary, documents.BOUNDS)),
    "detection": (DETECTION, of(Detection)),
    "docker inspect": (INSPECT, read_inspect),
    "tailnet at home": (TAILNET, membership),
    "tailnet on a node": (TAILNET, tailscale),
    "tailnet settings": (PREFS, tailscale),
    "videos on a node": (FOLDER, lambda text: VideosState().process([text])),
    "image record": ({"image": "x"}, lambda text: BuildRecord().process([text])),
    "jobs": (JOBS, of(JobList)),
    "job": ({"Job": JOBS["Items"][0], "Executions": {"Items": []}}, of(JobView)),
    "nodes": (NODES, of(NodeList)),
    "submitted": ({"JobID": "x"}, of(Submitted)),
    "version": ({"GitVersion": "v1"}, of(VersionInfo)),
    "log line": (LOG, of(LogFrame)),
    "refusal": (REFUSAL, refused),
}
EXPECTED = (DamagedDocumentError, DamagedResultsError, EngineError, FactProcessError)


@pytest.mark.parametrize("name", READERS)
def test_every_reader_reads_or_says_what_is_wrong(name: str) -> None:
    document, reader = READERS[name]

    @given(mutated(document))
    @settings(max_examples=150, suppress_health_check=list(HealthCheck))
    @example(DEEP)
    @example("null")
    @example("[]")
    @example(json.dumps(document))
    def fuzz(text: str) -> None:
        try:
            reader(text)
        except EXPECTED as error:
            assert len(str(error)) < 20_000

    fuzz()


@given(st.text() | st.from_regex(r"(docker|machine|image|videos|weights|free)( [0-9.e+\-]{0,400}){0,3}"))
@example("docker 1e999 5\nfree 1")
@example("docker nan 1")
@example("docker 4 " + "9" * 5000)
@example("videos x\nfree -1")
@example("image " + DEEP)
def test_a_nodes_answer_before_a_run_is_read_or_refused(text: str) -> None:
    try:
        facts = node_facts(text)
    except DamagedDocumentError:
        return
    assert 0 <= facts.cpus < 10**15
    assert facts.free_bytes >= 0


@given(st.text(max_size=40))
@example("1 2")
@example("1 2 x")
@example("9" * 5000 + " 1 1")
def test_the_list_of_containers_is_read_or_refused(line: str) -> None:
    try:
        _listed(line)
    except DamagedDocumentError:
        return


def overrides_of(text: str) -> object:
    return list(overrides.read("c1", text))


LINE_READERS: dict[str, Callable[[str], object]] = {
    "ages of containers": orphans.ages,
    "signs of a killed container": lambda text: killed.judged(Execution("c1", "e", State.ENDED, 137), text),
    "limits of control groups": lambda text: node_limits.read(text.splitlines()),
    "kept images": lambda text: list(draining.kept_images(text.splitlines())),
    "Docker's fault": lambda text: draining.docker_fault(text.splitlines()),
    "drop-ins": overrides_of,
    "remains": remains._read,
}
"""Of answers that are lines: what is none is passed over."""
NINES = "9" * 5000


@pytest.mark.parametrize("name", LINE_READERS)
@given(st.text() | st.from_regex(r"((needs|limit-cpus|override|event|kernel|[0-9]+)[ \t][^\n]{0,40}\n){1,3}"))
@example(NINES)
@example(f"needs r1 {NINES}")
@example(f"limit-cpus {NINES}\nlimit-memory ²")
@example(f"{NINES}\t/etc")
@example("² ² ²")
@example("override a /b " + "x" * 1000)
@example("docker-fault")
@settings(suppress_health_check=list(HealthCheck))
def test_lines_of_a_node_are_read_or_passed_over(name: str, text: str) -> None:
    LINE_READERS[name](text)


EVENT = {
    "shoal_detect": 1, "event": "frames", "number": 1, "videos": 2, "video": "a.mp4", "size_bytes": 9, "frame": 3,
    "frames": 4, "frames_per_s": 2.5, "detections": 1,
}  # fmt: skip


@given(st.text() | mutated(EVENT))
@example(json.dumps(EVENT))
@example(json.dumps({**EVENT, "frame": 10**400}))
@example(json.dumps({**EVENT, "video": HOSTILE_NAME * 9}))
@example('{"shoal_detect"' + DEEP)
@example("\x1b]52;c;ZXZpbA==\x07" * 10_000)
def test_lines_of_a_container_never_end_the_display(line: str) -> None:
    seen = detector_lines.read(line)
    assert len(seen.text) <= detector_lines.MAX_TEXT
    assert printable(seen.text) == seen.text
    Progress().after(seen)


class TestTheReport:
    @pytest.mark.parametrize("where", ["manifest.json", "summary.json", "videos/a/summary.json", "../run.json"])
    def test_it_is_made_of_whatever_a_node_sent(
        self, where: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("SHOAL_RUNS", str(tmp_path))
        node = runs.run_dir("r1") / "c1"
        (node / "videos/a").mkdir(parents=True)
        there = {
            "manifest.json": MANIFEST,
            "summary.json": SUMMARY,
            "videos/a/summary.json": VIDEO,
            "../run.json": RECORD,
        }
        for name, document in there.items():
            (node / name).write_text(json.dumps(document))

        @given(mutated(there[where]))
        @settings(max_examples=60, suppress_health_check=list(HealthCheck))
        @example(
            json.dumps({**SUMMARY, "settings": json.loads('{"a":' * 900 + "1" + "}" * 900)}) if "sum" in where else DEEP
        )
        @example(DEEP)
        def fuzz(text: str) -> None:
            (node / where).write_bytes(text.encode(errors="surrogatepass"))
            verify_node(node)
            assert runs.list_runs() == ["r1"]
            try:
                view = report.read_run("r1")
            except UsageError:
                assert where == "../run.json"
                return
            report.write_page(view, None)
            json.dumps(view.model_dump(mode="json"), allow_nan=False)

        fuzz()


def test_the_errors_are_shoals_own() -> None:
    assert issubclass(DamagedDocumentError, ShoalError)
    assert not DamagedDocumentError("x").transient
