"""Events of the watch in `shoal events`: in one list with the outbox's, followed, and as a page."""

from __future__ import annotations

import json
import math
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from depot import depot
from typer.testing import CliRunner

from shoal.cli import events as verb
from shoal.cluster import document as clusters
from shoal.errors import ShoalError
from shoal.outbox.documents import OutboxEvent, events_of
from shoal.outbox.events import ListedEvent
from shoal.report.events_page import Row, render
from shoal.results.events import Event, read_events
from shoal.ssh.client import Completed
from shoal.untrusted import DamagedDocumentError
from shoal.waiting import Look
from shoal.watch import events as watched

JPEG = b"\xff\xd8\xff picture \xff\xd9"


def document(number: int, camera: str = "north", **more: Any) -> dict[str, Any]:
    return {
        "version": 1, "id": f"{number:032x}", "camera": camera, "videos": ["a.mp4"],
        "start_utc": f"2026-11-30T08:0{number}:00.000Z", "end_utc": f"2026-11-30T08:0{number}:09.500Z",
        "start_s": 60.0 * number, "end_s": 60.0 * number + 9.5, "severity": "alert", "rule": "people",
        "reason": "1 person", "privacy": "people", "key_frame": None, "clip": None,
        "objects": [
            {
                "track": 1, "class": "person", "confidence": 0.9, "severity": "alert", "rule": "people",
                "start_s": 1.0, "end_s": 2.0, "box": [0, 0, 1, 1], "path": [[1.0, 0.5, 0.5]],
            }
        ],
        **more,
    }  # fmt: skip


def event(number: int, camera: str = "north", **more: Any) -> ListedEvent:
    raw = document(number, camera, **more)
    return watched.listed(depot().compute[0].name, [Event.model_validate(raw)])[0]


def shipped(number: int) -> OutboxEvent:
    part = {"kind": "event", "key": "alerts/k.json", "state": "shipped", "size_bytes": 1, "sha256": "0" * 64}
    return OutboxEvent.model_validate(
        {
            "event": f"{number:032x}", "run": f"watch-{number:032x}", "camera": "north", "severity": "alert",
            "start_utc": f"2026-11-30T08:0{number}:00.000Z", "start_s": 1.0, "end_s": 2.0, "privacy": "people",
            "no_clip": "none was made", "parts": [{**part, "shipped_at": None, "trouble": None}],
        }
    )  # fmt: skip


@pytest.fixture
def nodes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What the depot's nodes answer; a test changes it."""
    monkeypatch.setenv("SHOAL_STATE", str(tmp_path / "state"))
    monkeypatch.setenv("SHOAL_RUNS", str(tmp_path / "runs"))
    path = tmp_path / "depot.json"
    clusters.save(depot(), path)
    monkeypatch.setenv("SHOAL_CLUSTER", str(path))
    names = [node.name for node in depot().compute]
    answers: dict[str, Any] = {"watch": dict.fromkeys(names, ()), "outbox": dict.fromkeys(names, ())}
    monkeypatch.setattr(verb.watched, "events", lambda *_: answers["watch"])
    monkeypatch.setattr(verb.outboxes, "events", lambda *_: answers["outbox"])
    monkeypatch.setattr(verb.watched, "picture", lambda *_: JPEG)
    return answers


def asked(*words: str) -> Any:
    return CliRunner().invoke(verb.app, list(words))


def test_an_event_on_its_node_and_in_the_store_is_one_line(nodes: dict[str, Any]) -> None:
    name = depot().compute[0].name
    nodes["watch"][name] = (event(1), event(2))
    nodes["outbox"][name] = (shipped(1),)
    done = asked("--json")
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    assert [(one["event"][-1], one["stored"], one["camera"]) for one in found] == [
        ("2", "", "north"),
        ("1", "shipped", "north"),
    ]
    assert json.loads(asked("--json", "--camera", "gate").stdout) == []
    assert len(json.loads(asked("--json", "--since", "2026-11-30T08:02").stdout)) == 1


def test_a_node_that_does_not_answer_is_named_and_the_others_are_listed(nodes: dict[str, Any]) -> None:
    first, *others = [node.name for node in depot().compute]
    nodes["watch"][first] = nodes["outbox"][first] = ShoalError("it is away")
    nodes["watch"][others[0]] = (event(1),)
    done = asked("--json")
    assert done.exit_code == 3
    assert len(json.loads(done.stdout)) == 1
    assert f"{first}: it is away" in done.stderr


SPOOF = "x\n2026-11-30 08:00:00  alert  yard  gate-9  5.0 s\x1b]52;c;aGk=\x07\r\u2028y"


@pytest.mark.parametrize("words", [[], ["--follow"]])
def test_a_name_begins_no_line_of_another_machines(
    nodes: dict[str, Any], monkeypatch: pytest.MonkeyPatch, words: list[str]
) -> None:
    nodes["watch"][depot().compute[0].name] = (event(1, SPOOF),)
    monkeypatch.setattr(verb, "looks", lambda _: iter([Look(math.inf, 1)]))
    out = asked(*words).stdout
    assert "gate-9" in out
    assert not any(line.startswith("2026-11-30 08:00:00  alert  yard") for line in out.splitlines())
    assert not set(out) & set("\x1b\x07\r\u2028")


def test_new_events_are_shown_as_they_come_each_once(nodes: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    name = depot().compute[0].name
    nodes["watch"][name] = (event(1),)

    def looks(every_s: float) -> Iterator[Look]:
        assert every_s == verb.FOLLOW_S
        for number in (1, 2, 3):
            yield Look(math.inf, number)
            nodes["watch"][name] = (event(1), event(2))
        raise KeyboardInterrupt

    monkeypatch.setattr(verb, "looks", looks)
    done = asked("--follow", "--json")
    assert [json.loads(line)["event"][-1] for line in done.stdout.splitlines()] == ["1", "2"]


def test_the_page_needs_nothing_but_itself_and_no_name_is_markup(nodes: dict[str, Any], tmp_path: Path) -> None:
    clip = {
        "file": "clips/" + "0" * 32 + ".mp4", "sha256": "0" * 64, "size_bytes": 1, "frames": 1, "start_s": 0.0,
        "end_s": 1.0, "state": "verified", "reason": None,
    }  # fmt: skip
    nodes["watch"][depot().compute[0].name] = (event(1, "<script>north", clip=clip),)
    page = tmp_path / "events.html"
    assert asked("--html", str(page)).exit_code == 0
    text = page.read_text()
    assert "data:image/jpeg;base64," in text
    assert 'name="viewport" content="width=device-width' in text
    assert "<script" not in text
    assert "&lt;script&gt;north" in text
    assert "http:" not in text.replace("http-equiv", "")
    assert asked("--html", str(page), "--follow").exit_code != 0


def test_a_node_that_lists_without_end_is_named_and_the_others_are_listed(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    hostile, honest = depot().compute[:2]
    lines = [json.dumps(document(number)) for number in (1, 2, 3, 4)]
    answers = {hostile.name: "\n".join(lines), honest.name: lines[0]}
    monkeypatch.setattr(watched, "EVENTS_MOST", 3)
    monkeypatch.setattr(
        watched.ssh, "run", lambda cluster, node, *words, **more: Completed(0, answers[node.name].encode(), "")
    )
    found = watched.events(depot(), (hostile, honest))
    assert isinstance(found[hostile.name], DamagedDocumentError)
    assert "has more than 3 lines" in str(found[hostile.name])
    listed = found[honest.name]
    assert not isinstance(listed, ShoalError)
    assert [one.event for one in listed] == [f"{1:032x}"]
    # The same of a run's file here, and of the outbox's answer.
    monkeypatch.setattr("shoal.results.events.EVENTS_MOST", 3)
    monkeypatch.setattr("shoal.outbox.documents.EVENTS_MOST", 3)
    path = tmp_path / "events.jsonl"
    path.write_text("\n".join(lines))
    with pytest.raises(DamagedDocumentError, match="more than 3 lines"):
        read_events(path)
    known = shipped(1).model_dump_json()
    assert len(events_of(f"{known}\n{known}\n".encode(), source="it")) == 2
    with pytest.raises(DamagedDocumentError, match="more than 3 lines"):
        events_of("\n".join([known] * 4).encode(), source="it")


def test_only_plain_files_are_sent_from_the_watchs_folder(tmp_path: Path) -> None:
    """It is written by a container, and read as root: no pipe is waited for, no link followed."""
    for kind in ("plain", "pipe", "link"):
        folder = tmp_path / f"watch-{kind}"
        (folder / "clips").mkdir(parents=True)
        for path in (folder / "events.jsonl", folder / "clips" / f"{kind}.jpg"):
            if kind == "pipe":
                os.mkfifo(path)
            elif kind == "link":
                path.symlink_to("/etc/passwd")
            else:
                path.write_bytes(JPEG)

    def sent(script: str, *words: str) -> bytes:
        script = script.replace(str(watched.FOLDER), str(tmp_path))
        return subprocess.run(["sh", "-c", script, "x", *words], capture_output=True, check=False, timeout=30).stdout

    assert sent(watched._ASK) == JPEG
    assert [sent(watched._PICTURE, kind) for kind in ("plain", "pipe", "link", "missing")] == [JPEG, b"", b"", b""]


def test_the_page_says_who_did_not_answer() -> None:
    text = render(
        "depot",
        [Row("now", "north", "alert", "gate-1", "1.0", "no clip", b"not a picture")],
        asked="All.",
        missing=["gate-2: away"],
    )
    assert "gate-2: away" in text
    assert "<img" not in text


def test_an_event_with_its_clip_and_without_is_one() -> None:
    """The watch publishes it at once and its clip later; for a moment both lie there."""
    nothing = {"file": None, "sha256": None, "size_bytes": None, "frames": None, "start_s": 1.0, "end_s": 2.0}
    awaited = {**nothing, "state": "pending", "reason": "it is being made"}
    made = {"file": f"clips/{1:032x}.mp4", "sha256": "0" * 64, "size_bytes": 5, "frames": 3, "start_s": 1, "end_s": 2}
    whole = {**document(1), "clip": {**made, "state": "verified", "reason": None}}
    found = [whole, {**document(1), "clip": awaited}, {**document(2), "clip": awaited}, whole]
    listed = watched.listed("gate-1", [Event.model_validate(one) for one in found])
    assert [(one.event[-1], one.no_clip) for one in listed] == [("1", None), ("2", "is yet to be made")]
