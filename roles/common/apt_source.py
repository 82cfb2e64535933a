"""A vendor's apt repository, with the one key that apt may check it with."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from pathlib import Path

from pyinfra.api.operation import operation
from pyinfra.context import host
from pyinfra.facts.deb import DebArch
from pyinfra.facts.server import OsRelease

from roles.common.facts import FileState
from roles.common.openpgp import dearmoured
from roles.common.operations import APT_STAMP, Commands, failure, placed, will_write


@operation()
def vendor_source(
    *,
    repository: str,
    key_file: Path,
    keyring: str,
    sources: str,
    component: str,
    role: str,
    distributions: Sequence[str] = (),
    otherwise: str = "",
) -> Commands:
    """The repository for this machine's release, its key named in Signed-By; both files on the role's record.

    `{distribution}` in its address becomes the machine's. The key's fingerprint was checked with the knobs. Where
    `distributions` are given and the machine has none of them, the operation fails with what to do `otherwise`.
    """
    release = host.get_fact(OsRelease) or {}
    distribution, suite = release.get("id", ""), release.get("version_codename", "")
    if distributions and (distribution not in distributions or not suite):
        yield failure(f"the vendor has no package for {distribution or 'this distribution'}; {otherwise}")
        return
    key = base64.encodebytes(dearmoured(key_file.expanduser().read_bytes())).decode()
    armoured = f"-----BEGIN PGP PUBLIC KEY BLOCK-----\n\n{key}-----END PGP PUBLIC KEY BLOCK-----\n"
    text = (
        f"Types: deb\nURIs: {repository.replace('{distribution}', distribution)}\nSuites: {suite}\n"
        f"Components: {component}\nArchitectures: {host.get_fact(DebArch) or ''}\nSigned-By: {keyring}\n"
    )
    changed = False
    for path, content in ((keyring, armoured), (sources, text)):
        state = host.get_fact(FileState, path=path)
        if state is None or state.sha256 != hashlib.sha256(content.encode()).hexdigest():
            if not changed:
                will_write(sources, f"the repository {repository}, with the vendor's key")
            changed = True
            yield placed(path, content, role)
    if changed:
        # Its packages are asked for next, and a fresh stamp would skip the refresh.
        yield f"rm -f {APT_STAMP}"
