"""Programs of ours for the nodes' own Python: a room of the checkout as one zip archive, the same bytes always."""

from __future__ import annotations

import hashlib
import io
import zipfile
from functools import lru_cache

from pyinfra.api.operation import operation
from pyinfra.context import host

from roles.common.facts import FileState
from roles.common.operations import Commands, upload
from shoal.paths import repository

_EPOCH = (1980, 1, 1, 0, 0, 0)


@lru_cache
def archive(room: str) -> bytes:
    """The archive of a room, whose `cli.main(arguments)` is run. Its times and modes are fixed."""
    folder = repository() / room
    held = io.BytesIO()
    start = f"import sys\nfrom {room}.cli import main\nsys.exit(main(sys.argv[1:]))\n"
    with zipfile.ZipFile(held, "w", zipfile.ZIP_STORED) as made:
        for path in sorted(folder.rglob("*.py")):
            made.writestr(_entry(f"{room}/{path.relative_to(folder)}"), path.read_bytes())
        made.writestr(_entry("__main__.py"), start)
    return held.getvalue()


def _entry(name: str) -> zipfile.ZipInfo:
    entry = zipfile.ZipInfo(name, _EPOCH)
    entry.external_attr = 0o644 << 16
    return entry


@operation()
def file_of(path: str, content: bytes, role: str, owner: str = "root", mode: str = "644") -> Commands:
    """A file that travels as an upload: neither a command nor a log shows what is in it. On the role's record."""
    sha256 = hashlib.sha256(content).hexdigest()
    state = host.get_fact(FileState, path=path)
    if state is None or (state.sha256, state.mode, state.user) != (sha256, mode, owner):
        yield from upload(io.BytesIO(content), sha256, path, mode=mode, owner=f"{owner}:{owner}", role=role)
