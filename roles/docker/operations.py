"""Operations of role `docker`."""

from __future__ import annotations

import base64
import hashlib
import shlex
from pathlib import Path
from typing import Any

from pyinfra.api.operation import operation
from pyinfra.context import host

from roles.common.facts import Existing, FileState, Lines, labelled
from roles.common.operations import RECORDS, Commands, failure, write_text
from roles.docker.config import merged, parse, rendered, without
from roles.docker.openpgp import dearmoured


@operation()
def daemon_config(path: str, wanted: dict[str, Any], record: str) -> Commands:
    """Our keys in daemon.json, beside those of others; `record` on the machine holds which are ours."""
    texts = _read(path, record)
    try:
        there, ours = parse(texts.get("file", ""), path), parse(texts.get("record", ""), record)
    except ValueError as error:
        yield failure(f"{error}; mend or remove it")
        return
    if ours != wanted:
        # First the record, then the file: cut off in between, the next run and `remove` still know what is ours.
        yield write_text(record, rendered({**ours, **wanted} if texts.get("file") else wanted))
    target = rendered(merged(there, ours, wanted))
    if rendered(there) != target or "file" not in texts:
        yield write_text(path, target)
    if ours != wanted and texts.get("file") and {**ours, **wanted} != wanted:
        yield write_text(record, rendered(wanted))


@operation()
def daemon_config_absent(path: str, record: str) -> Commands:
    """Our keys out of daemon.json; the file goes when nothing is left in it."""
    texts = _read(path, record)
    if "record" not in texts:
        host.noop("no settings of ours")
        return
    try:
        there, ours = parse(texts.get("file", ""), path), parse(texts["record"], record)
    except ValueError as error:
        yield failure(f"{error}; mend or remove it")
        return
    left = without(there, ours)
    yield write_text(path, rendered(left)) if left else f"rm -f {shlex.quote(path)}"
    yield f"rm -f {shlex.quote(record)}"


@operation()
def vendor_source(repository: str, key_file: Path | None, keyring: str, sources: str) -> Commands:
    """The vendor's repository with its key named in Signed-By; the key was checked with the knobs."""
    if key_file is None:
        raise ValueError("no key file; the knobs were not checked")
    key = dearmoured(key_file.read_bytes())
    armoured = (
        "-----BEGIN PGP PUBLIC KEY BLOCK-----\n\n"
        + base64.encodebytes(key).decode()
        + "-----END PGP PUBLIC KEY BLOCK-----\n"
    )
    system = labelled(
        host.get_fact(
            Lines,
            script='. /etc/os-release; echo "suite $VERSION_CODENAME"; echo "arch $(dpkg --print-architecture)"',
        )
    )
    text = (
        f"Types: deb\nURIs: {repository}\nSuites: {system.get('suite', '')}\nComponents: stable\n"
        f"Architectures: {system.get('arch', '')}\nSigned-By: {keyring}\n"
    )
    changed = False
    for path, content in ((keyring, armoured), (sources, text)):
        state = host.get_fact(FileState, path=path)
        if state is None or state.sha256 != _sha256(content):
            changed = True
            yield write_text(path, content)
    if changed:
        # The engine's packages are asked for next, and a fresh stamp would skip the refresh.
        yield "rm -f /var/lib/apt/periodic/update-success-stamp"


@operation()
def group_members(users: tuple[str, ...]) -> Commands:
    """Users in the group `docker`."""
    lines = host.get_fact(Lines, script="getent group docker || true")
    members = set(lines[0].rsplit(":", 1)[1].split(",")) if lines else set()
    for user in users:
        if user not in members:
            yield f"usermod -aG docker {shlex.quote(user)}"


@operation()
def data_absent(role: str) -> Commands:
    """Stop the engine and empty its data folders, where the engine is ours and runs nobody else's containers."""
    if not host.get_fact(Existing, paths=(str(RECORDS / f"{role}.packages"),)):
        host.noop("the engine is not ours")
        return
    foreign = host.get_fact(
        Lines, script="if command -v docker >/dev/null && docker info >/dev/null 2>&1; then docker ps -aq; fi"
    )
    if foreign:
        yield failure(
            f"{len(foreign)} containers are still on the engine; remove them first, or leave it with "
            "`shoal site teardown --keep-docker` (pyinfra: --data teardown_docker=false)"
        )
        return
    yield "\n".join(
        [
            "if [ -d /run/systemd/system ]; then",
            "  systemctl stop docker.socket docker.service containerd.service 2>/dev/null || true",
            "fi",
            # The folders may be mounts of their own, and then cannot go themselves.
            "for d in /var/lib/docker /var/lib/containerd; do",
            '  [ ! -d "$d" ] || find "$d" -xdev -mindepth 1 -delete',
            "done",
            # Made by the engine for itself at its first start.
            "rm -f /etc/docker/key.json && rmdir --ignore-fail-on-non-empty /etc/docker",
        ]
    )


def _read(path: str, record: str) -> dict[str, str]:
    """The two files' texts, each on one base64 line, so that one command reads both."""
    script = "; ".join(
        f"[ ! -f {shlex.quote(name)} ] || echo {label} $(base64 -w0 < {shlex.quote(name)})"
        for label, name in (("file", path), ("record", record))
    )
    return {
        key: base64.b64decode(value).decode(errors="replace")
        for key, value in labelled(host.get_fact(Lines, script=script)).items()
    }


def _sha256(content: str) -> str:
    return hashlib.sha256(content.encode()).hexdigest()
