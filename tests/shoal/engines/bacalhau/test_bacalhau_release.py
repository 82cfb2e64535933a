"""The engine's program: signed archives, recorded hashes, files given by hand, and the choice of an engine."""

from __future__ import annotations

import base64
import hashlib
import io
import shutil
import subprocess
import tarfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from shoal.cluster import document as clusters
from shoal.cluster.document import Cluster
from shoal.engines.bacalhau import release, signature
from shoal.engines.choice import choose
from shoal.errors import Exit, ShoalError, UsageError

ARM = b"\x7fELF\x02\x01\x01" + b"\0" * 9 + b"\x02\x00\xb7\x00" + b"engine" * 10


@pytest.fixture(scope="module")
def key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


@pytest.fixture(autouse=True)
def _places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHOAL_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("SHOAL_STATE", str(tmp_path / "state"))
    monkeypatch.delenv("SHOAL_BUNDLE", raising=False)
    # No test may reach the publisher.
    monkeypatch.setattr(release, "UPSTREAM", (tmp_path / "nowhere").as_uri())


@pytest.fixture
def publisher(key: rsa.RSAPrivateKey, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> rsa.RSAPrivateKey:
    pem = tmp_path / "publisher.pem"
    pem.write_bytes(
        key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    )
    monkeypatch.setattr(signature.verify, "__kwdefaults__", {"public_key": pem})
    return key


def bundle(folder: Path, key: rsa.RSAPrivateKey, program: bytes = ARM) -> Path:
    folder.mkdir(exist_ok=True)
    archive = folder / release.file_name("arm64")
    with tarfile.open(archive, "w:gz") as tar:
        entry = tarfile.TarInfo("bacalhau")
        entry.size = len(program)
        tar.addfile(entry, io.BytesIO(program))
    sign(archive, key)
    return archive


def sign(archive: Path, key: rsa.RSAPrivateKey) -> None:
    raw = key.sign(archive.read_bytes(), padding.PKCS1v15(), hashes.SHA256())
    # As `openssl base64` writes it: in lines.
    archive.with_name(f"{archive.name}.signature.sha256").write_bytes(base64.encodebytes(raw))


def test_the_publishers_key_is_a_4096_bit_rsa_key() -> None:
    loaded = serialization.load_pem_public_key(signature.PUBLIC_KEY.read_bytes())
    assert isinstance(loaded, rsa.RSAPublicKey)
    assert loaded.key_size == 4096
    # As in the publisher's install script (docs/engine.md); another one is a person's decision.
    content = loaded.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    assert hashlib.sha256(content).hexdigest() == "8f4ab5383352d1ea193118a8b262bf4cc55b0d4254fae921ff24be359fc99423"


def test_a_signed_archive_from_a_bundle(
    tmp_path: Path, publisher: rsa.RSAPrivateKey, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle(tmp_path / "bundle", publisher)
    monkeypatch.setenv("SHOAL_BUNDLE", str(tmp_path / "bundle"))
    found = release.resolve("arm64")
    assert (found.version, found.origin) == (release.VERSION, "release")
    assert found.path.read_bytes() == ARM
    assert found.path.stat().st_mode & 0o111
    monkeypatch.delenv("SHOAL_BUNDLE")
    assert release.resolve("arm64") == found  # from the cache


def test_a_changed_archive_is_refused(
    tmp_path: Path, publisher: rsa.RSAPrivateKey, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive = bundle(tmp_path / "bundle", publisher)
    with archive.open("ab") as stream:
        stream.write(b"more")
    monkeypatch.setenv("SHOAL_BUNDLE", str(tmp_path / "bundle"))
    with pytest.raises(ShoalError, match="not what its publisher signed"):
        release.resolve("arm64")
    assert release.cached("arm64") is None


def test_the_signature_of_another_key_is_refused(
    tmp_path: Path, publisher: rsa.RSAPrivateKey, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive = bundle(tmp_path / "bundle", publisher)
    sign(archive, rsa.generate_private_key(public_exponent=65537, key_size=2048))
    monkeypatch.setenv("SHOAL_BUNDLE", str(tmp_path / "bundle"))
    with pytest.raises(ShoalError, match="not what its publisher signed"):
        release.resolve("arm64")
    assert release.cached("arm64") is None
    assert not (tmp_path / "state" / "bacalhau-releases.json").exists()


def test_the_publishers_own_key_refuses_what_others_signed(tmp_path: Path, key: rsa.RSAPrivateKey) -> None:
    archive = bundle(tmp_path / "bundle", key)
    with pytest.raises(ShoalError, match="not what its publisher signed"):
        signature.verify(archive, archive.with_name(f"{archive.name}.signature.sha256"))


def test_a_signature_file_that_is_none_is_told(tmp_path: Path, publisher: rsa.RSAPrivateKey) -> None:
    archive = bundle(tmp_path / "bundle", publisher)
    archive.with_name(f"{archive.name}.signature.sha256").write_text("<html>not found</html>")
    with pytest.raises(ShoalError, match="is not base64"):
        release.add(archive, version="1.9.3")


def test_an_archive_without_its_signature_is_not_taken_from_a_bundle(
    tmp_path: Path, publisher: rsa.RSAPrivateKey, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive = bundle(tmp_path / "bundle", publisher)
    archive.with_name(f"{archive.name}.signature.sha256").unlink()
    monkeypatch.setenv("SHOAL_BUNDLE", str(tmp_path / "bundle"))
    with pytest.raises(ShoalError, match="cannot be had") as error:
        release.resolve("arm64")
    assert "with its signature" in error.value.faults[0].what


@pytest.fixture
def mirror(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A mirror with the publisher's layout; gives the folder of the release."""
    folder = tmp_path / "mirror" / f"v{release.VERSION}"
    folder.mkdir(parents=True)
    handler = partial(SimpleHTTPRequestHandler, directory=str(tmp_path / "mirror"))
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setenv("SHOAL_BACALHAU_MIRROR", f"http://127.0.0.1:{server.server_address[1]}/")
    yield folder
    server.shutdown()
    server.server_close()


def test_a_signed_archive_from_a_mirror(mirror: Path, publisher: rsa.RSAPrivateKey) -> None:
    bundle(mirror, publisher)
    assert release.resolve("arm64").origin == "release"


@pytest.mark.parametrize("fault", ["tampered", "no signature"])
def test_a_mirror_that_is_not_to_be_trusted(mirror: Path, publisher: rsa.RSAPrivateKey, fault: str) -> None:
    archive = bundle(mirror, publisher)
    if fault == "tampered":
        archive.write_bytes(archive.read_bytes() + b"more")
        words = "not what its publisher signed"
    else:
        archive.with_name(f"{archive.name}.signature.sha256").unlink()
        words = "cannot be had"
    with pytest.raises(ShoalError, match=words):
        release.resolve("arm64")
    assert release.cached("arm64") is None


class Cutting(SimpleHTTPRequestHandler):
    """Promises more of an archive than it sends."""

    def send_header(self, keyword: str, value: str) -> None:
        if keyword == "Content-Length" and self.path.endswith(".tar.gz"):
            value = str(int(value) + 1000)
        super().send_header(keyword, value)


class Babbling(SimpleHTTPRequestHandler):
    """Answers with something that is no HTTP."""

    def do_GET(self) -> None:
        self.wfile.write(b"SSH-2.0-other\r\n")


@contextmanager
def site_of(folder: Path, handler: type[SimpleHTTPRequestHandler]) -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(handler, directory=str(folder)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize(
    ("handler", "words"), [(Cutting, "was cut short"), (Babbling, "SSH-2.0-other")], ids=["cut short", "no HTTP"]
)
def test_a_source_that_breaks_off_is_passed_over(
    tmp_path: Path,
    publisher: rsa.RSAPrivateKey,
    monkeypatch: pytest.MonkeyPatch,
    handler: type[SimpleHTTPRequestHandler],
    words: str,
) -> None:
    (tmp_path / "site").mkdir()
    bundle(tmp_path / "site" / f"v{release.VERSION}", publisher)
    with site_of(tmp_path / "site", handler) as broken, site_of(tmp_path / "site", SimpleHTTPRequestHandler) as whole:
        monkeypatch.setenv("SHOAL_BACALHAU_MIRROR", broken)
        with pytest.raises(ShoalError, match="cannot be had") as error:
            release.resolve("arm64")  # nothing at the publisher's either
        assert words in error.value.faults[0].what
        assert error.value.exit_code is Exit.MISSING
        assert release.cached("arm64") is None
        monkeypatch.setattr(release, "UPSTREAM", whole)
        assert release.resolve("arm64").path.read_bytes() == ARM


@pytest.mark.skipif(not shutil.which("openssl"), reason="signs as the publisher's makefile does, with openssl")
def test_a_signature_as_the_publisher_makes_it(tmp_path: Path, publisher: rsa.RSAPrivateKey) -> None:
    archive = bundle(tmp_path / "b", publisher)
    private = tmp_path / "private.pem"
    private.write_bytes(
        publisher.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )
    beside = archive.with_name(f"{archive.name}.signature.sha256")
    raw = subprocess.run(
        ["openssl", "dgst", "-sha256", "-sign", str(private), str(archive)], check=True, capture_output=True
    )
    subprocess.run(["openssl", "base64", "-out", str(beside)], input=raw.stdout, check=True)
    assert release.add(archive, version="1.9.3").origin == "release"


def test_another_archive_of_the_same_version_is_refused_even_if_signed(
    tmp_path: Path, publisher: rsa.RSAPrivateKey, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SHOAL_BUNDLE", str(tmp_path / "bundle"))
    bundle(tmp_path / "bundle", publisher)
    release.resolve("arm64").path.unlink()
    bundle(tmp_path / "bundle", publisher, ARM + b"other")
    with pytest.raises(ShoalError, match="not the archive that was verified here before") as error:
        release.resolve("arm64")
    assert {fault.where for fault in error.value.faults} == {"recorded", "found"}


def test_nowhere_to_be_had_names_what_was_tried(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "bundle").mkdir()
    monkeypatch.setenv("SHOAL_BUNDLE", str(tmp_path / "bundle"))
    with pytest.raises(ShoalError) as error:
        release.resolve("arm64")
    assert error.value.exit_code is Exit.MISSING
    assert len(error.value.faults) == 2


def test_a_program_given_by_hand(tmp_path: Path) -> None:
    program = tmp_path / "given"
    program.write_bytes(ARM)
    with pytest.raises(UsageError, match="does not tell its version"):
        release.add(program)
    said: list[str] = []
    found = release.add(program, version="1.9.3", say=said.append)
    assert (found.arch, found.origin, found.archive_sha256) == ("arm64", "given", None)
    assert "no signature is checked" in said[0]
    assert release.cached("arm64") == found


@pytest.mark.parametrize(
    ("content", "words"),
    [(b"#!/bin/sh\n", "not a Linux program"), (b"\x7fELF\x02\x01\x01" + b"\0" * 11 + b"\x28\0", "does not know")],
)
def test_a_file_that_is_no_such_program(tmp_path: Path, content: bytes, words: str) -> None:
    program = tmp_path / "given"
    program.write_bytes(content)
    with pytest.raises(UsageError, match=words):
        release.add(program, version="1.9.3")


@pytest.mark.parametrize("version", ["1.8.0", "2.0.0", "1.10.0"])
def test_versions_that_are_not_supported(tmp_path: Path, version: str) -> None:
    program = tmp_path / "given"
    program.write_bytes(ARM)
    with pytest.raises(UsageError, match=r"works with 1\.9\.x"):
        release.add(program, version=version)


def test_an_archive_given_by_hand_needs_its_signature(tmp_path: Path, publisher: rsa.RSAPrivateKey) -> None:
    archive = bundle(tmp_path / "b", publisher)
    assert release.add(archive, version="1.9.3").origin == "release"
    archive.with_name(f"{archive.name}.signature.sha256").unlink()
    with pytest.raises(UsageError, match="no signature beside it"):
        release.add(archive, version="1.9.3")


def test_a_damaged_cache_counts_as_empty(tmp_path: Path) -> None:
    program = tmp_path / "given"
    program.write_bytes(ARM)
    found = release.add(program, version="1.9.3")
    found.path.write_bytes(ARM[:-1] + b"X")
    assert release.cached("arm64") is None
    assert release.missing({"arm64"}) == ["arm64"]


def site(engine: str, *archs: str) -> Cluster:
    nodes = [
        {"name": f"n{index}", "address": f"192.0.2.{index}", "arch": arch, "roles": ["compute"]}
        for index, arch in enumerate(archs, start=1)
    ]
    nodes[0]["roles"] = ["requester", "compute"]
    return clusters.parse({"name": "s", "substrate": "lab", "engine": engine, "nodes": nodes}, source="test")


@pytest.mark.parametrize(
    ("asked", "named", "engine", "words"),
    [
        ("auto", "auto", "bacalhau", "is in the artefact cache"),
        ("ssh", "bacalhau", "ssh", "as asked"),
        ("auto", "ssh", "ssh", "as cluster 's' says"),
        ("bacalhau", "ssh", "bacalhau", "as asked"),
    ],
)
def test_the_choice_where_the_program_is_cached(
    tmp_path: Path, asked: str, named: str, engine: str, words: str
) -> None:
    program = tmp_path / "given"
    program.write_bytes(ARM)
    release.add(program, version="1.9.3")
    choice = choose(asked, site(named, "arm64"))  # type: ignore[arg-type]
    assert choice.engine == engine
    assert words in str(choice)
    assert "\n" not in str(choice)
    assert bool(choice.binaries) == (engine == "bacalhau")


def test_the_choice_where_one_architecture_is_missing(tmp_path: Path) -> None:
    program = tmp_path / "given"
    program.write_bytes(ARM)
    release.add(program, version="1.9.3")
    both = site("auto", "arm64", "amd64")
    assert str(choose("auto", both)) == "engine: ssh (no Bacalhau for amd64 in the artefact cache)"
    with pytest.raises(ShoalError, match="no Bacalhau for amd64") as error:
        choose("bacalhau", both)
    assert error.value.exit_code is Exit.MISSING


@pytest.mark.parametrize("asked", ["auto", "bacalhau"])
def test_an_archive_that_is_not_to_be_trusted_is_never_passed_over(
    tmp_path: Path, publisher: rsa.RSAPrivateKey, monkeypatch: pytest.MonkeyPatch, asked: str
) -> None:
    monkeypatch.setenv("SHOAL_BUNDLE", str(tmp_path / "bundle"))
    archive = bundle(tmp_path / "bundle", publisher)
    release.resolve("arm64").path.unlink()
    bundle(tmp_path / "bundle", publisher, ARM + b"other")
    with pytest.raises(ShoalError, match="not the archive that was verified here before") as error:
        choose(asked, site("auto", "arm64"), say=lambda _: None)  # type: ignore[arg-type]
    assert error.value.exit_code is Exit.FAILED
    with archive.open("ab") as stream:
        stream.write(b"more")
    with pytest.raises(ShoalError, match="not what its publisher signed"):
        choose(asked, site("auto", "arm64"), say=lambda _: None)  # type: ignore[arg-type]


def test_without_any_source_the_choice_is_ssh(tmp_path: Path) -> None:
    choice = choose("auto", site("auto", "arm64"), say=lambda _: None)
    assert (choice.engine, choice.reason) == ("ssh", f"Bacalhau {release.VERSION} for arm64 cannot be had")
