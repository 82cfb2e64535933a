"""Results brought home: checked, taken up where it broke off, and never taken for whole when they are not."""

from __future__ import annotations

import errno
import hashlib
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from fake_nodes import FakeNodes

from shoal.errors import ShoalError
from shoal.results import fetch as results
from shoal.results.damaged import DamagedResultsError
from shoal.results.fetch import fetch_node, verify_node
from shoal.ssh import client as ssh

FILES = {
    "summary.json": b"{}",
    "videos/a/detections.jsonl": b"line\n" * 1000,
    "videos/a/frames/0.jpg": bytes(range(256)) * 64,
    'videos/it\'s "ä" b\n/x y.txt': b"odd",
    "videos/b/-T": b"dash",
    "videos/b/empty": b"",
}


@pytest.fixture
def nodes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeNodes:
    monkeypatch.setattr(results, "RETRY_S", 0.05)
    fakes = FakeNodes.make(tmp_path, monkeypatch, compute=1)
    write(fakes, FILES)
    return fakes


def folder(nodes: FakeNodes) -> Path:
    return nodes.path("c1", "/var/lib/shoal/runs/r1")


def write(nodes: FakeNodes, there: dict[str, bytes], **changes: Any) -> None:
    for name, content in there.items():
        path = folder(nodes) / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    entries = [
        {"path": name, "size_bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
        for name, content in sorted(there.items())
    ]
    manifest = {"schema_version": 1, "run": "r1", "finished_at": "2026-11-25T09:00:00+00:00", "exit_code": 0}
    (folder(nodes) / "lock").touch()
    (folder(nodes) / "manifest.json").write_text(json.dumps({**manifest, "files": entries, **changes}))


def fetch(nodes: FakeNodes, home: Path, **changes: Any) -> results.Fetched:
    return fetch_node(nodes.cluster, nodes.cluster.node("c1"), "r1", home, **changes)


def contents(home: Path) -> dict[str, bytes]:
    return {path.relative_to(home).as_posix(): path.read_bytes() for path in home.rglob("*") if path.is_file()}


def streams(nodes: FakeNodes) -> int:
    return sum("xargs -0" in command for command in nodes.commands())


def test_the_folder_comes_home_as_it_is(nodes: FakeNodes, tmp_path: Path) -> None:
    home = tmp_path / "home of c1"
    fetched = fetch(nodes, home)
    manifest = (folder(nodes) / "manifest.json").read_bytes()
    assert contents(home) == {**FILES, "manifest.json": manifest}
    assert (fetched.files, fetched.size_bytes) == (len(FILES), sum(map(len, FILES.values())))
    assert verify_node(home)[1] == []


def test_what_is_here_and_right_is_not_sent_again(nodes: FakeNodes, tmp_path: Path) -> None:
    home = tmp_path / "home"
    fetch(nodes, home)
    assert streams(nodes) == 1
    fetch(nodes, home)
    assert streams(nodes) == 1
    (home / "summary.json").write_bytes(b"[]")
    (home / "videos/b/empty").unlink()
    fetch(nodes, home)
    assert streams(nodes) == 2
    assert contents(home).items() >= FILES.items()


def test_a_node_that_is_not_done_has_nothing_to_fetch(nodes: FakeNodes, tmp_path: Path) -> None:
    (folder(nodes) / "manifest.json").unlink()
    with pytest.raises(ShoalError, match="has not finished run r1"):
        fetch(nodes, tmp_path / "home")
    assert not (tmp_path / "home").exists()


@pytest.mark.parametrize("change", [lambda path: path.write_bytes(b"longer"), lambda path: path.write_bytes(b"[]")])
def test_a_file_that_is_not_what_the_manifest_says_is_refused(
    nodes: FakeNodes, tmp_path: Path, change: Callable[[Path], None]
) -> None:
    change(folder(nodes) / "summary.json")
    with pytest.raises(ShoalError, match=r"c1:summary\.json is not what its manifest says") as raised:
        fetch(nodes, tmp_path / "home")
    assert hashlib.sha256(b"{}").hexdigest() in raised.value.message
    assert not (tmp_path / "home/summary.json").exists()
    assert not (tmp_path / "home/manifest.json").exists()


def test_a_file_that_is_gone_from_the_node_is_named(nodes: FakeNodes, tmp_path: Path) -> None:
    (folder(nodes) / "videos/b/-T").unlink()
    with pytest.raises(DamagedResultsError, match="videos/b/-T is missing, or not a plain file"):
        fetch(nodes, tmp_path / "home")
    assert not (tmp_path / "home/manifest.json").exists()


def cut(nodes: FakeNodes, monkeypatch: pytest.MonkeyPatch, size_bytes: int, times: int) -> None:
    """The next connections break after so many bytes of results."""
    place = nodes.root / "cut"
    place.mkdir()
    (place / "left").write_text("x" * times)
    script = f"""#!/bin/sh
left=$(cat {place}/left)
encoded=$(printf %s "$*" | sed -n 's/.*echo \\([A-Za-z0-9+\\/=]*\\) | base64 -d.*/\\1/p')
case "$* $(printf %s "$encoded" | base64 -d)" in *"xargs -0"*) ;; *) left= ;; esac
[ -n "$left" ] || exec {nodes.program} "$@"
printf %s "${{left#x}}" >{place}/left
{nodes.program} "$@" | head -c {size_bytes}
echo "client_loop: send disconnect: Broken pipe" >&2
exit 255
"""
    (place / "ssh").write_text(script)
    (place / "ssh").chmod(0o755)
    monkeypatch.setenv("PATH", f"{place}:{os.environ['PATH']}")


def test_a_connection_that_breaks_is_taken_up_where_it_was(
    nodes: FakeNodes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cut(nodes, monkeypatch, 9000, times=2)
    told: list[str] = []
    fetch(nodes, tmp_path / "home", tell=told.append)
    assert len(told) == 2
    assert contents(tmp_path / "home").items() >= FILES.items()


def test_a_fetch_that_gave_up_keeps_what_came_whole_and_is_not_taken_for_whole(
    nodes: FakeNodes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = tmp_path / "home"
    cut(nodes, monkeypatch, 9000, times=1)
    with pytest.raises(ssh.SshError, match="lost"):
        fetch(nodes, home, patience_s=0)
    assert verify_node(home)[0] is None
    came = {name for name in contents(home) if not name.startswith(results.ARRIVING)}
    assert came
    assert came < set(FILES)
    assert fetch(nodes, home).files == len(FILES)
    assert verify_node(home)[1] == []
    assert not (home / results.ARRIVING).exists()


def test_no_space_left_here_is_said_and_leaves_nothing_half(
    nodes: FakeNodes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(source: object, target: object, size_bytes: int) -> tuple[int, str]:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(results, "_copy", full)
    with pytest.raises(ShoalError, match="no space left under") as raised:
        fetch(nodes, tmp_path / "home")
    assert "SHOAL_RUNS" in str(raised.value)
    assert {name for name in contents(tmp_path / "home") if not name.startswith(results.ARRIVING)} == set()


@pytest.mark.parametrize(
    "path",
    [
        "../../escape",
        "/etc/passwd",
        "a/../../b",
        "videos//x",
        "./x",
        "",
        "lock",
        "manifest.json",
        ".arriving/x",
        "a\\b",
        "a\0b",
    ],
)
def test_a_path_that_leads_out_of_the_folder_is_refused(nodes: FakeNodes, tmp_path: Path, path: str) -> None:
    entry = {"path": path, "size_bytes": 0, "sha256": "0" * 64}
    write(nodes, FILES, files=[entry])
    with pytest.raises(ShoalError, match="is not a valid manifest"):
        fetch(nodes, tmp_path / "home")
    assert not (tmp_path / "home").exists()


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"run": "r2"}, "is the manifest of run 'r2'"),
        ({"schema_version": 2}, "is not a valid manifest"),
        ({"exit_code": 1}, "is not a valid manifest"),
        ({"files": [{"path": name, "size_bytes": 0, "sha256": "0" * 64} for name in ("a", "a")]}, "listed twice"),
        ({"files": [{"path": name, "size_bytes": 0, "sha256": "0" * 64} for name in ("a", "a/b")]}, "as a folder"),
    ],
)
def test_a_manifest_that_cannot_be_is_refused(
    nodes: FakeNodes, tmp_path: Path, changes: dict[str, Any], words: str
) -> None:
    write(nodes, FILES, **changes)
    with pytest.raises(ShoalError) as raised:
        fetch(nodes, tmp_path / "home")
    assert words in str(raised.value)


@pytest.mark.parametrize("make", ["link", "pipe", "folder"])
def test_what_is_no_plain_file_on_the_node_is_not_sent(nodes: FakeNodes, tmp_path: Path, make: str) -> None:
    path = folder(nodes) / "videos/b/empty"
    path.unlink()
    if make == "link":
        path.symlink_to("/etc/hostname")
    elif make == "pipe":
        os.mkfifo(path)
    else:
        path.mkdir()
    with pytest.raises(DamagedResultsError, match="videos/b/empty is missing, or not a plain file"):
        fetch(nodes, tmp_path / "home")
    assert not (tmp_path / "home/manifest.json").exists()


def test_verify_names_every_file_that_is_not_as_it_was(nodes: FakeNodes, tmp_path: Path) -> None:
    home = tmp_path / "home"
    fetch(nodes, home)
    (home / "summary.json").write_bytes(b"[]")
    (home / "videos/b/empty").unlink()
    (home / "extra").touch()
    (home / "videos/b/-T").unlink()
    (home / "videos/b/-T").symlink_to("/etc/hostname")
    faults = {Path(fault.where).relative_to(home).as_posix(): fault.what for fault in verify_node(home)[1]}
    assert faults.keys() == {"summary.json", "videos/b/empty", "videos/b/-T", "extra"}
    assert faults["extra"] == "is not in the manifest"
    assert faults["videos/b/-T"] == "is missing"


def test_with_events_the_detections_stay_on_the_node_until_asked_for(nodes: FakeNodes, tmp_path: Path) -> None:
    clip = f"clips/{'0a' * 16}.mp4"
    there = {
        "events.jsonl": b"{}\n",
        "settings.json": b"{}",
        "summary.json": b"{}",
        clip: b"film",
        "videos/a-0a1b2c3d/summary.json": b"{}",
        "videos/a-0a1b2c3d/frames/000001.jpg": b"picture",
        "videos/a-0a1b2c3d/detections.jsonl": b"line\n" * 1000,
        "videos/a-0a1b2c3d/annotated.mp4": b"all of the footage",
        "clips/readme.txt": b"?",
    }
    for path in sorted(folder(nodes).rglob("*"), reverse=True):
        path.unlink() if not path.is_dir() else None
    write(nodes, there)
    home = tmp_path / "home"
    fetched = fetch(nodes, home, bring="events")
    left = {"videos/a-0a1b2c3d/detections.jsonl", "videos/a-0a1b2c3d/annotated.mp4", "clips/readme.txt"}
    assert contents(home).keys() == there.keys() - left | {"manifest.json"}
    assert (fetched.brought, fetched.files, fetched.files_left) == ("events", 6, 3)
    assert fetched.bytes_left == sum(len(there[name]) for name in left)
    assert verify_node(home, "events")[1] == []
    assert len(verify_node(home)[1]) == 3
    (home / clip).write_bytes(b"fake")
    assert [fault.where for fault in verify_node(home, "events")[1]] == [str(home / clip)]
    again = fetch(nodes, home, bring="all")
    assert (again.brought, again.files_left, again.files) == ("all", 0, 9)
    assert contents(home).keys() == there.keys() | {"manifest.json"}
    assert fetch(nodes, home, bring="events").brought == "all", "what is home stays home"
