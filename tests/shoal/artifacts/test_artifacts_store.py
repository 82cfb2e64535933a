from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from local_registries import Site, catalogue, entry, sha256, site, tgz

from shoal import artifacts
from shoal.artifacts import State, kept_path, resolve, resolve_all, state
from shoal.errors import Exit, ShoalError
from shoal.locks import locked

DATA = b"the real thing " * 50_000


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SHOAL_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("SHOAL_BUNDLE", raising=False)
    return tmp_path / "cache"


@pytest.fixture
def web() -> Iterator[Site]:
    with site() as running:
        running.files["/thing.bin"] = DATA
        yield running


def url_entry(web: Site, data: bytes = DATA) -> artifacts.Catalogue:
    return catalogue(thing=entry({"kind": "url", "url": f"{web.url}/thing.bin"}, data, file="thing.bin"))


def files_in(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file() and path.parent.name != "locks"]


def test_fetched_once_and_kept_under_its_hash(web: Site, cache: Path) -> None:
    known = url_entry(web)
    assert state(known.get("thing")) is State.MISSING
    path = resolve("thing", catalogue=known)
    digest = sha256(DATA)
    assert path == cache / "artifacts" / digest[:2] / digest / "thing.bin"
    assert path.read_bytes() == DATA
    assert resolve("thing", catalogue=known) == path
    assert web.requests["/thing.bin"] == 1
    assert files_in(cache) == [path]


def test_wrong_hash_names_both_and_keeps_nothing(web: Site, cache: Path) -> None:
    known = url_entry(web, b"something else")
    with pytest.raises(ShoalError) as caught:
        resolve("thing", catalogue=known)
    told = str(caught.value)
    assert sha256(DATA) in told
    assert sha256(b"something else") in told
    assert caught.value.exit_code is Exit.FAILED
    assert files_in(cache) == []


@pytest.mark.parametrize("damage", [b"", DATA[:-1], DATA[:-1] + b"!"], ids=["empty", "short", "changed"])
def test_damaged_file_is_replaced_and_said(web: Site, damage: bytes) -> None:
    known = url_entry(web)
    path = resolve("thing", catalogue=known)
    path.write_bytes(damage)
    assert state(known.get("thing")) is State.DAMAGED
    said: list[str] = []
    assert resolve("thing", catalogue=known, say=said.append).read_bytes() == DATA
    assert "damaged" in said[0]


def test_a_damaged_file_is_gone_where_no_other_can_be_had(web: Site) -> None:
    known = url_entry(web)
    path = resolve("thing", catalogue=known)
    path.write_bytes(b"rubbish")
    web.files.clear()
    with pytest.raises(ShoalError, match="cannot be had"):
        resolve("thing", catalogue=known)
    assert not path.exists()


def test_not_there_says_what_to_do(web: Site) -> None:
    source = {"kind": "url", "url": f"{web.url}/gone"}
    known = catalogue(thing=entry(source, DATA, file="thing.bin", instead="--weights FILE takes another"))
    with pytest.raises(ShoalError) as caught:
        resolve("thing", catalogue=known)
    told = str(caught.value)
    assert caught.value.exit_code is Exit.MISSING
    assert "404" in told or "Not Found" in told
    assert "--weights FILE takes another" in told
    assert "SHOAL_BUNDLE" in told


def test_bundle_comes_before_upstream(web: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bundle = tmp_path / "bundle"
    bundle.mkdir()
    (bundle / sha256(DATA)).write_bytes(DATA)
    monkeypatch.setenv("SHOAL_BUNDLE", str(bundle))
    assert resolve("thing", catalogue=url_entry(web)).read_bytes() == DATA
    assert not web.requests


def test_a_copied_cache_is_a_bundle(web: Site, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    resolve("thing", catalogue=url_entry(web))
    monkeypatch.setenv("SHOAL_BUNDLE", str(cache / "artifacts"))
    monkeypatch.setenv("SHOAL_CACHE", str(cache / "other"))
    resolve("thing", catalogue=url_entry(web))
    assert web.requests["/thing.bin"] == 1


def test_wrong_file_in_a_bundle_is_refused(
    web: Site, tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / sha256(DATA)).write_bytes(b"rubbish")
    monkeypatch.setenv("SHOAL_BUNDLE", str(tmp_path))
    with pytest.raises(ShoalError, match=str(tmp_path)) as caught:
        resolve("thing", catalogue=url_entry(web))
    assert sha256(b"rubbish") in str(caught.value)
    assert files_in(cache) == []


def member_catalogue(web: Site, second: bytes) -> artifacts.Catalogue:
    package = tgz({"p/one": b"one", "p/two": b"two", "p/other": b"x"})
    web.files["/package.tgz"] = package
    source = {"kind": "url", "url": f"{web.url}/package.tgz"}
    return catalogue(
        one=entry(source, b"one", member="p/one", archive_sha256=sha256(package)),
        two=entry(source, second, member="p/two", archive_sha256=sha256(package)),
    )


def test_one_download_serves_all_members(web: Site, cache: Path) -> None:
    found = resolve_all(["one", "two"], catalogue=member_catalogue(web, b"two"))
    assert {name: path.read_bytes() for name, path in found.items()} == {"one": b"one", "two": b"two"}
    assert web.requests["/package.tgz"] == 1
    assert len(files_in(cache)) == 2, "the package itself is not kept"


def test_member_with_a_wrong_hash(web: Site) -> None:
    known = member_catalogue(web, b"three")
    with pytest.raises(ShoalError, match="two from") as caught:
        resolve("two", catalogue=known)
    assert sha256(b"three") in str(caught.value)
    assert sha256(b"two") in str(caught.value)
    assert state(known.get("two")) is State.MISSING


def test_member_that_is_not_there(web: Site) -> None:
    web.files["/package.tgz"] = tgz({"p/one": b"one"})
    known = catalogue(one=entry({"kind": "url", "url": f"{web.url}/package.tgz"}, b"", size_bytes=1, member="p/none"))
    with pytest.raises(ShoalError, match="p/none: no such file"):
        resolve("one", catalogue=known)


def test_package_cut_short(web: Site) -> None:
    web.files["/package.tgz"] = tgz({"p/one": os.urandom(100_000)})[:50_000]
    known = catalogue(one=entry({"kind": "url", "url": f"{web.url}/package.tgz"}, b"x", member="p/one"))
    with pytest.raises(ShoalError, match=r"package\.tgz is damaged"):
        resolve("one", catalogue=known)


def resolve_in_another_process(web: Site) -> subprocess.Popen[str]:
    program = (
        "import sys; from local_registries import catalogue, entry; from shoal.artifacts import resolve\n"
        "data = b'the real thing ' * 50_000\n"
        "known = catalogue(thing=entry({'kind': 'url', 'url': sys.argv[1]}, data, file='thing.bin'))\n"
        "print(resolve('thing', catalogue=known, say=lambda line: print(line, flush=True)))\n"
    )
    here = str(Path(__file__).parents[1])
    repository = str(Path(__file__).parents[3])
    return subprocess.Popen(
        [sys.executable, "-c", program, f"{web.url}/thing.bin"],
        env={**os.environ, "PYTHONPATH": os.pathsep.join((repository, here))},
        stdout=subprocess.PIPE,
        text=True,
    )


def test_two_processes_share_one_download(web: Site) -> None:
    web.stalled.add("/thing.bin")
    first = resolve_in_another_process(web)
    assert web.half_sent.wait(30)
    second = resolve_in_another_process(web)
    assert second.stdout is not None
    assert "waiting for it" in second.stdout.readline()
    web.go_on.set()
    assert first.communicate(timeout=30)[0].splitlines()[-1].endswith("thing.bin")
    assert second.communicate(timeout=30)[0].splitlines()[-1].endswith("thing.bin")
    assert web.requests["/thing.bin"] == 1


def test_killed_in_the_middle_then_typed_again(web: Site, cache: Path) -> None:
    web.stalled.add("/thing.bin")
    known = url_entry(web)
    process = resolve_in_another_process(web)
    deadline = time.monotonic() + 30
    while not files_in(cache) and time.monotonic() < deadline:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=30)
    assert len(files_in(cache)) == 1, "half a file, and not under its final name"
    assert state(known.get("thing")) is State.MISSING
    web.stalled.clear()
    path = resolve("thing", catalogue=known)
    assert files_in(cache) == [path]


def test_no_space_keeps_nothing(web: Site, cache: Path, tmp_path: Path) -> None:
    small = tmp_path / "small"
    small.mkdir()
    program = (
        "mount -t tmpfs -o size=200k none small || exit 77\n"
        f"SHOAL_CACHE=$PWD/small {sys.executable} -c 'import sys; from local_registries import catalogue, entry\n"
        "from shoal.artifacts import resolve\n"
        'source = {"kind": "url", "url": sys.argv[1]}\n'
        'known = catalogue(thing=entry(source, b"the real thing " * 50_000, file="thing.bin"))\n'
        f'resolve("thing", catalogue=known)\' {web.url}/thing.bin\n'
        "find small -type f -size +0 ! -path '*/locks/*'\n"  # a lock has its holder's number in it
    )
    paths = os.pathsep.join((str(Path(__file__).parents[3]), str(Path(__file__).parents[1])))
    options = ["--mount"] if os.geteuid() == 0 else ["--mount", "--user", "--map-root-user"]
    ended = subprocess.run(
        ["unshare", *options, "sh", "-c", program],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": paths},
        capture_output=True,
        text=True,
        check=False,
    )
    if ended.returncode == 77 or "unshare" in ended.stderr:
        pytest.skip("may not mount a small file system here")
    assert "no space left on the disk" in ended.stderr
    assert "Errno" not in ended.stderr.splitlines()[-1]
    assert ended.stdout == ""


def test_unwritable_cache_is_told(web: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("SHOAL_CACHE", str(tmp_path / "file"))
    with pytest.raises(ShoalError, match="cannot be used") as caught:
        resolve("thing", catalogue=url_entry(web))
    assert "SHOAL_CACHE" in str(caught.value)


def test_disk_errors_know_a_full_disk() -> None:
    with pytest.raises(ShoalError, match="no space left"), artifacts.disk_errors("it"):
        raise OSError(errno.ENOSPC, "full")


def test_per_architecture(web: Site) -> None:
    web.files.update({"/amd64": b"amd", "/arm64": b"arm!"})
    source = {"kind": "url", "url": {"amd64": f"{web.url}/amd64", "arm64": f"{web.url}/arm64"}}
    hashes = {"amd64": sha256(b"amd"), "arm64": sha256(b"arm!")}
    known = catalogue(tool=entry(source, b"", file="tool", sha256=hashes, size_bytes={"amd64": 3, "arm64": 4}))
    assert resolve("tool", arch="arm64", catalogue=known).read_bytes() == b"arm!"
    assert kept_path(known.get("tool"), "amd64") != kept_path(known.get("tool"), "arm64")
    assert resolve("tool", arch="amd64", catalogue=known).read_bytes() == b"amd"


def test_lock_is_free_again_and_says_when_it_waits(tmp_path: Path) -> None:
    said: list[str] = []
    waits = threading.Event()

    def say(line: str) -> None:
        said.append(line)
        waits.set()

    def other() -> None:
        with locked(tmp_path / "lock", what="it", say=say):
            said.append("has it")

    thread = threading.Thread(target=other)
    with locked(tmp_path / "lock", what="it", say=said.append):
        thread.start()
        assert waits.wait(10)
    thread.join(10)
    assert said == [f"another command (process {os.getpid()}) is at work on it; waiting for it", "has it"]
