"""What became of a node's share of a run: the manifest on the node decides, the engine's word only fills the gaps."""

from __future__ import annotations

from shoal.engines import killed
from shoal.engines.protocol import Execution, State
from shoal.results.documents import Manifest
from shoal.results.exit_codes import AGAIN, WITH_MANIFEST, DetectorExit
from shoal.results.record import Outcome
from shoal.run.detector_lines import plain

_WORDS: dict[int, str] = {
    DetectorExit.USAGE: "the detector refused its settings, or the run's folder was begun with others",
    DetectorExit.WEIGHTS: "the detector cannot use the weights",
    DetectorExit.STATE: "no space left on the node, or its run folder cannot be written",
}
_FINAL = frozenset(DetectorExit) - AGAIN - WITH_MANIFEST
"""After these the same job would end the same way. (One that ends well without a manifest is no such end.)"""

_BY_STATE = {
    State.OUT_OF_MEMORY: Outcome.OUT_OF_MEMORY,
    State.TIMED_OUT: Outcome.TIMED_OUT,
    State.STOPPED: Outcome.STOPPED,
    State.LOST: Outcome.UNREACHABLE,
    State.REFUSED: Outcome.NOT_RUN,
}
_WORTH_ANOTHER_TRY = frozenset({Outcome.UNREACHABLE, Outcome.NOT_RUN, Outcome.OUT_OF_MEMORY, Outcome.PENDING})


def outcome_of(execution: Execution, manifest: Manifest | None) -> tuple[Outcome, str]:
    """The outcome of an ended execution and, for the reader, why."""
    if manifest is not None:
        return of_manifest(manifest)
    if execution.state in _BY_STATE:
        return _BY_STATE[execution.state], execution.message
    return _of_exit_code(execution.exit_code, execution.message)


def _of_exit_code(code: int | None, message: str) -> tuple[Outcome, str]:
    if code is None:
        return Outcome.FAILED, message
    if code == DetectorExit.NO_VIDEOS:
        return Outcome.NO_VIDEOS, "the detector found no video" + (f": {last}" if (last := plain(message)) else "")
    if code in (killed.KILLED, killed.OVER_QUOTA):
        return Outcome.FAILED, message or killed.UNKNOWN  # what the node was asked
    why = _WORDS.get(code, "the container failed" if code else "the container ended without a manifest")
    last = plain(message)
    return Outcome.FAILED, f"{why} (exit code {code})" + (f": {last}" if last else "")


def of_manifest(manifest: Manifest) -> tuple[Outcome, str]:
    """The outcome of a finished run folder."""
    if manifest.exit_code == DetectorExit.FAULTY_VIDEOS.value:
        return Outcome.FAULTY_VIDEOS, "at least one video is faulty; the others were processed"
    return Outcome.FINISHED, ""


def worth_another_try(outcome: Outcome, exit_code: int | None) -> bool:
    """Whether the same run may fare better when it is given to the node again without a person's doing."""
    return outcome in _WORTH_ANOTHER_TRY or (outcome is Outcome.FAILED and exit_code not in _FINAL)
