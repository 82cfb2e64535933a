"""A node that lies, floods or falls silent: its own share of a run has a name for it, the others' come home."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections import namedtuple
from pathlib import Path
from typing import Any

import pytest
from fake_nodes import FakeNodes, outcomes

from shoal.errors import Exit, ShoalError
from shoal.results import documents, fetch
from shoal.results import record as runs
from shoal.results.damaged import DamagedResultsError
from shoal.results.record import Outcome
from shoal.run import start as running
from shoal.run.carry_out import exit_code
from shoal.run.home import fetch_home
from shoal.run.resume import resume
from shoal.ssh import client as ssh

RUN = "r1"
ENTRY = {"path": "summary.json", "size_bytes": 2, "sha256": hashlib.sha256(b"{}").hexdigest()}


@pytest.fixture
def nodes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeNodes:
    monkeypatch.setattr(fetch, "RETRY_S", 0.05)
    fakes = FakeNodes.make(tmp_path, monkeypatch)
    fakes.video("c1", "a.mp4")
    fakes.video("c2", "b.mp4")
    return fakes


def folder(nodes: FakeNodes) -> Path:
    return nodes.path("c1", "/var/lib/shoal/runs") / RUN


def plant(nodes: FakeNodes, manifest: str, files: dict[str, bytes] | None = None) -> None:
    """The node has a finished run of its own making: the detector that is started there finds it and ends at once."""
    folder(nodes).mkdir(parents=True)
    for name, content in (files or {}).items():
        (folder(nodes) / name).parent.mkdir(parents=True, exist_ok=True)
        (folder(nodes) / name).write_bytes(content)
    (folder(nodes) / "manifest.json").write_text(manifest)


def manifest(*entries: dict[str, Any], **changes: Any) -> str:
    whole = {"schema_version": 1, "run": RUN, "finished_at": "2026-11-25T09:00:00+00:00", "exit_code": 0}
    return json.dumps({**whole, "files": list(entries or (ENTRY,)), **changes})


DAMAGED = {
    "brackets": "[" * 200_000,
    "nested objects": '{"a":' * 5000 + "1" + "}" * 5000,
    "nested within the parser's reach": '{"schema_version": 1, "x": ' + "[" * 900 + "]" * 900 + "}",
    "a lone surrogate in a path": manifest({**ENTRY, "path": "videos/\udc80.txt"}),
    "a size of 400 digits": manifest().replace('"size_bytes": 2', '"size_bytes": 1' + "0" * 400),
    "a size of 5000 digits": manifest().replace('"size_bytes": 2', '"size_bytes": 1' + "0" * 5000),
    "no number": manifest().replace('"size_bytes": 2', '"size_bytes": NaN'),
    "a huge fraction": manifest().replace('"size_bytes": 2', '"size_bytes": 1e400'),
    "a key twice": manifest().replace('"exit_code": 0', '"exit_code": 3, "exit_code": 0'),
    "a name longer than a file system takes": manifest({**ENTRY, "path": "v/" + "n" * 300}),
    "a path longer than a file system takes": manifest({**ENTRY, "path": "v/" * 2500 + "x"}),
    "many values": "[" + "0," * 1_300_000 + "0]",
    "no JSON": "<html>",
    "another run's": manifest(run="r2"),
    "no text": "\x00",
}


@pytest.mark.parametrize("text", DAMAGED.values(), ids=DAMAGED.keys())
def test_a_damaged_manifest_is_its_nodes_outcome_and_the_others_come_home(nodes: FakeNodes, text: str) -> None:
    _node_ends_with(nodes, text)
    record = running.start(nodes.order(), nodes.tell)
    assert outcomes(record) == {"c1": Outcome.DAMAGED_RESULTS, "c2": Outcome.FINISHED}
    assert record.nodes["c2"].fetched is not None
    assert "manifest" in record.nodes["c1"].attempts[-1].message
    assert exit_code(record) is Exit.INCOMPLETE
    assert not list((runs.run_dir(RUN) / "c1").rglob("*"))
    # And again: neither is the run lost, nor does it end otherwise.
    again = resume(RUN, nodes.cluster, nodes.tell)
    assert outcomes(again) == {"c1": Outcome.DAMAGED_RESULTS, "c2": Outcome.FINISHED}
    _mend(nodes)
    assert resume(RUN, nodes.cluster, nodes.tell).complete


def _node_ends_with(nodes: FakeNodes, text: str) -> None:
    """From now on whatever runs on c1 ends well, and this is the manifest there."""
    detector = nodes.root / "bad-detector.py"
    detector.write_text(
        "import json, os, sys\n"
        "from pathlib import Path\n"
        "folder, mounts = Path(sys.argv[1]), json.loads(sys.argv[2])\n"
        f"(Path(mounts['/state']) / 'manifest.json').write_bytes({text.encode()!r})\n"
        "(folder / 'exit').write_text('0')\n"
    )
    docker = nodes.root / "node-bin" / "docker"
    fakes = Path(__file__).parent.parent / "fake_node"
    bad = nodes.root / "bad"
    bad.mkdir()
    shutil.copy(fakes / "docker.py", bad / "docker.py")
    shutil.copy(detector, bad / "detector.py")
    hostile = nodes.node_root("c1")
    docker.write_text(
        f'#!/bin/sh\nwhere={fakes}\n[ "$FAKE_NODE" != {hostile} ] || [ -e {bad}/mended ] || where={bad}\n'
        f'exec "{sys.executable}" -IS "$where/docker.py" "$@"\n'
    )


def _mend(nodes: FakeNodes) -> None:
    (nodes.root / "bad" / "mended").touch()
    (folder(nodes) / "manifest.json").unlink()


def bring(nodes: FakeNodes, home: Path, **changes: Any) -> Any:
    return fetch.fetch_node(nodes.cluster, nodes.cluster.node("c1"), RUN, home, **changes)


def sends(nodes: FakeNodes, monkeypatch: pytest.MonkeyPatch, script: str) -> None:
    """From now on the node answers the request for its files by this."""
    place = nodes.root / "liar"
    place.mkdir()
    (place / "ssh").write_text(
        # What the login shell is given may be encoded, and prints its mark first: see `shoal.ssh.remote`.
        "#!/bin/sh\n"
        "encoded=$(printf %s \"$*\" | sed -n 's/.*echo \\([A-Za-z0-9+\\/=]*\\) | base64 -d.*/\\1/p')\n"
        'text="$* $(printf %s "$encoded" | base64 -d)"\n'
        f'case "$text" in *"xargs -0"*) ;; *) exec {nodes.program} "$@" ;; esac\n'
        "cat >/dev/null\n"
        "mark=$(printf %s \"$text\" | grep -o 'shoal-[0-9a-f]\\{16\\}' | head -n 1)\n"
        'echo "$mark"; echo "$mark" >&2\n'
        f"{script}\n"
    )
    (place / "ssh").chmod(0o755)
    monkeypatch.setenv("PATH", f"{place}:{os.environ['PATH']}")


def test_no_more_is_written_than_the_manifest_promised(
    nodes: FakeNodes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plant(nodes, manifest(), {"summary.json": b"{}"})
    sends(nodes, monkeypatch, "exec cat /dev/zero")
    most = []
    real = fetch._copy

    def watched(source: Any, target: Any, size_bytes: int) -> tuple[int, str]:
        try:
            return real(source, target, size_bytes)
        finally:
            target.flush()
            most.append(os.fstat(target.fileno()).st_size)

    monkeypatch.setattr(fetch, "_copy", watched)
    with pytest.raises(DamagedResultsError, match=r"c1:summary\.json is not what its manifest says"):
        bring(nodes, tmp_path / "home")
    assert most == [2]
    assert list((tmp_path / "home").iterdir()) == []


def test_bytes_behind_the_last_file_are_refused(
    nodes: FakeNodes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plant(nodes, manifest(), {"summary.json": b"{}"})
    sends(nodes, monkeypatch, "printf '{}more'")
    with pytest.raises(DamagedResultsError, match="sent more than its manifest"):
        bring(nodes, tmp_path / "home")
    assert not (tmp_path / "home/manifest.json").exists()


@pytest.mark.parametrize("script", ["", "printf x", "echo no; exit 123", "exit 1"])
def test_less_than_was_promised_is_refused_and_leaves_nothing(
    nodes: FakeNodes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str
) -> None:
    plant(nodes, manifest(), {"summary.json": b"{}"})
    sends(nodes, monkeypatch, script)
    with pytest.raises(DamagedResultsError):
        bring(nodes, tmp_path / "home")
    assert list((tmp_path / "home").iterdir()) == []


def test_a_node_that_sends_no_more_is_given_up(
    nodes: FakeNodes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plant(nodes, manifest(), {"summary.json": b"{}"})
    monkeypatch.setattr(fetch, "STALL_S", 0.3)
    sends(nodes, monkeypatch, "printf '{'; exec sleep 60")
    with pytest.raises(ssh.SshError, match=r"1 bytes of its results came in"):
        bring(nodes, tmp_path / "home", patience_s=0)
    assert list((tmp_path / "home").iterdir()) == []


def test_a_file_that_was_changed_is_the_nodes_outcome(nodes: FakeNodes, monkeypatch: pytest.MonkeyPatch) -> None:
    record = running.start(nodes.order(fetch=False), nodes.tell)
    assert outcomes(record) == {"c1": Outcome.FINISHED, "c2": Outcome.FINISHED}
    next(folder(nodes).rglob("detections.jsonl")).write_bytes(b"something else\n")
    record = resume(RUN, nodes.cluster, nodes.tell)
    assert outcomes(record) == {"c1": Outcome.DAMAGED_RESULTS, "c2": Outcome.FINISHED}
    assert "is shorter than its manifest says" in record.nodes["c1"].attempts[-1].message
    assert record.nodes["c2"].fetched is not None
    faults = fetch_home(record, nodes.cluster, lambda text: None)
    assert [fault.where for fault in faults] == ["c1"]


def test_a_manifest_without_end_is_read_to_a_bound(
    nodes: FakeNodes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plant(nodes, "")
    monkeypatch.setattr(documents, "BOUNDS", documents.Bounds(size_bytes=1 << 20))
    place = nodes.root / "liar"
    place.mkdir()
    (place / "ssh").write_text("#!/bin/sh\nexec cat /dev/zero\n")
    (place / "ssh").chmod(0o755)
    monkeypatch.setenv("PATH", f"{place}:{os.environ['PATH']}")
    with pytest.raises(DamagedResultsError, match="is larger than 1048576 bytes"):
        bring(nodes, tmp_path / "home")


def test_results_that_would_fill_the_disk_are_not_asked_for(
    nodes: FakeNodes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plant(nodes, manifest({**ENTRY, "size_bytes": 10**14}))
    with pytest.raises(ShoalError, match=r"has 100000000000000 bytes of results to send; \d+ bytes are free") as raised:
        bring(nodes, tmp_path / "home")
    assert "SHOAL_RUNS" in str(raised.value)
    assert not any("xargs -0" in command for command in nodes.commands())
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(1 << 40, 0, fetch.SPARE_BYTES + 1))
    (folder(nodes) / "manifest.json").write_text(manifest())
    with pytest.raises(ShoalError, match="stay free"):
        bring(nodes, tmp_path / "home")


def test_what_comes_home_is_the_users_alone_whatever_the_umask(nodes: FakeNodes, tmp_path: Path) -> None:
    plant(nodes, manifest(), {"summary.json": b"{}"})
    (folder(nodes) / "summary.json").chmod(0o6777)
    before = os.umask(0)
    try:
        bring(nodes, tmp_path / "runs" / RUN / "c1")
    finally:
        os.umask(before)
    modes = {path.name: path.stat().st_mode & 0o7777 for path in (tmp_path / "runs").rglob("*")}
    assert modes == {RUN: 0o700, "c1": 0o700, "summary.json": 0o600, "manifest.json": 0o600}


def test_everything_is_on_disk_before_the_manifest(
    nodes: FakeNodes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plant(nodes, manifest({**ENTRY, "path": "videos/a/x"}, ENTRY), {"summary.json": b"{}", "videos/a/x": b"{}"})
    home = tmp_path / "home"
    synced: list[str] = []
    real = os.fsync

    def watched(handle: int) -> None:
        real(handle)
        name = Path(f"/proc/self/fd/{handle}").resolve()
        synced.append(name.relative_to(tmp_path).as_posix())

    monkeypatch.setattr(os, "fsync", watched)
    bring(nodes, home)
    manifest_at = next(index for index, name in enumerate(synced) if name.startswith("home/.manifest.json."))
    before = synced[:manifest_at]
    assert {"home/summary.json", "home/videos/a/x", "home/videos/a", "home/videos", "home"} <= set(before)
    assert before.index("home/videos/a/x") < before.index("home/videos/a") < before.index("home/videos")
    assert "home" in synced[manifest_at + 1 :]


def test_memory_stays_bounded_by_a_manifest_of_600_mb(nodes: FakeNodes, tmp_path: Path) -> None:
    plant(nodes, "")
    with (folder(nodes) / "manifest.json").open("wb") as stream:
        stream.truncate(600_000_000)
    code = (
        "import resource, sys\n"
        "from pathlib import Path\n"
        "from shoal.cluster.document import load\n"
        "from shoal.results import fetch\n"
        "from shoal.errors import ShoalError\n"
        "resource.setrlimit(resource.RLIMIT_AS, (700_000_000, 700_000_000))\n"
        "cluster = load(Path(sys.argv[1]))\n"
        "try:\n"
        "    fetch.fetch_node(cluster, cluster.node('c1'), 'r1', Path(sys.argv[2]))\n"
        "except ShoalError as error:\n"
        "    peak = Path('/proc/self/status').read_text().split('VmHWM:')[1].split()[0]\n"
        "    print(type(error).__name__, peak)\n"
    )
    (tmp_path / "cluster.json").write_text(nodes.cluster.model_dump_json())
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "cluster.json"), str(tmp_path / "home")],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    name, peak_kb = done.stdout.split()
    assert name == "DamagedResultsError"
    assert int(peak_kb) < 300_000
