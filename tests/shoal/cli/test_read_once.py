"""Every verb reads its cluster document once, at its door; below it travels as a value."""

from __future__ import annotations

import json
import socket
from pathlib import Path
from typing import Any

import pytest
from depot import depot
from typer.testing import CliRunner

from shoal.cli import app
from shoal.cluster import document as clusters
from shoal.deploys import run as deploys
from shoal.engines import choice as engines
from shoal.engines.bacalhau import secrets
from shoal.engines.choice import Choice
from shoal.errors import ShoalError
from shoal.paths import cluster_document
from shoal.site import document as sites
from shoal.site.document import SiteDocument
from tests.opened import counted

VERBS = {
    "cluster where": [],
    "drift lab": [],
    "events": ["--cluster"],
    "mesh status": ["--cluster"],
    "nodes list": ["--cluster"],
    "outbox pause": ["--cluster"],
    "outbox status": ["--cluster"],
    "site check": ["--cluster"],
    "site deploy": ["--cluster"],
    "site rotate": ["--cluster"],
    "watch off": ["--cluster"],
    "watch status": ["--cluster"],
}
"""Verbs that need no run and change no document, and whether they can be given one."""


@pytest.fixture
def document(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A lab's document where the state folder keeps it; no machine of it answers, and no process is started for it."""
    for name, folder in (("SHOAL_STATE", "state"), ("SHOAL_CACHE", "cache"), ("HOME", "home")):
        monkeypatch.setenv(name, str(tmp_path / folder))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    cluster = depot()
    nodes = tuple(
        node.model_copy(update={"address": f"127.0.0.{last}", "cluster_address": node.address, "port": port})
        for last, node in enumerate(cluster.nodes, start=2)
    )
    path = cluster_document("lab")
    clusters.save(cluster.model_copy(update={"name": "lab", "substrate": "lab", "nodes": nodes}), path)
    sites.save(SiteDocument(cluster="lab"))
    secrets.ensure("lab")
    monkeypatch.setattr(engines, "choose", lambda *_, **__: Choice("ssh", "for the test"))
    monkeypatch.setattr(deploys, "_run", lambda *_, **__: (0, json.dumps({"plan": [], "results": {"operations": []}})))
    return path


@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.parametrize("way", ["by the default", "by --cluster"])
def test_a_verb_reads_its_document_once(document: Path, verb: str, way: str) -> None:
    words = verb.split()
    if way == "by --cluster":
        if not VERBS[verb]:
            pytest.skip("it has no --cluster")
        words += ["--cluster", str(document)]
    with counted(document) as read:
        ended: Any = CliRunner().invoke(app, words)
    assert ended.exception is None or isinstance(ended.exception, ShoalError | SystemExit), ended.exception
    assert "not a valid" not in f"{ended.output}{ended.exception}"
    assert read == [1], f"{verb}: {ended.output}{ended.exception or ''}"
