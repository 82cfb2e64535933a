"""What a job may mount from a node, whichever engine runs it.

The same list that the site's deploy gives Bacalhau's compute nodes; the ssh engine has nothing on the node that would
refuse, so the job is held to it before anything is started.
"""

from __future__ import annotations

from pathlib import PurePosixPath

from shoal.errors import Fault, UsageError
from shoal.jobs.spec import JobSpec
from shoal.paths import JOB_TARGETS, NODE_RUNS, NODE_VIDEOS, NODE_WEIGHTS


def refuse_others(job: JobSpec, *, whole_videos: bool = False) -> None:
    """Raise UsageError that names every mount of `job` that is not allowed.

    With `whole_videos` the videos folder is mounted as a whole or not at all: a node's privacy policy lies in it, and a
    job that sees the footage has to see the policy.
    """
    faults = []
    for index, entry in enumerate(job.task.input_sources):
        source, place = entry.source.params.source_path, f"Tasks[0].InputSources[{index}]"
        if why := _fault(source, entry.source.params.read_write, whole_videos):
            faults.append(Fault(f"{place}.Source.Params.SourcePath", why))
        elif (target := _target(source)) != entry.target:
            faults.append(Fault(f"{place}.Target", f"{source} is seen by a job at {target}, not at {entry.target!r}"))
    if faults:
        raise UsageError(
            "the job mounts what no job may see on a node; nothing was started",
            faults=tuple(faults),
            hint=f"a job may read {NODE_VIDEOS}, and {NODE_WEIGHTS} at /weights, and write its own folder under "
            f"{NODE_RUNS} at /state",
        )


def _fault(source: str, read_write: bool, whole_videos: bool) -> str | None:
    path = PurePosixPath(source)
    if str(path) != source or ".." in path.parts:
        return f"{source!r} is not a plain absolute path"
    if path.parent == NODE_RUNS:
        return None
    if whole_videos and NODE_VIDEOS in path.parents:
        return f"{source!r} is a part of {NODE_VIDEOS}; a machine with a privacy policy shows all of it or nothing"
    if path in (NODE_VIDEOS, NODE_WEIGHTS) or NODE_VIDEOS in path.parents:
        return f"{source!r} may only be read" if read_write else None
    return f"{source!r} is not allowed"


def _target(source: str) -> str:
    """Where a job sees it."""
    of_runs = f"{NODE_RUNS}/*" if PurePosixPath(source).parent == NODE_RUNS else source
    return JOB_TARGETS.get(of_runs, source)
