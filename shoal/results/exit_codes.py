"""The detector's exit codes as the control side knows them; `detector/schemas/exit_codes.json` is the contract.

A test holds the two together, and the detector's own list with them.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Literal


class DetectorExit(IntEnum):
    """How the detector ended."""

    DONE = 0
    USAGE = 2
    FAULTY_VIDEOS = 3
    NO_VIDEOS = 4
    WEIGHTS = 5
    STATE = 6
    INTERRUPTED = 130
    TERMINATED = 143


WITH_MANIFEST = frozenset({DetectorExit.DONE, DetectorExit.FAULTY_VIDEOS})
"""A run that ended so is finished: its manifest is there."""
AGAIN = frozenset({DetectorExit.INTERRUPTED, DetectorExit.TERMINATED})
"""The same job may fare better when it is started again; after the others it would end the same way."""
DoneCode = Literal[0, 3]
"""WITH_MANIFEST, for documents."""
