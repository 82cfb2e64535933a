"""Registries on this machine, so that the real clients can be run without a network: a web server, an npm registry, a
folder of Python packages, a Debian repository."""

from __future__ import annotations

import base64
import gzip
import hashlib
import io
import json
import subprocess
import tarfile
import threading
import zipfile
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from shoal.artifacts.catalogue import Catalogue


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


class Site:
    """A web server on a free local port: serves `files`, counts requests, stalls in the middle of `stalled` ones."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.requests: Counter[str] = Counter()
        self.stalled: set[str] = set()
        self.half_sent = threading.Event()
        self.go_on = threading.Event()
        site = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                site.requests[self.path] += 1
                data = site.files.get(self.path)
                if data is None:
                    self.send_error(404)
                    return
                self.send_response(200)
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                middle = len(data) // 2
                self.wfile.write(data[:middle])
                self.wfile.flush()
                if self.path in site.stalled:
                    site.half_sent.set()
                    site.go_on.wait(60)
                try:
                    self.wfile.write(data[middle:])
                except (BrokenPipeError, ConnectionResetError):
                    return

            def log_message(self, *args: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"


@contextmanager
def site() -> Iterator[Site]:
    running = Site()
    thread = threading.Thread(target=running.server.serve_forever, args=(0.02,))
    thread.start()
    try:
        yield running
    finally:
        running.go_on.set()
        running.server.shutdown()
        thread.join()
        running.server.server_close()


def entry(source: dict[str, Any], data: bytes, **others: Any) -> dict[str, Any]:
    """A catalogue entry for a file with the content `data`."""
    fields = {"purpose": "test", "version": "1.0", "licence": "none", "sha256": sha256(data), "size_bytes": len(data)}
    return {"source": source, **fields, **others}


def catalogue(**artifacts: dict[str, Any]) -> Catalogue:
    return Catalogue.model_validate({"schema_version": 1, "artifact": artifacts})


def tgz(files: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return buffer.getvalue()


def npm_registry(running: Site, name: str, version: str, package: bytes) -> dict[str, str]:
    """Publish one package; what to set so that npm uses the registry."""
    path = f"/{name}/-/{name}-{version}.tgz"
    integrity = "sha512-" + base64.b64encode(hashlib.sha512(package).digest()).decode()
    dist = {"tarball": running.url + path, "integrity": integrity, "shasum": hashlib.sha1(package).hexdigest()}
    document = {
        "name": name,
        "dist-tags": {"latest": version},
        "versions": {version: {"name": name, "version": version, "dist": dist}},
    }
    running.files[path] = package
    running.files[f"/{name}"] = json.dumps(document).encode()
    return {"npm_config_registry": running.url, "npm_config_fetch_retries": "0"}


def wheel(folder: Path, name: str, version: str, files: dict[str, bytes]) -> bytes:
    """Write a wheel into `folder`; its bytes."""
    info = f"{name}-{version}.dist-info"
    metadata = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
    marks = "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
    path = folder / f"{name}-{version}-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as package:
        for member, data in files.items():
            package.writestr(member, data)
        package.writestr(f"{info}/METADATA", metadata)
        package.writestr(f"{info}/WHEEL", marks)
        package.writestr(f"{info}/RECORD", "")
    return path.read_bytes()


def sdist(folder: Path, name: str, version: str, files: dict[str, bytes]) -> bytes:
    """Write a source archive with a build backend of its own into `folder`; its bytes."""
    backend = (
        "import pathlib\n"
        "def prepare_metadata_for_build_wheel(folder, settings=None):\n"
        f"    info = pathlib.Path(folder, '{name}-{version}.dist-info')\n"
        "    info.mkdir()\n"
        f"    (info / 'METADATA').write_text('Metadata-Version: 2.1\\nName: {name}\\nVersion: {version}\\n')\n"
        "    return info.name\n"
        "def build_wheel(*args, **kwargs):\n"
        "    raise SystemExit('nothing is to be built')\n"
    )
    project = '[build-system]\nrequires = []\nbuild-backend = "backend"\nbackend-path = ["."]\n'
    top = f"{name}-{version}"
    every = {
        f"{top}/PKG-INFO": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n".encode(),
        f"{top}/pyproject.toml": project.encode(),
        f"{top}/backend.py": backend.encode(),
        **{f"{top}/{member}": data for member, data in files.items()},
    }
    data = tgz(every)
    (folder / f"{top}.tar.gz").write_bytes(data)
    return data


def pip_index(folder: Path) -> dict[str, str]:
    """What to set so that pip takes packages from `folder` and nowhere else."""
    return {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(folder), "PIP_CONFIG_FILE": "/dev/null"}


def debian_repository(folder: Path, name: str, version: str, files: dict[str, bytes]) -> dict[str, str]:
    """Make a repository with one package; what to set so that apt knows it and no other, with empty lists."""
    root = folder / "root"
    for member, data in files.items():
        (root / member).parent.mkdir(parents=True, exist_ok=True)
        (root / member).write_bytes(data)
    control = (
        f"Package: {name}\nVersion: {version}\nArchitecture: all\n"
        "Maintainer: test <test@example.org>\nDescription: test\n"
    )
    (root / "DEBIAN").mkdir()
    (root / "DEBIAN" / "control").write_text(control)
    repository = folder / "repository"
    repository.mkdir()
    package = repository / f"{name}_{version}_all.deb"
    subprocess.run(["dpkg-deb", "--build", "--root-owner-group", root, package], check=True, capture_output=True)
    data = package.read_bytes()
    index = control + f"Filename: ./{package.name}\nSize: {len(data)}\nSHA256: {sha256(data)}\n\n"
    (repository / "Packages.gz").write_bytes(gzip.compress(index.encode()))
    state, etc = folder / "state", folder / "etc"
    for needed in (state / "lists" / "partial", folder / "cache" / "archives" / "partial", etc):
        needed.mkdir(parents=True)
    (etc / "sources.list").write_text(f"deb [trusted=yes] file:{repository} ./\n")
    (state / "status").touch()
    config = folder / "apt.conf"
    config.write_text(
        f'Dir::State "{state}";\nDir::State::status "{state}/status";\nDir::Cache "{folder}/cache";\n'
        f'Dir::Etc::sourcelist "{etc}/sources.list";\nDir::Etc::sourceparts "/dev/null";\n'
        'Dir::Etc::parts "/dev/null";\n'
        'APT::Sandbox::User "";\n'
    )
    return {"APT_CONFIG": str(config)}
