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
from typing import Any, Dict, List, Optional, Tuple  # noqa: UP035  # Python 3.8 on machines

WORDS_MAX = 256
WORD_CHARACTERS_MAX = 65536
PIDS_MAX = 512
NANO = 10**9


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
    own = [{"image": image, "entrypoint": []} for image in (pinned, *_needed(policy["image_needs"], pinned)) if image]
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
    words = list(params.get("Parameters") or [])
    yield from _of_image(params["Image"], list(params.get("Entrypoint") or []), words, policy)
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
        mounts.append((given["SourcePath"], entry["Target"], not given.get("ReadWrite", False)))
    yield from _of_mounts(mounts, words, policy)
    limits = task.get("Resources") or {}
    if not limits.get("CPU") or not limits.get("Memory"):
        yield "it names no limit of processors and memory"


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
    faults = list(_of_image(body["Image"], entrypoint, words, policy))
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
        "Env": [str(pair) for pair in body.get("Env") or []],
        "Labels": {str(key): str(value) for key, value in (body.get("Labels") or {}).items()},
        "WorkingDir": str(body.get("WorkingDir") or ""),
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


def _of_image(image: Any, entrypoint: Any, words: Any, policy: Dict[str, Any]) -> Any:  # noqa: UP006
    ours = [job for job in policy["jobs"] if job["image"] == image]
    why = image_refusal(image, policy)
    if why is not None:
        yield why
    elif not any(job["entrypoint"] == entrypoint for job in ours):
        yield f"its entry point {_short(entrypoint)} is not one that the site allows that image (`shoal site allow`)"
    if len(words) > WORDS_MAX or any(not isinstance(word, str) or len(word) > WORD_CHARACTERS_MAX for word in words):
        yield "its parameters are too many or too long"


def _of_mounts(mounts: Any, words: Any, policy: Dict[str, Any]) -> Any:  # noqa: UP006
    written = []
    for source, target, read_only in mounts:
        if not isinstance(source, str) or not source.startswith("/") or posixpath.normpath(source) != source:
            yield f"{source!r} is not a plain absolute path"
            continue
        modes = [mode for pattern, mode in map(_split, policy["paths"]) if _matches(pattern, source)]
        if not modes:
            yield f"the site allows no job to mount {source}"
        elif not read_only and "rw" not in modes:
            yield f"the site allows {source} read-only, and the job asks to write to it"
        elif not read_only:
            written.append(source)
            if Path(source).is_symlink():
                yield f"{source} is a link"
        if not str(target).startswith("/") or target == "/":
            yield f"{target!r} is no place for a mount"
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
