"""Decides, on a compute node, what may run there. The engine only asks; what others sent it counts for nothing.

    admission.py POLICY   the engine's probe: a job on standard input; exit code 0 takes it, 1 refuses, why on stderr

The policy is written by the site's deploy: which images by digest with which entry points, which paths, which limits.
`docker_guard.py` asks the same rules once more for the container itself: a message with a job that says it was accepted
already never comes by the probe. Needs Python 3.8 and nothing else: it is placed on machines as it is.
"""

from __future__ import annotations

import json
import os
import posixpath
import re
import sys
from pathlib import Path
from typing import Any, Dict, List, NamedTuple, Optional, Tuple  # noqa: UP035  # Python 3.8 on machines

WORDS_MAX = 256
WORD_CHARACTERS_MAX = 65536
PIDS_MAX = 512
NANO = 10**9
PARAMS = {"Image", "Entrypoint", "Parameters", "EnvironmentVariables", "WorkingDirectory"}
SOURCE_PARAMS = {"SourcePath", "ReadWrite", "CreateAs"}
ENGINES_VARIABLES = "BACALHAU_"
"""What the engine itself tells a container begins so; it takes no such name from a job."""
PLACES = re.compile(r"/(?:mnt|models?|data|inputs?|outputs?)(?:/[^/]+)*")
"""Where no image has its programs: a site's more paths may be mounted there, or under their own name."""


class RefusedError(Exception):
    """Why a container is not made."""


def load(path: str) -> Dict[str, Any]:  # noqa: UP006
    """The policy, with the site's own images as its first jobs.

    Those are the one that the deploy pinned on this node, and earlier ones that runs need which are not finished, as
    the control machine noted here over SSH.
    """
    policy: Dict[str, Any] = json.loads(Path(path).read_text(encoding="utf-8"))  # noqa: UP006
    try:
        pinned = json.loads(Path(policy["image_record"]).read_text(encoding="utf-8"))["reference"]
    except (OSError, ValueError, KeyError, TypeError):
        pinned = None
    own = [
        {"image": image, "entrypoint": [], "variables": [], "working_directory": ""}
        for image in (pinned, *_needed(policy["image_needs"], pinned))
        if image
    ]
    others = [{**job, "image": job["image"] or pinned} for job in policy["jobs"]]
    return {**policy, "jobs": own + [job for job in others if job["image"]]}


def _needed(folder: str, pinned: Optional[str]) -> List[str]:  # noqa: UP006, UP045
    """Images of the site's own repository that are noted in `folder`, a file a run."""
    if pinned is None or not Path(folder).is_dir():
        return []
    place = re.compile(re.escape(pinned.partition("@")[0]) + "@sha256:[0-9a-f]{64}")
    lines = [path.read_text(encoding="utf-8").strip() for path in sorted(Path(folder).iterdir()) if path.is_file()]
    return [line for line in lines if place.fullmatch(line)]


def refusals(job: Any, policy: Dict[str, Any]) -> List[str]:  # noqa: UP006
    """What keeps `job` (Bacalhau's format) from this node; nothing where it may run."""
    try:
        return list(_of_job(job, policy))
    except (AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
        return [f"it is not a job as this site knows them ({type(error).__name__}: {error})"]


def _of_job(job: Any, policy: Dict[str, Any]) -> Any:  # noqa: UP006
    if job["Type"] != "ops":
        yield f"it is of type {job['Type']!r}, and only ops jobs run here"
    (task,) = job["Tasks"]
    engine = task["Engine"]
    if str(engine["Type"]).lower() != "docker":
        yield f"its engine is {engine['Type']!r}, and only docker runs here"
        return
    params = engine["Params"]
    # Names in other letters are the same to the engine, and it takes the last.
    yield from _unknown(params, PARAMS)
    words = list(params.get("Parameters") or [])
    program = Program(
        params["Image"],
        list(params.get("Entrypoint") or []),
        words,
        list(params.get("EnvironmentVariables") or []),
        params.get("WorkingDirectory") or "",
    )
    yield from _of_program(program, policy)
    network = (task.get("Network") or {}).get("Type")
    # Left out, it is the engine's default, which is a network.
    if not policy["networked"] and not (isinstance(network, str) and network.lower() == "none"):
        yield f"it asks for a network ({network}), and jobs have none here"
    if (task.get("Publisher") or {}).get("Type") or task.get("ResultPaths"):
        yield "it wants results published by the engine; they stay in the run's folder"
    if task.get("Env"):
        yield "it wants variables of the engine's own environment"
    mounts = []
    for entry in task.get("InputSources") or []:
        source = entry["Source"]
        if str(source["Type"]).lower() not in ("local", "localdirectory"):
            yield f"it wants an input of type {source['Type']!r}, and only paths of this node are given"
            continue
        given = source["Params"]
        yield from _unknown(given, SOURCE_PARAMS)
        mounts.append((given["SourcePath"], entry["Target"], not given.get("ReadWrite", False)))
    yield from _of_mounts(mounts, words, policy)
    limits = task.get("Resources") or {}
    if not limits.get("CPU") or not limits.get("Memory"):
        yield "it names no limit of processors and memory"
    if str(limits.get("GPU") or "0") != "0":
        yield "it asks for a GPU, and jobs have no devices here"


def container(body: Any, policy: Dict[str, Any]) -> Dict[str, Any]:  # noqa: UP006
    """Docker's request for a container, made anew from what is allowed of `body` and confined. Raises RefusedError."""
    try:
        faults, made = _of_container(body, policy)
    except (AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
        raise RefusedError(f"it is not a container as this site knows them ({type(error).__name__}: {error})") from None
    if faults:
        raise RefusedError("; ".join(faults))
    return made


def _of_container(body: Any, policy: Dict[str, Any]) -> Tuple[List[str], Dict[str, Any]]:  # noqa: UP006
    asked = body["HostConfig"]
    entrypoint, words = list(body.get("Entrypoint") or []), list(body.get("Cmd") or [])
    variables, folder = list(body.get("Env") or []), body.get("WorkingDir") or ""
    theirs = [pair for pair in variables if not str(pair).startswith(ENGINES_VARIABLES)]
    faults = list(_of_program(Program(body["Image"], entrypoint, words, theirs, folder), policy))
    network = asked.get("NetworkMode")
    if not policy["networked"] and network != "none":
        faults.append(f"it asks for a network ({network}), and jobs have none here")
    mounts = [(mount["Source"], mount["Target"], bool(mount.get("ReadOnly"))) for mount in asked.get("Mounts") or []]
    if any(mount["Type"] != "bind" for mount in asked.get("Mounts") or []) or asked.get("Binds") or body.get("Volumes"):
        faults.append("it wants a volume, and only paths of this node are given")
    faults += _of_mounts(mounts, words, policy)
    memory_bytes, nano_cpus = int(asked.get("Memory") or 0), int(asked.get("NanoCpus") or 0)
    most_bytes = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    if not 0 < memory_bytes <= most_bytes:
        faults.append(f"its memory limit is {memory_bytes} bytes; it has to be above 0 and at most {most_bytes}")
    if not 0 < nano_cpus <= (os.cpu_count() or 1) * NANO:
        faults.append(f"its processor limit is {nano_cpus / NANO:g}; it has to be above 0 and at most {os.cpu_count()}")
    for name in ("Devices", "DeviceRequests", "CapAdd", "Privileged", "VolumesFrom", "Runtime"):
        if asked.get(name):
            faults.append(f"it wants {name}")
    host: Dict[str, Any] = {  # noqa: UP006
        "Mounts": [
            {"Type": "bind", "Source": source, "Target": target, "ReadOnly": read_only}
            for source, target, read_only in mounts
        ],
        "Memory": memory_bytes,
        # As much as the memory: no swap besides.
        "MemorySwap": memory_bytes,
        "NanoCpus": nano_cpus,
        "NetworkMode": network,
        # What the ssh engine's containers have too (shoal/engines/container.py): the same table in docs/security.md.
        "ReadonlyRootfs": True,
        "Tmpfs": {"/tmp": ""},  # noqa: S108  # the container's own
        "CapDrop": ["ALL"],
        "CapAdd": ["DAC_OVERRIDE"],
        "SecurityOpt": ["no-new-privileges"],
        "PidsLimit": PIDS_MAX,
    }
    made: Dict[str, Any] = {  # noqa: UP006
        "Image": body["Image"],
        "Cmd": words,
        "Env": [str(pair) for pair in variables],
        "Labels": {str(key): str(value) for key, value in (body.get("Labels") or {}).items()},
        "WorkingDir": folder,
        "NetworkDisabled": network == "none",
        "HostConfig": host,
    }
    if entrypoint:
        made["Entrypoint"] = entrypoint
    return faults, made


def image_refusal(image: Any, policy: Dict[str, Any]) -> Optional[str]:  # noqa: UP006, UP045
    """Why no job may use `image`; None where one may."""
    if not policy["jobs"]:
        return "this node has no image of the site yet; deploy the site"
    if not any(job["image"] == image for job in policy["jobs"]):
        known = ", ".join(sorted({str(job["image"]) for job in policy["jobs"]}))
        return f"its image is {image}; this node runs {known} (`shoal site allow` names others)"
    return None


class Program(NamedTuple):
    """What is to run in a container, as the engine or Docker is asked for it."""

    image: Any
    entrypoint: List[Any]  # noqa: UP006
    words: List[Any]  # noqa: UP006
    variables: List[Any]  # noqa: UP006
    """`NAME=VALUE`."""
    working_directory: Any


def _of_program(program: Program, policy: Dict[str, Any]) -> Any:  # noqa: UP006
    ours = [job for job in policy["jobs"] if job["image"] == program.image]
    alike = [job for job in ours if job["entrypoint"] == program.entrypoint]
    why = image_refusal(program.image, policy)
    if why is not None:
        yield why
    elif not alike:
        entrypoint = _short(program.entrypoint)
        yield f"its entry point {entrypoint} is not one that the site allows that image (`shoal site allow`)"
    else:
        yield from _of_surroundings(program, alike)
    words = program.words
    if len(words) > WORDS_MAX or any(not isinstance(word, str) or len(word) > WORD_CHARACTERS_MAX for word in words):
        yield "its parameters are too many or too long"


def _of_surroundings(program: Program, alike: List[Dict[str, Any]]) -> Any:  # noqa: UP006
    """An interpreter runs what its environment or the folder it stands in tells it to, whatever its entry point."""
    known = {name for job in alike for name in job["variables"]}
    for pair in program.variables:
        name, equals, value = str(pair).partition("=")
        if not equals or name not in known:
            yield f"the site allows that image no variable {_short(name)} (`shoal site allow`)"
        elif len(value) > WORD_CHARACTERS_MAX:
            yield f"its variable {name} is too long"
    folder = program.working_directory
    if folder != "" and not any(job["working_directory"] == folder for job in alike):
        yield f"the site allows that image no working directory {_short(folder)} (`shoal site allow`)"


def _unknown(given: Any, known: Any) -> Any:
    strange = sorted(str(name) for name in given if name not in known)
    if strange:
        yield f"it asks for what is not known here: {_short(strange)}"


def _of_target(source: str, target: Any, policy: Dict[str, Any]) -> Any:  # noqa: UP006
    """A folder over another hides a node's privacy policy, or puts somebody's files where an image has its program."""
    fixed = [place for pattern, place in policy["targets"].items() if _matches(pattern, source)]
    if fixed and target not in fixed:
        yield f"{source} is seen by a job at {fixed[0]}, not at {_short(target)}"
        return
    plain = PLACES.fullmatch(str(target)) is not None and posixpath.normpath(target) == target
    if not fixed and target != source and not plain:
        yield f"{source} is mounted under that name or below /mnt, not at {_short(target)}"


def _of_mounts(mounts: Any, words: Any, policy: Dict[str, Any]) -> Any:  # noqa: UP006
    written = []
    for source, target, read_only in mounts:
        if not isinstance(source, str) or not source.startswith("/") or posixpath.normpath(source) != source:
            yield f"{source!r} is not a plain absolute path"
            continue
        modes = [mode for pattern, mode in map(_split, policy["paths"]) if _matches(pattern, source)]
        if not modes:
            yield f"the site allows no job to mount {source}"
            continue
        yield from _of_target(source, target, policy)
        if not read_only and "rw" not in modes:
            yield f"the site allows {source} read-only, and the job asks to write to it"
        elif not read_only:
            written.append(source)
            if Path(source).is_symlink():
                yield f"{source} is a link"
    targets = [target for _, target, _ in mounts]
    twice = sorted({str(target) for target in targets if targets.count(target) > 1})
    if twice:
        yield f"two of its mounts are at {', '.join(twice)}"
    runs = [source for source in written if posixpath.dirname(source) == policy["runs"]]
    if len(runs) > 1:
        yield f"it writes to the folders of several runs: {', '.join(runs)}"
    named = words[words.index("--run") + 1] if "--run" in words[:-1] else None
    if runs and named is not None and posixpath.basename(runs[0]) != named:
        yield f"it is run {named!r} and writes to the folder of another run, {runs[0]}"


def _split(entry: str) -> Tuple[str, str]:  # noqa: UP006
    """A path's pattern and `ro` or `rw`, as the engine reads them."""
    path, _, mode = entry.rpartition(":")
    return (path, mode) if mode in ("ro", "rw") and path else (entry, "ro")


def _matches(pattern: str, path: str) -> bool:
    """The engine's own matching (doublestar): `**` is any number of folders, `*` and `?` stay within one name."""
    signs = {"/**/": "/(?:.*/)?", "/**": "(?:/.*)?", "**": ".*", "*": "[^/]*", "?": "[^/]"}
    found = ""
    for part in re.split(r"(/\*\*/|/\*\*$|\*\*|\*|\?)", pattern):
        found += signs.get(part, re.escape(part))
    return re.fullmatch(found, path) is not None


def _short(words: Any) -> str:
    text = json.dumps(words)
    return text if len(text) <= 120 else f"{text[:117]}..."


def main(arguments: List[str], stream: Any) -> int:  # noqa: UP006
    """The exit code."""
    why: Optional[str] = None  # noqa: UP045
    try:
        policy = load(arguments[0])
        found = refusals(json.load(stream)["Job"], policy)
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        # Closed: what cannot be decided does not run.
        found = [f"its admission cannot be decided ({type(error).__name__}: {error})"]
    if found:
        why = "; ".join(found)
        sys.stderr.write(f"{why}\n")
    return 1 if why else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:], sys.stdin))
