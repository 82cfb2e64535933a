"""What kind of program a file is, from its first bytes."""

from __future__ import annotations

from pathlib import Path

from shoal.cluster.document import Arch
from shoal.errors import UsageError

_MACHINES: dict[int, Arch] = {0x3E: "amd64", 0xB7: "arm64"}  # e_machine of the ELF header


def architecture(path: Path) -> Arch:
    """The machine a Linux program is for. Raises UsageError for anything else."""
    try:
        with path.open("rb") as stream:
            head = stream.read(20)
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}") from None
    if len(head) < 20 or head[:4] != b"\x7fELF":
        raise UsageError(
            f"{path} is not a Linux program", hint="give the file `bacalhau` itself, or its release archive"
        )
    machine = int.from_bytes(head[18:20], "little" if head[5] == 1 else "big")
    if machine not in _MACHINES:
        raise UsageError(f"{path} is for a machine that shoal does not know (ELF {machine:#x})", hint="amd64 or arm64")
    return _MACHINES[machine]
