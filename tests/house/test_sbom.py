"""The bill of materials says what is locked: every package, the base image and every artefact, each with a licence."""

from __future__ import annotations

import json
import re

import pytest

import sbom


@pytest.mark.parametrize("path", sorted(sbom.written()), ids=lambda path: path.name)
def test_what_is_committed_is_what_the_locks_say(path):
    assert path.read_text(encoding="utf-8") == sbom.written()[path], "run `./just sbom`"


@pytest.mark.parametrize("document", sorted(sbom.PURPOSES))
def test_a_document_is_cyclonedx_and_names_a_licence_for_everything(document):
    read = json.loads(sbom.bill(document))
    assert (read["bomFormat"], read["specVersion"]) == ("CycloneDX", "1.5")
    assert read["components"]
    references = [component["bom-ref"] for component in read["components"]]
    assert len(references) == len(set(references))
    for component in read["components"]:
        assert component["type"] in {"library", "container", "data"}
        ((licence,),) = [tuple(entry.values()) for entry in component["licenses"]]
        assert licence["name"] not in {"", "not declared", "UNKNOWN"}, component["name"]
        for digest in component.get("hashes", []):
            assert re.fullmatch(r"[0-9a-f]{64}", digest["content"])


def test_no_line_of_a_lock_is_left_out():
    for document, locks in sbom.LOCKS.items():
        pinned = [
            line for lock in locks for line in (sbom.REPOSITORY / lock).read_text(encoding="utf-8").splitlines()
            if "==" in line and not line.lstrip().startswith("#")
        ]  # fmt: skip
        listed = [one for one in sbom.components(document) if one.kind == "library"]
        assert len(listed) == len(pinned), document
